"""The folder in which a shard keeps its state: how its files are named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

EPOCH_FILE = "EPOCH"
LOCK_FILE = "LOCK"
TEMPORARY_SUFFIX = ".tmp"

_JOURNAL = re.compile(r"journal-(\d{8,})-(\d{8,})")
_CHECKPOINT = re.compile(r"checkpoint-(\d{8,})-(\d{8,})-([0-9a-f]{8})\.safetensors")


@dataclass(frozen=True, order=True)
class Segment:
    """One file of a journal, named by the life that writes it and by its number in that life."""

    epoch: int
    number: int

    @property
    def file_name(self) -> str:
        return f"journal-{self.epoch:08d}-{self.number:08d}"

    @classmethod
    def parse(cls, file_name: str) -> Segment | None:
        """Give the segment that a file is, or None for another kind of file."""
        match = _JOURNAL.fullmatch(file_name)
        return None if match is None else cls(int(match[1]), int(match[2]))


@dataclass(frozen=True, order=True)
class CheckpointName:
    """The name of a checkpoint: the segment at whose begin it was taken, and its checksum."""

    segment: Segment
    checksum: int

    @property
    def file_name(self) -> str:
        epoch, number = self.segment.epoch, self.segment.number
        return f"checkpoint-{epoch:08d}-{number:08d}-{self.checksum:08x}.safetensors"

    @classmethod
    def parse(cls, file_name: str) -> CheckpointName | None:
        """Give the name in its parts, or None for another kind of file."""
        match = _CHECKPOINT.fullmatch(file_name)
        if match is None:
            return None
        return cls(Segment(int(match[1]), int(match[2])), int(match[3], 16))


def shard_folder(run_folder: Path, shard: int) -> Path:
    """Give the folder of a shard's state in a run directory."""
    return run_folder / "shards" / f"shard-{shard}"
