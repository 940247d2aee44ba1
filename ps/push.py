"""One push, and what a shard answers to it."""

from __future__ import annotations

from dataclasses import dataclass

from ps.layout import FlatVector

MAX_NORM = 1e18  # of a gradient: the square of more does not fit float32


@dataclass(frozen=True)
class Push:
    """One gradient under its name; the fields are PushRequest's.

    sample_version: that the oldest rollout was sampled from; None is the same as base_version.
    """

    replica: int
    sequence: int
    incarnation: int
    base_version: int
    gradient: FlatVector
    sample_version: int | None = None

    @property
    def sampled_at(self) -> int:
        """The version that the oldest rollout was sampled from."""
        return self.base_version if self.sample_version is None else self.sample_version

    @property
    def name(self) -> str:
        """Name the push in a message."""
        return f"push r{self.replica}#{self.sequence}"


@dataclass(frozen=True)
class PushAnswer:
    """What became of a push: version and updates right after it, staleness in pushes.

    staleness is that of the version the gradient was computed at, sample_staleness that of the one
    the oldest rollout was sampled from: never less.
    """

    version: int
    updates: int
    staleness: int
    sample_staleness: int
    is_repeated: bool = False
