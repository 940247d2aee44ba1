"""What a shard keeps of its state, how often, and where."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class StorageSettings(BaseModel):
    """What an acknowledged push survives, and how much a shard reads when it begins again."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    durability: Literal["journal", "checkpoint", "none"] = Field(
        "journal",
        description="What an acknowledged push survives. journal: any crash. checkpoint: "
        "what came after the last checkpoint may be lost. none: nothing; the state is "
        "in memory alone.",
    )
    checkpoint_pushes: int = Field(
        1000, ge=1, le=10**9, description="Pushes between two checkpoints, at the most."
    )
    checkpoint_journal_bytes: int = Field(
        512 << 20,
        ge=1,
        le=1 << 50,
        description="Journal, in bytes, between two checkpoints, at the most: what is read when a "
        "shard starts again.",
    )
    checkpoint_url: str | None = Field(
        None,
        description="Where checkpoints are copied to, for shards that begin again on another node, "
        "such as s3://bucket/search, one for each search; only with `durability: checkpoint`; "
        "null: nowhere.",
    )

    @field_validator("checkpoint_url")
    @classmethod
    def _scheme_is_known(cls, url: str | None) -> str | None:
        if url is None:
            return None
        scheme, _, place = url.partition("://")
        if not place or "::" in url:
            raise ValueError(
                f"{url!r} must be one URL, such as s3://bucket/search or file:///mnt/search"
            )
        import fsspec  # here, for the few who have a URL

        if scheme not in fsspec.available_protocols():
            raise ValueError(
                f"scheme {scheme!r} must be one that fsspec knows, such as s3, gs, abfs, hdfs, "
                "sftp or file"
            )
        return url

    @model_validator(mode="after")
    def _url_goes_with_checkpoints(self) -> Self:
        if self.checkpoint_url is not None and self.durability != "checkpoint":
            raise ValueError(
                f"checkpoint_url={self.checkpoint_url!r} and durability={self.durability!r}: must "
                "be 'checkpoint' with a URL, to which no journal is copied; where all nodes share "
                "a file system, leave the URL out and put the run directory there"
            )
        return self
