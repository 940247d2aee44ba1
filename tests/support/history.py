"""What was asked of one shard and what it answered, compared with the simplest model of a shard.

The model is whole numbers: every push adds the powers of two of `added_by` to a vector, so that the
values at a version are the sum over the pushes up to it, exact in float32. Nothing here is shared
with the shards.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Literal

Name = tuple[int, int]  # of a push: replica and sequence

FIRST_SEQUENCE = 1


@dataclass(frozen=True)
class Accepted:
    """What a shard has answered to a push."""

    version: int
    updates: int
    staleness: int
    sample_staleness: int
    is_repeated: bool


@dataclass(frozen=True)
class Pulled:
    """Values that a shard has given, float32 as little-endian bytes, and their version."""

    version: int
    values: bytes


@dataclass(frozen=True)
class Operation:
    """One call: what was asked from when to when, by one clock for all.

    answered is None where no answer came: it happened once, at whatever time after it was invoked,
    or not at all. A repeat is a push under a name that was sent before.
    """

    kind: Literal["pull", "push", "push_and_pull", "repeat"]
    invoked: float
    answered: float | None
    name: Name | None = None
    base: int = 0
    accepted: Accepted | None = None
    pulled: Pulled | None = None

    def __str__(self) -> str:
        name = "" if self.name is None else f" r{self.name[0]}#{self.name[1]}"
        return f"{self.kind}{name} of {self.invoked:.6f}"


def initial_values(num_values: int) -> list[int]:
    """Give the values of version 0."""
    return list(range(num_values))


def added_by(name: Name, num_values: int) -> dict[int, int]:
    """Give what a push adds to which values: one that is its replica's own, and one of all."""
    replica, sequence = name
    assert 0 <= replica < num_values - 1, f"replica={replica}: must be below {num_values - 1}"
    return {
        replica: 2 ** ((replica + sequence) % 3),
        num_values - 1: 2 ** ((3 * replica + 5 * sequence) % 4),
    }


def violations(history: Iterable[Operation], num_values: int) -> list[str]:
    """Check a history of one shard, and give what cannot have happened.

    A pull after everything else makes the check complete: it tells which of the pushes without an
    answer have happened.
    """
    return [*_Check(sorted(history, key=lambda each: each.invoked), num_values).violations()]


@dataclass(frozen=True)
class _Push:
    """Everything that is known of one push, over all calls that named it."""

    name: Name
    calls: tuple[Operation, ...]

    @property
    def answers(self) -> list[Operation]:
        return [call for call in self.calls if call.accepted is not None]

    @property
    def version(self) -> int | None:
        versions = [call.accepted.version for call in self.calls if call.accepted is not None]
        return min(versions, default=None)

    @property
    def invoked(self) -> float:
        """The earliest time at which it can have been accepted."""
        first = [c for c in self.answers if c.accepted and not c.accepted.is_repeated]
        return min(call.invoked for call in (first or self.calls))


