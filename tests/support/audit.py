"""An audit of a run that has ended: ledger and journals read anew, by nothing of the system's own.

The ledger is read with sqlite3, the journals by the format that `ps.record` documents.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

# magic, kind, replica, sequence, incarnation, base version, sample version, bytes of the body, and
# three checksums.
HEADER = struct.Struct("<4sIIQQQQQIII")
MAGIC = b"nas2"
SEGMENT, PUSH = 1, 3

Row = dict[str, Any]
JournalledPush = tuple[int, int, int, int]  # replica, sequence, base version, sample version
SegmentNumber = tuple[int, int]  # of the shard's life, and in it


def audit(run: Path, num_trials: int, num_shards: int, decay: float = 0.9) -> None:
    """Fail unless a search has recorded its exact budget, and every reward has counted once.

    Args:
        decay: of the baseline, which starts at 0.
    """
    trials, pushes = _rows(run, "trials"), _rows(run, "pushes")
    _check_trials(trials, num_trials)
    _check_baselines(trials, decay)
    _check_pushes(trials, pushes)
    for shard in range(num_shards):
        _check_shard(shard, pushes, journal_of(run / "shards" / f"shard-{shard}"))


def journal_of(folder: Path) -> list[JournalledPush]:
    """Give the pushes that count, in their order; the journal must have all of them still."""
    line: list[JournalledPush] = []
    number, stop = max(_number(path) for path in folder.glob("journal-*")), None
    while number is not None:
        before, pushes = _segment(folder / f"journal-{number[0]:08d}-{number[1]:08d}")
        # What a life wrote behind the place at which the next one took over is void.
        line[:0] = [push for end, push in pushes if stop is None or end <= stop]
        number, stop = ((before[0], before[1]), before[2]) if before else (None, None)
    return line


def _segment(path: Path) -> tuple[list[int] | None, list[tuple[int, JournalledPush]]]:
    """Give where the segment before it ended, and each push with the offset behind it."""
    content, offset = path.read_bytes(), 0
    before: list[int] | None = None
    pushes = []
    while offset + HEADER.size <= len(content):
        fields = HEADER.unpack_from(content, offset)
        magic, kind, replica, sequence, _, base, sampled, length, *_ = fields
        body = content[offset + HEADER.size :][:length]
        if magic != MAGIC or len(body) < length:
            break  # it was being written when its process was killed
        offset += HEADER.size + length
        if kind == SEGMENT:
            before = json.loads(body)["predecessor"]
        elif kind == PUSH:
            pushes.append((offset, (replica, sequence, base, sampled)))
    return before, pushes


def _number(path: Path) -> SegmentNumber:
    _, epoch, number = path.name.split("-")
    return int(epoch), int(number)


def _rows(run: Path, table: str) -> list[Row]:
    with closing(sqlite3.connect(run / "ledger.sqlite")) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]


def _check_trials(trials: list[Row], num_trials: int) -> None:
    numbers = sorted(trial["trial"] for trial in trials)
    assert numbers == list(range(1, num_trials + 1)), "the budget, each trial once"
    assert {trial["state"] for trial in trials} <= {"completed", "infeasible"}
    records = sorted(trial["record_number"] for trial in trials)
    assert records == numbers, "each result once"


def _check_baselines(trials: list[Row], decay: float) -> None:
    average = None
    for trial in sorted(trials, key=lambda trial: trial["record_number"]):
        reward, stamp = trial["reward"], trial["baseline"]
        assert abs(stamp - (average or 0.0)) < 1e-9, f"baseline of trial {trial['trial']}: {stamp}"
        average = reward if average is None else decay * average + (1 - decay) * reward


def _check_pushes(trials: list[Row], pushes: list[Row]) -> None:
    carried: dict[tuple[int, int], list[int]] = {}
    for trial in trials:
        carried.setdefault((trial["push_replica"], trial["push_sequence"]), []).append(trial)
    names = [(push["replica"], push["sequence"]) for push in pushes]
    assert sorted(carried) == sorted(names), "each reward is in a push, each push has rewards"
    for push in pushes:
        name = f"push r{push['replica']}#{push['sequence']}"
        assert push["closed_at"] is not None, f"{name} is open"
        assert push["gradient"] is None, f"{name} keeps its gradient"
    for replica in {replica for replica, _ in names}:
        sequences = sorted(sequence for other, sequence in names if other == replica)
        assert sequences == list(range(1, len(sequences) + 1)), f"sequences of replica {replica}"


def _check_shard(shard: int, pushes: list[Row], journal: list[JournalledPush]) -> None:
    """Compare what the ledger says of a shard with what the shard wrote down itself."""
    told = []
    for push in pushes:
        version, base, sampled, staleness, sample_staleness = (
            json.loads(push[column])[shard]
            for column in (
                "versions",
                "base_versions",
                "sample_versions",
                "staleness",
                "sample_staleness",
            )
        )
        assert staleness == version - 1 - base
        assert sample_staleness == version - 1 - sampled
        told.append((version, (push["replica"], push["sequence"], base, sampled)))
    told.sort()
    assert [version for version, _ in told] == list(range(1, len(pushes) + 1)), "no gap"
    assert journal == [push for _, push in told], f"journal of shard {shard}"
