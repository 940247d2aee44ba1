"""The state of a search at rest, cut anew for another number of shards."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ps.checkpoint import write_checkpoint
from ps.disk import Disk
from ps.epoch import Epoch
from ps.errors import DiskFailure, NotAtRest, StateMismatch
from ps.folder import TEMPORARY_SUFFIX, Segment, shard_folder
from ps.journal import Journal
from ps.layout import FlatVector, Layout
from ps.line import Place
from ps.optimizer import SliceOptimizer
from ps.plan import ShardPlan
from ps.recovery import recover
from ps.state import StoreState

# Of these each shard tells its own story, since pushes of several replicas may reach two shards in
# another order; the new shards take the largest.
_LARGEST = ("staleness_sum", "staleness_max")


@dataclass(frozen=True)
class _Source:
    """A shard that is held: no other life of it answers anything."""

    plan: ShardPlan
    epoch: Epoch
    state: StoreState


@contextmanager
def reshard(
    sources: Sequence[Path],
    plans: Sequence[ShardPlan],
    target: Path,
    num_shards: int,
    durability: str,
    initial_values: FlatVector,
    disk: Disk | None = None,
) -> Iterator[int]:
    """Write the state that some shards hold together as that of another number of shards.

    Values, moments and the unfinished tail of accumulated gradients are the same to the last bit,
    and so is everything that later pushes make of them. Within the block the new state is whole and
    durable, and the old shards are still held, so that none of them can begin meanwhile; use it to
    put the new state in its place. The sources stay, and can be gone on from as before.

    Args:
        sources: the folders of shards 0, 1, ... of the present number; no shard may be running. One
            on this host is refused; one on another is fenced off, and ends.
        plans: of the same shards.
        target: is made, all at once, with a folder for each new shard in it, named as in
            `ps.folder.shard_folder`. Must not exist.
        durability: of the sources and of the new shards; journal or checkpoint.
        initial_values: (P,) float32, what the search was initialized with. New shards remember no
            more of it than a digest of their slices, which cannot be had from the old digests.

    Yields:
        The version.

    Raises:
        ValueError: more shards than parameters, or arguments that do not fit each other.
        NotAtRest: a shard holds no values, or has accepted other pushes than the others.
        StateMismatch: a state is that of another shard, or began with other values.
        StateInUse, PastEpoch, CorruptState, DiskFailure: see `ps.errors`. The sources stay usable;
            after a DiskFailure the target may be there, whole.
    """
    disk = disk or Disk()
    layout = _checked_layout(sources, plans, target, initial_values)
    new_layout = Layout(layout.shapes, num_shards)
    with ExitStack() as stack:
        held = [
            stack.enter_context(_held(disk, folder, plan, durability))
            for folder, plan in zip(sources, plans, strict=True)
        ]
        _check_beginnings(held, initial_values)
        for other in held[1:]:
            _check_rest(held[0], other, durability)
        merged = _merged([source.state for source in held], plans[0])
        newest = max(source.epoch.number for source in held)
        beside = target.with_name(target.name + TEMPORARY_SUFFIX)
        try:
            shutil.rmtree(beside, ignore_errors=True)  # of an attempt that was killed
            beside.mkdir()
            for shard, owned in enumerate(new_layout.slices):
                folder = beside / shard_folder(beside, shard).name
                plan = ShardPlan(new_layout, shard, plans[0].optimizer, plans[0].updates)
                state = _cut(merged, owned, initial_values)
                _write(disk, folder, plan, durability, state, newest)
            for source in held:
                source.epoch.check()
            disk.rename(beside, target)
            disk.sync_folder(target.parent)
        except Exception as error:
            shutil.rmtree(beside, ignore_errors=True)
            if isinstance(error, OSError):
                raise DiskFailure(f"{target}: the state cannot be written: {error}") from error
            raise
        yield merged.numbers["version"]


def _checked_layout(
    sources: Sequence[Path], plans: Sequence[ShardPlan], target: Path, initial_values: FlatVector
) -> Layout:
    if not plans or [plan.shard for plan in plans] != list(range(plans[0].layout.num_shards)):
        raise ValueError(f"plans of shards {[p.shard for p in plans]}: must be all of one layout")
    if len(sources) != len(plans):
        raise ValueError(f"{len(sources)} sources: must be {len(plans)}, one for each plan")
    layout, rules = plans[0].layout, (plans[0].optimizer, plans[0].updates)
    if any((p.layout, p.optimizer, p.updates) != (layout, *rules) for p in plans):
        raise ValueError("plans: must have the same layout, optimizer and rules of updating")
    if initial_values.shape != (layout.num_parameters,) or initial_values.dtype != np.float32:
        raise ValueError(
            f"initial_values of type {initial_values.dtype} and shape {initial_values.shape}: must "
            f"be float32 of shape ({layout.num_parameters},)"
        )
    if target.exists():
        raise ValueError(f"target={target}: must not exist")
    return layout


@contextmanager
def _held(disk: Disk, folder: Path, plan: ShardPlan, durability: str) -> Iterator[_Source]:
    """Begin a life of the shard that answers nothing, and end it behind the block."""
    if not folder.is_dir():
        raise NotAtRest(f"{folder} does not exist: must be the folder of {plan.who}")
    epoch = Epoch.claim(disk, folder)
    try:
        disk.close(epoch.first_file)  # nothing is appended, so the next life passes over it
        identity = plan.identity | {"durability": durability}
        may_have_lost = durability != "journal"
        store = recover(disk, folder, epoch.number, plan, identity, may_have_lost).store
        if not store.is_initialized:
            raise NotAtRest(
                f"{folder}: {plan.who} holds no values; a new search initializes it, and in a "
                "running search it has lost its state"
            )
        yield _Source(plan, epoch, store.state())
    finally:
        epoch.release()


def _check_beginnings(held: Sequence[_Source], initial_values: FlatVector) -> None:
    for source in held:
        owned = source.plan.layout.slices[source.plan.shard]
        if source.state.arrays["initial_sha256"].tobytes() != _sha256(initial_values[owned]):
            raise StateMismatch(
                f"{source.plan.who} was initialized with other values than those given; they are a "
                "function of the search's seed and policy: are these the settings of this search?"
            )


def _check_rest(first: _Source, other: _Source, durability: str) -> None:
    differing = [
        f"{name} {other.state.numbers[name]} instead of {number}"
        for name, number in first.state.numbers.items()
        if name not in _LARGEST and other.state.numbers[name] != number
    ]
    pushes, expected = _last_pushes(other), _last_pushes(first)
    differing += [
        f"{_said(replica, pushes)} instead of {_said(replica, expected)}"
        for replica in sorted({*pushes, *expected})
        if pushes.get(replica) != expected.get(replica)
    ]
    if not differing:
        return
    raise NotAtRest(
        f"{other.plan.who} has {'; '.join(differing)}, as shard 0 has: a push is open on some "
        "shards only, so that no shard's state fits the others'; go on with the search and stop it "
        "again, by one Ctrl-C or nasrl stop: it ends with all its pushes finished"
        + (
            "; a shard that went back to its last checkpoint (durability: checkpoint) stays "
            "behind, and its search has to keep its shards"
            if durability == "checkpoint"
            else ""
        )
    )


def _last_pushes(source: _Source) -> dict[int, tuple[int, int]]:
    rows = source.state.arrays["last_pushes"].tolist()
    return {replica: (sequence, incarnation) for replica, sequence, incarnation, *_ in rows}


def _said(replica: int, pushes: dict[int, tuple[int, int]]) -> str:
    if replica not in pushes:
        return f"no push r{replica}"
    sequence, incarnation = pushes[replica]
    return f"push r{replica}#{sequence} of incarnation {incarnation}"


def _merged(states: Sequence[StoreState], plan: ShardPlan) -> StoreState:
    """Give the state of one shard that owns everything; without a digest of its first values."""
    first = states[0]
    arrays: dict[str, NDArray[Any]] = dict(first.arrays)
    # Gradients are accumulated only where the settings say so; elsewhere they have no elements.
    for name in (*SliceOptimizer(plan.optimizer, 1).vector_names, "accumulated"):
        arrays[name] = np.concatenate([state.arrays[name] for state in states])
    arrays["last_pushes"] = np.max([state.arrays["last_pushes"] for state in states], axis=0)
    largest = {name: max(state.numbers[name] for state in states) for name in _LARGEST}
    return StoreState(arrays, {**first.numbers, **largest})


def _cut(merged: StoreState, owned: slice, initial_values: FlatVector) -> StoreState:
    shared = {"step", "last_pushes"}
    arrays = {
        name: array if name in shared else array[owned] for name, array in merged.arrays.items()
    }
    arrays["initial_sha256"] = np.frombuffer(_sha256(initial_values[owned]), np.uint8)
    return StoreState(arrays, merged.numbers)


def _write(
    disk: Disk, folder: Path, plan: ShardPlan, durability: str, state: StoreState, newest: int
) -> None:
    """Write the state of a new shard: the first segment of a life, and a checkpoint at its begin.

    Args:
        newest: the number of the newest life of the old shards. Those of the new ones are higher,
            so that an old life which comes to the folder by its name finds itself fenced off.
    """
    folder.mkdir()
    before = Segment(newest, 0)
    disk.close(disk.create(folder / before.file_name))
    epoch = Epoch.claim(disk, folder)
    try:
        identity = plan.identity | {"durability": durability}
        # A shard may begin without a checkpoint only where nothing came before: so something did,
        # which is not there, and a checkpoint that is damaged later is noticed.
        journal = Journal(disk, folder, epoch, identity, Place(before, 0, 0))
        try:
            write_checkpoint(disk, folder, Segment(epoch.number, 0), identity, state)
        finally:
            journal.close()
    finally:
        epoch.release()


def _sha256(values: FlatVector) -> bytes:
    return hashlib.sha256(values.tobytes()).digest()
