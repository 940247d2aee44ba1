"""Ray's autoscaler: whether the cluster has one, and what it is asked for."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, Self

import ray
from ray.autoscaler.sdk import request_resources

from workers.children_settings import ChildrenSettings

logger = logging.getLogger(__name__)


def has_autoscaler() -> bool:
    """Tell whether somebody may start nodes for the cluster; Ray has to be joined.

    Ray has no public way to ask, and its monitor runs on every head, where it may have nothing to
    start nodes with. Nodes that are of a type were started by somebody who has types of them.
    """
    worker: Any = ray._private.worker.global_worker
    nodes = worker.gcs_client.get_all_node_info()
    return any(node.node_type_name for node in nodes.values())


class RoomRequest:
    """Has the autoscaler, if there is one, keep room for child workers until it is withdrawn.

    It starts what its limits allow. Without the request it would see the child workers alone that
    wait for a place, and there are none: the search starts as many as fit.

    Ray has one such request for the whole cluster, and keeps it beyond the end of who made it: of
    two searches the last one counts, and whoever is killed leaves it (docs/clusters.md).

    Threads: one at a time.
    """

    def __init__(self, children: ChildrenSettings, num_children: int) -> None:
        """Ask for room for so many; for 0 nothing is asked."""
        self._is_made = num_children > 0 and has_autoscaler()
        if self._is_made:
            child = {"CPU": children.num_cpus, "GPU": children.num_gpus}
            bundle = {resource: number for resource, number in child.items() if number}
            request_resources(bundles=[bundle] * num_children)
            logger.info("the autoscaler is asked for room for %d of %s", num_children, bundle)

    def withdraw(self) -> None:
        """Need no more room; nodes that stand idle are ended. To withdraw it again is harmless."""
        if self._is_made:
            self._is_made = False
            with suppress(ray.exceptions.RayError, RuntimeError):
                request_resources(bundles=[])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.withdraw()
