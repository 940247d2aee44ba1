"""Actors: how one is started, and what it answered or raised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

T = TypeVar("T")

# Beside its work, which is one call at a time, an actor answers those of this group: whether it
# lives, and what is asked of it meanwhile.
CONTROL = "control"
NUM_CONTROL_THREADS = 2

# Where an actor may run; anything else is the id of the one node for it.
THIS_MACHINE = "this machine"
THIS_NODE = "this node"
ANYWHERE = "anywhere"


def control(method: T) -> T:
    """Mark a method of an actor that is answered while another works."""
    mark: Any = ray.method(concurrency_group=CONTROL)
    marked: T = mark(method)
    return marked


def spawn(
    kind: type,
    *arguments: Any,
    num_cpus: float = 0,
    num_gpus: float = 0,
    memory_bytes: int = 0,
    is_restarted: bool = False,
    place: str = THIS_MACHINE,
) -> Any:
    """Start an actor that wraps an object of a plain class, and give its handle.

    Args:
        kind: the class. arguments are those of its constructor.
        num_cpus, num_gpus, memory_bytes: what Ray sets aside.
        is_restarted: Ray makes it again, from the same arguments, whenever its process dies; the
            handle stays good.
        place: THIS_MACHINE, THIS_NODE, ANYWHERE, or the id of the one node it may run on. An actor
            whose node dies can be restarted on another only where it may run anywhere.
    """
    options = {"num_cpus": num_cpus, "num_gpus": num_gpus, **_placed(place)}
    if memory_bytes:
        options["memory"] = memory_bytes
    if is_restarted:
        options["max_restarts"] = -1
    remote: Any = ray.remote  # its stubs do not know the groups
    made = remote(concurrency_groups={CONTROL: NUM_CONTROL_THREADS})(kind)
    return made.options(**options).remote(*arguments)


def call(
    function: Callable[..., Any],
    *arguments: Any,
    num_cpus: float,
    num_gpus: float,
    place: str,
) -> Any:
    """Have a generator run once, as a task of Ray's; give the references of what it yields.

    They come one by one, as it goes on. If its process dies the next one raises that.

    Args:
        num_cpus, num_gpus, place: see `spawn`.
    """
    options = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "num_returns": "streaming",
        "max_retries": 0,
        **_placed(place),
    }
    # Given here, and not to `options`, they make Ray take a new process for each task with GPUs:
    # CUDA stays on the GPU that it has begun with.
    remote: Any = ray.remote(**options)
    return remote(function).remote(*arguments)


def _placed(place: str) -> dict[str, Any]:
    """Give the options by which Ray runs something at a place."""
    if place == THIS_MACHINE:
        # All nodes of a machine have this resource of Ray's; the least of it leaves room for
        # 10,000.
        return {"resources": {f"node:{ray.util.get_node_ip_address()}": 0.0001}}
    if place == ANYWHERE:
        return {}
    node = ray.get_runtime_context().get_node_id() if place == THIS_NODE else place
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def summary_of(error: BaseException) -> str:
    """Give the one line of an error of Ray's that says what happened; the rest is traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, ray.exceptions.RayActorError) and error.actor_init_failed:
        return lines[-1]  # what the constructor raised stands below its traceback
    return lines[0] if lines else type(error).__name__


def result_of(reference: Any, timeout_s: float | None = None) -> Any:
    """Wait for what a remote call returns, or raise what it raised, as if it had run here.

    The traceback of the other process stays in __cause__.

    Raises:
        ray.exceptions.GetTimeoutError: no answer within timeout_s; None waits for ever.
        ray.exceptions.RayActorError: the actor has died.
    """
    try:
        return ray.get(reference, timeout=timeout_s)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
