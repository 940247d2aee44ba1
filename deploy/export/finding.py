"""What is told of a network that a search found: how it was found, and its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A network and its search, in the words of people.

    title: such as "Trial 3 of digits-run". trial: its number. search: what was searched, such as
    "trial 3 of 120". text: the architecture as it prints; legend: its signs explained; details:
    further lines of it. figures: the numbers in half a line. numbers: all of them, each with its
    name. note: what there is to say of them; empty where it is nothing.
    """

    title: str
    trial: int
    search: str
    text: str
    legend: str
    details: str
    figures: str
    numbers: Mapping[str, str]
    note: str = ""
