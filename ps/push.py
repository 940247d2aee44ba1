"""One push, and what a shard answers to it."""

from __future__ import annotations

from dataclasses import dataclass

from ps.layout import FlatVector


@dataclass(frozen=True)
class Push:
    """One gradient under its name; the fields are PushRequest's."""

    replica: int
    sequence: int
    incarnation: int
    base_version: int
    gradient: FlatVector

    @property
    def name(self) -> str:
        """Name the push in a message."""
        return f"push r{self.replica}#{self.sequence}"


@dataclass(frozen=True)
class PushAnswer:
    """What became of a push: version and updates right after it, staleness in pushes."""

    version: int
    updates: int
    staleness: int
    is_repeated: bool = False
