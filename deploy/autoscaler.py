"""Ray's autoscaler: whether the cluster has one, and what it is asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import ray
from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray.autoscaler.sdk import request_resources
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.experimental.internal_kv import _internal_kv_exists

from workers.child import ChildrenSettings

logger = logging.getLogger(__name__)


def has_autoscaler() -> bool:
    """Tell whether somebody may start nodes for the cluster; Ray has to be joined.

    Ray has no public way to ask. Its first autoscaler writes down how it is, its second that it is.
    """
    return bool(_internal_kv_exists(DEBUG_AUTOSCALING_STATUS)) or is_autoscaler_v2()


@contextmanager
def room_for(children: ChildrenSettings, num_children: int) -> Iterator[None]:
    """Have the autoscaler, if there is one, keep room for so many children during the block.

    It starts what its limits allow, and ends what stands idle afterwards. Without the request it
    would see the child workers alone that wait for a place, and there are none: the search starts
    as many as fit.
    """
    if not has_autoscaler():
        yield
        return
    child = {"CPU": children.num_cpus, "GPU": children.num_gpus}
    bundle = {resource: number for resource, number in child.items() if number}
    request_resources(bundles=[bundle] * num_children)
    logger.info("the autoscaler is asked for room for %d children of %s", num_children, bundle)
    try:
        yield
    finally:
        with suppress(ray.exceptions.RayError, RuntimeError):
            request_resources(bundles=[])
