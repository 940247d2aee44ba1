"""What a shard says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ShardDescription:
    """What a shard is and where it stands; the fields are DescribeResponse's."""

    shard: int
    num_shards: int
    num_parameters: int
    layout_sha256: bytes
    is_initialized: bool
    version: int
    updates: int
    num_repeated: int
    num_refused: int
    staleness_sum: int
    staleness_max: int
    epoch: int = 0
    durability: Literal["journal", "checkpoint", "none"] = "none"
    metrics_port: int = 0
