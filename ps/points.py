"""Named points at which a crash is proved to do no harm."""

from __future__ import annotations

from typing import Literal

Point = Literal[
    "push checked",  # nothing of it has happened
    "push applied",  # in memory, not yet in the journal
    "push queued",  # its record waits to be written
    "journal written",  # the records of a group are in the file, and not synced
    "journal synced",  # durable, and nobody has been told
    "push durable",  # the epoch was read again; the answer comes next
    "journal rotated",  # a checkpoint begins with a new segment of the journal
    "checkpoint written",  # beside its place, not synced
    "checkpoint synced",
    "checkpoint renamed",  # in its place; the folder is not synced
    "checkpoint verified",  # read back; the journal behind it may go
    "journal being cut",  # some files behind the checkpoint are gone
    "journal cut",
    "epoch claimed",  # a new life has its number, and has not said so
    "epoch written",  # every older life is fenced off
    "state replayed",  # recovered in memory; the journal of this life is empty
    "journal begun",  # its first record names where the life before it ended
]


def reached(point: Point) -> None:
    """Do nothing. A test puts a crash in the place of this function."""
