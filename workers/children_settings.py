"""How many children train at a time, and on what."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class ChildrenSettings(BaseModel):
    """How many children train at a time, and on what.

    `workers.slots` says where.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    per_replica: int = Field(
        8,
        ge=1,
        le=1000,
        description="How many train at a time for each replica, and make one gradient: m in Zoph & "
        "Le 2017, s3.2; 8 in s4.1, 1 in s4.2.",
    )
    num_cpus: float = Field(
        1.0, ge=0.01, le=1000, description="Cores of each child; a fraction shares one."
    )
    num_gpus: float = Field(
        1.0, ge=0, le=1000, description="GPUs of each child; a fraction shares one."
    )
    per_gpu: int | None = Field(
        None, ge=1, le=100, description="So many share each GPU; null: num_gpus says it."
    )
    per_gpu_node: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="At most so many on each node with GPUs, where they share the GPUs if there "
        "are fewer; null: as many as fit.",
    )
    max_deaths: int = Field(
        3,
        ge=1,
        le=1000,
        description="Workers that a trial may lose before it counts as infeasible.",
    )

    @field_validator("num_gpus")
    @classmethod
    def _whole_or_a_part_of_one(cls, num_gpus: float) -> float:
        if num_gpus != int(num_gpus) and not 0.01 <= num_gpus <= 1:
            raise ValueError("must be 0.01 to 1 of one GPU, or a whole number of them")
        return num_gpus

    @model_validator(mode="after")
    def _gpus_are_shared_in_one_way(self) -> Self:
        if self.per_gpu is not None and not 0 < self.num_gpus <= 1:
            raise ValueError(
                f"per_gpu={self.per_gpu}: must be none where num_gpus={self.num_gpus:g}; to share "
                "each GPU out, set num_gpus=1"
            )
        if self.per_gpu_node is not None and not self.num_gpus:
            raise ValueError(
                f"per_gpu_node={self.per_gpu_node}: must be none where num_gpus=0, since children "
                "train on CPUs then; num_cpus says how many fit on a node"
            )
        return self
