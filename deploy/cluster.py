"""Ray for the length of a search: started here or joined, and with room for the children."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path

import ray
import torch

from deploy.settings import SearchSettings
from workers.remote import summary_of

CONNECT_TIMEOUT_S = 5.0


class ClusterError(Exception):
    """There is no Ray that can run the search.

    ClusterError
      Shortage  it has not what the search asks for: ask for less
    """


class Shortage(ClusterError):
    """There are fewer CPUs, GPUs or nodes than the search asks for, or more nodes."""


def check_machine(settings: SearchSettings) -> None:
    """Check, where no cluster is to be joined, that this machine has what the search asks for.

    At once, while Ray takes seconds to start. It may find less then: a container's share of CPUs.

    Raises:
        Shortage: the machine has not.
    """
    if _address() == "local":
        there = {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count()}
        _check(settings, 1, there)


@contextmanager
def cluster(settings: SearchSettings, folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Start Ray on this machine, or join the cluster that RAY_ADDRESS names, and leave it.

    Args:
        folder: one without Python packages. Ray puts the folder that it is started from first on
            its workers' path, where a folder `workers` of the user's would hide ours.
        say: is told what happens.

    Raises:
        ClusterError: Ray cannot be started or reached.
        Shortage: it cannot run the search.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = _address()
    say("starting Ray" if address == "local" else f"joining the Ray cluster at {address}")
    _check_reachable(address)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with chdir(folder):
            ray.init(
                address=address,
                include_dashboard=False if address == "local" else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ValueError, ConnectionError, RuntimeError, OSError) as error:
        raise ClusterError(f"no Ray at RAY_ADDRESS={address}: {summary_of(error)}") from error
    if threading.current_thread() is threading.main_thread():
        # Ray has put its own in their place, which end the process.
        for number, handler in handlers.items():
            signal.signal(number, handler)
    try:
        _check(settings, len(ray.nodes()), ray.available_resources())
        yield
    finally:
        ray.shutdown()


def shortage(settings: SearchSettings, num_nodes: int, free: Mapping[str, float]) -> str:
    """Say why a cluster cannot run the search, a line for each reason; empty where it can.

    Ray itself waits for ever, in silence, for what is not there.

    Args:
        free: of each of Ray's resources, such as CPU, what nobody has taken.
    """
    if num_nodes > 1:
        return (
            f"the Ray cluster has {num_nodes} nodes: must be 1, since shards listen on loopback; "
            "stop the other nodes, or unset RAY_ADDRESS to search on this machine alone"
        )
    num_children = settings.num_replicas * settings.children.per_replica
    lacks = []
    for resource, key, each in (
        ("GPU", "children.num_gpus", settings.children.num_gpus),
        ("CPU", "children.num_cpus", settings.children.num_cpus),
    ):
        usable = free.get(resource, 0)
        if resource == "GPU" and 0 < each < 1:
            # A child's fraction of a GPU is of one GPU: two of 0.6 do not share one.
            usable = int(usable) * int(1 / each) * each
        if num_children * each > usable + 1e-6:
            hint = ", or set children.num_gpus=0 to train on CPUs" if resource == "GPU" else ""
            lacks.append(
                f"{key}={each:g}: {num_children} children at once (num_replicas="
                f"{settings.num_replicas} x children.per_replica={settings.children.per_replica}) "
                f"need {num_children * each:g} {resource}s, and {usable:g} are free for them; "
                f"lower one of the three{hint}"
            )
    return "\n".join(lacks)


def _check(settings: SearchSettings, num_nodes: int, free: Mapping[str, float]) -> None:
    if lack := shortage(settings, num_nodes, free):
        raise Shortage(lack)


def _address() -> str:
    return os.environ.get("RAY_ADDRESS", "local")


def _check_reachable(address: str) -> None:
    """Ray tries an address at which nobody listens for a quarter of an hour."""
    match = re.fullmatch(r"(?:ray://)?([^/:]+):(\d+)", address)
    if match is None:
        return
    host, port = match[1], int(match[2])
    try:
        socket.create_connection((host, port), CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"RAY_ADDRESS={address}: must be a Ray cluster that runs; {error}; start one there, or "
            "unset RAY_ADDRESS to search on this machine alone"
        ) from error
