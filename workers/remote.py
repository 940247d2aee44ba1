"""Actors: how one is started, and what it answered or raised."""

from __future__ import annotations

from typing import Any

import ray


def spawn(
    kind: type, *arguments: Any, num_cpus: float = 0, num_gpus: float = 0, num_threads: int = 1
) -> Any:
    """Start an actor that wraps an object of a plain class, and give its handle.

    Args:
        kind: the class. arguments are those of its constructor.
        num_cpus, num_gpus: what Ray sets aside. Shards, replicas and the ledger ask for nothing:
            they are light, and on a laptop every core belongs to the children.
        num_threads: methods that may run at the same time.
    """
    options = {"num_cpus": num_cpus, "num_gpus": num_gpus, "max_concurrency": num_threads}
    return ray.remote(kind).options(**options).remote(*arguments)


def summary_of(error: Exception) -> str:
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