class _Check:
    def __init__(self, history: Sequence[Operation], num_values: int) -> None:
        self._num_values = num_values
        self._history = history
        self._pulls = sorted(
            ((call.pulled, call) for call in history if call.pulled is not None),
            key=lambda pair: pair[0].version,
        )
        calls = defaultdict(list)
        for call in history:
            if call.name is not None:
                calls[call.name].append(call)
        self._pushes = {name: _Push(name, tuple(of)) for name, of in calls.items()}
        # What every answer shows: that the shard had come so far.
        shown = sorted(
            (call.answered, version) for call in history for version in _versions_in(call)
        )
        self._shown_at = [when for when, _ in shown]
        self._highest_shown = list(accumulate((version for _, version in shown), max))
        self._by_version: dict[int, _Push] = {}

    def violations(self) -> Iterator[str]:
        """Give all that is wrong."""
        yield from self._check_answers()
        yield from self._check_versions()
        yield from self._check_sequences()
        yield from self._check_order()
        yield from self._check_values()

    def _check_answers(self) -> Iterator[str]:
        """Each push has one answer, however often it was given, and it is consistent."""
        for push in self._pushes.values():
            answers = [(call, call.accepted) for call in push.calls if call.accepted is not None]
            if len({replace(a, is_repeated=False) for _, a in answers}) > 1:
                yield f"{push.calls[0]} has more than one answer: {[a for _, a in answers]}"
            if sum(not a.is_repeated for _, a in answers) > 1:
                yield f"{push.calls[0]} was applied twice: {[a for _, a in answers]}"
            for call, answer in answers:
                if answer.staleness != answer.version - 1 - call.base:
                    yield f"{call}: wrong staleness: {answer}, base version {call.base}"
                if answer.updates != answer.version:
                    yield f"{call}: {answer}: each push is one update"
                if call.pulled is not None and call.pulled.version < answer.version:
                    yield f"{call}: {answer} came with values of version {call.pulled.version}"

    def _check_versions(self) -> Iterator[str]:
        """Each version is that of one push, and of each push there is one at the most."""
        for push in self._pushes.values():
            if push.version is None:
                continue
            other = self._by_version.setdefault(push.version, push)
            if other is not push:
                yield f"version {push.version} is reused: {other.calls[0]}, {push.calls[0]}"
        yield from self._explain(self._highest_shown[-1] if self._highest_shown else 0)

    def _explain(self, highest: int) -> Iterator[str]:
        """Find for each version that nobody was told of the push without an answer that it is.

        Each of these can only have happened between two versions, by what was pulled and told; the
        one that must be earliest is taken first.
        """
        waiting = [self._window(push) for push in self._pushes.values() if push.version is None]
        for version in range(1, highest + 1):
            if version in self._by_version:
                continue
            fitting = [(high, p.name, p) for low, high, p in waiting if low < version <= high]
            if not fitting:
                yield f"version {version} is no push that was sent"
                continue
            *_, push = min(fitting)
            self._by_version[version] = push
            waiting = [each for each in waiting if each[2] is not push]

    def _window(self, push: _Push) -> tuple[int, float, _Push]:
        """Give the version that a push without an answer must be above, and the last it can be."""
        replica, sequence = push.name
        low: int = self._shown_before(push.invoked)
        high = float("inf")
        before = self._pushes.get((replica, sequence - 1))
        if before is not None and before.version is not None:
            low = max(low, before.version)
        after = self._pushes.get((replica, sequence + 1))
        if after is not None and after.version is not None:
            high = after.version - 1
        reached = self._sum_of(push.name)
        index = bisect_left(self._pulls, reached, key=lambda pair: _value_in(pair[0], replica))
        if index < len(self._pulls):
            high = min(high, self._pulls[index][0].version)
        if index > 0:
            low = max(low, self._pulls[index - 1][0].version)
        return low, high, push

    def _sum_of(self, name: Name) -> int:
        """Give the value that is the replica's own when it has pushed up to here."""
        replica, sequence = name
        return initial_values(self._num_values)[replica] + sum(
            added_by((replica, each), self._num_values)[replica]
            for each in range(FIRST_SEQUENCE, sequence + 1)
        )

    def _check_sequences(self) -> Iterator[str]:
        """The pushes of a replica are accepted in their order, and none is left out."""
        of_replica = defaultdict(list)
        for version, push in sorted(self._by_version.items()):
            of_replica[push.name[0]].append((push.name[1], version))
        for replica, accepted in of_replica.items():
            if accepted[0][0] != FIRST_SEQUENCE:
                yield f"replica {replica} begins with sequence {accepted[0][0]}"
            for (sequence, _), (following, version) in pairwise(accepted):
                if following != sequence + 1:
                    yield (
                        f"replica {replica}: sequence {following}, at version {version}, "
                        f"follows sequence {sequence}"
                    )

    def _check_order(self) -> Iterator[str]:
        """What was answered before a call began happened before it, and nothing from the future."""
        for push in self._pushes.values():
            shown = self._shown_before(push.invoked)
            if push.version is not None and push.version <= shown:
                yield (
                    f"{push.calls[0]} is out of order: it is version {push.version}, and version "
                    f"{shown} had been shown before it was sent"
                )
        latest = 0.0
        sent_by = [latest]
        for version in range(1, max(self._by_version, default=0) + 1):
            push = self._by_version.get(version)
            latest = latest if push is None else max(latest, push.invoked)
            sent_by.append(latest)
        for call in self._history:
            if call.pulled is not None and call.pulled.version < self._shown_before(call.invoked):
                yield (
                    f"{call} is stale: it gave version {call.pulled.version}, and version "
                    f"{self._shown_before(call.invoked)} had been shown before it began"
                )
            for version in _versions_in(call):
                assert call.answered is not None, f"{call} shows a version without an answer"
                if version < len(sent_by) and sent_by[version] > call.answered:
                    yield f"{call} gave version {version} before all pushes up to it were sent"

    def _check_values(self) -> Iterator[str]:
        """The values at each version are the sum of all pushes up to it, to the last bit."""
        values, version = initial_values(self._num_values), 0
        packing = struct.Struct(f"<{self._num_values}f")
        packed = packing.pack(*values)
        for pulled, call in self._pulls:
            while version < pulled.version:
                version += 1
                if version in self._by_version:
                    name = self._by_version[version].name
                    for index, added in added_by(name, self._num_values).items():
                        values[index] += added
                packed = b""
            packed = packed or packing.pack(*values)
            if pulled.values != packed:
                given = packing.unpack(pulled.values)
                wrong = [i for i, (a, b) in enumerate(zip(given, values, strict=True)) if a != b]
                yield (
                    f"{call}: the values are not those of version {pulled.version}: at "
                    f"{wrong} {[given[i] for i in wrong]} instead of {[values[i] for i in wrong]}"
                )

    def _shown_before(self, when: float) -> int:
        """Give the highest version that was in an answer before this time."""
        index = bisect_left(self._shown_at, when)
        return self._highest_shown[index - 1] if index else 0


def _value_in(pulled: Pulled, index: int) -> float:
    value: float = struct.unpack_from("<f", pulled.values, 4 * index)[0]
    return value


def _versions_in(call: Operation) -> list[int]:
    return [each.version for each in (call.accepted, call.pulled) if each is not None]
