"""Ray's autoscaler: whether the cluster has one, and what it is asked for."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Self

import ray
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

logger = logging.getLogger(__name__)

# For how long nothing is asked for once there is room: child workers take it meanwhile, maybe
# those of another search, and all of them look for it every two seconds.
QUIET_S = 10.0


def has_autoscaler() -> bool:
    """Tell whether somebody may start nodes for the cluster; Ray has to be joined.

    Ray has no public way to ask, and its monitor runs on every head, where it may have nothing to
    start nodes with. Nodes that are of a type were started by somebody who has types of them.
    """
    worker: Any = ray._private.worker.global_worker
    nodes = worker.gcs_client.get_all_node_info()
    return any(node.node_type_name for node in nodes.values())


class RoomRequest:
    """Has the autoscaler, if there is one, make room for more child workers, within its limits.

    Without it the autoscaler would see the child workers alone that wait for a place, and there
    are none: the search starts as many as fit.

    What it sees instead are placement groups that wait for room. Those of several searches add up,
    and Ray drops them when the process that made them ends, however it ends. Once one of them has
    its room all are given up, since the room is for child workers (docs/decisions/0027).

    Threads: one at a time.
    """

    def __init__(self, is_wanted: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """Ask for nothing yet; ever, unless it is wanted and there is an autoscaler."""
        self._is_wanted = is_wanted and has_autoscaler()
        self._clock = clock
        self._bundle: dict[str, float] = {}
        self._groups: list[PlacementGroup] = []
        self._number = 0
        self._ask_at = clock()

    def ask(self, bundle: Mapping[str, float], number: int) -> None:
        """Want room for `number` more of `bundle` than there is now, and for nothing else.

        It is to be called again and again: only then is room that has come given to child workers.
        It waits for no room, only for Ray's head, some milliseconds.
        """
        if not self._is_wanted:
            return
        wanted = {resource: each for resource, each in bundle.items() if each}
        if wanted != self._bundle:
            self.withdraw()
            self._bundle = wanted
        if any(_has_room(group) for group in self._groups):
            self.withdraw()
            self._ask_at = self._clock() + QUIET_S
        if self._clock() < self._ask_at:
            return
        lacking = Counter(group_sizes(number))
        kept = []
        for group in self._groups:
            if lacking[group.bundle_count]:
                lacking[group.bundle_count] -= 1
                kept.append(group)
            else:
                remove_placement_group(group)
        self._groups = kept + [placement_group([wanted] * size) for size in lacking.elements()]
        if number != self._number:
            self._number = number
            logger.info("the autoscaler is asked for room for %d more of %s", number, wanted)

    def withdraw(self) -> None:
        """Need no more room; nodes that stand idle are ended. To withdraw it again is harmless."""
        groups, self._groups, self._number = self._groups, [], 0
        with suppress(ray.exceptions.RayError, RuntimeError):
            for group in groups:
                remove_placement_group(group)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.withdraw()


def group_sizes(number: int) -> list[int]:
    """Give the sizes of the groups that so many bundles are asked for in.

    The autoscaler leaves out a group that its limits do not allow as a whole. Of these it can fill
    every limit to the last bundle, if it tries the largest first, as it does; and they are few,
    while one for each bundle would be as many as the bundles.

    >>> group_sizes(12)
    [1, 2, 4, 5]
    """
    sizes: list[int] = []
    while number > 0:
        sizes.append(min(number, 2 ** len(sizes)))
        number -= sizes[-1]
    return sizes


def _has_room(group: PlacementGroup) -> bool:
    table: dict[str, Any] = placement_group_table(group)
    return table.get("state") != "PENDING"
