"""Ray for the length of a search: started here or joined, and with room for the children."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path

import ray
import torch

from deploy.settings import SearchSettings
from workers.remote import summary_of
from workers.slots import Node, lacking, nodes

CONNECT_TIMEOUT_S = 5.0


class ClusterError(Exception):
    """There is no Ray that can run the search.

    ClusterError
      Shortage  it has not what the search asks for: ask for less
    """


class Shortage(ClusterError):
    """No node has the CPUs and GPUs of one child, or there are several machines."""


def check_machine(settings: SearchSettings) -> None:
    """Check, where no cluster is to be joined, that this machine has what one child needs.

    At once, while Ray takes seconds to start. It may find less then: a container's share of CPUs.

    Raises:
        Shortage: the machine has not.
    """
    if _address() == "local":
        there = {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count()}
        _check(settings, [Node("this machine", there, there)])


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
        _check(settings, nodes())
        yield
    finally:
        ray.shutdown()


def shortage(settings: SearchSettings, nodes: Sequence[Node]) -> str:
    """Say why a cluster can never run the search; empty where it can, be it later.

    Ray itself waits for ever, in silence, for what no node has.
    """
    names = {node.name for node in nodes}
    if len(names) > 1:
        return (
            f"the Ray cluster has {len(names)} machines: must be 1, since shards listen on "
            "loopback; stop the others, or unset RAY_ADDRESS to search on this machine alone"
        )
    lacks = lacking(settings.children, nodes)
    if not lacks:
        return ""
    hint = ", or set children.num_gpus=0 to train on CPUs" if "num_gpus" in lacks else ""
    return f"{lacks}: a child fits nowhere; ask for less for each{hint}"


def _check(settings: SearchSettings, nodes: Sequence[Node]) -> None:
    if lack := shortage(settings, nodes):
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
