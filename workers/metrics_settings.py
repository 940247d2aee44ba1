"""Where the metrics of a search and of its replicas are."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ps.address import MAX_PORT


class MetricsSettings(BaseModel):
    """Where Prometheus finds the search and its replicas; the shards have theirs in `shards`.

    They listen where shards do: on loopback, or, where a search spans machines, on the address of
    their node, with mutual TLS.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    search_port: int | None = Field(
        None,
        ge=0,
        le=MAX_PORT,
        description="The search has /metrics on this port of the host that runs it; 0: on a free "
        "port; null: nowhere.",
    )
    replica_port_base: int | None = Field(
        None,
        ge=0,
        le=MAX_PORT,
        description="Replica i has /metrics on replica_port_base + i of its node; 0: on a free "
        "port; null: nowhere.",
    )

    def replica_port(self, replica: int) -> int | None:
        """Give the port for a replica's metrics; 0 is any that is free, None is none."""
        base = self.replica_port_base
        return base + replica if base else base
