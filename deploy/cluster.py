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
from typing import Any

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deploy.autoscaler import has_autoscaler
from deploy.go_on import is_in_job
from deploy.ray_start import start_ray
from deploy.run import Run
from deploy.settings import SearchSettings
from workers.node import Node, nodes
from workers.placement import LIGHT_BYTES, Placement
from workers.remote import result_of, summary_of
from workers.slots import lacking

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
_LOOK_TIMEOUT_S = 60.0
OPTIONS: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


class ClusterError(Exception):
    """There is no Ray that can run the search.

    ClusterError
      Shortage  it has not what the search asks for: ask for less
    """


class Shortage(ClusterError):
    """No node has the CPUs and GPUs of one child, or machines lack what they must share."""


def check_machine(settings: SearchSettings) -> None:
    """Check, where no cluster is to be joined, that this machine has what one child needs.

    At once, while Ray takes seconds to start. It may find less then: a container's share of CPUs.

    Raises:
        Shortage: the machine has not.
    """
    if _address() == "local":
        there = {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count()}
        _check(settings, [Node("this machine", there, there)])


def check_memory(settings: SearchSettings) -> None:
    """Check, where no cluster is to be joined, that this machine can hold the search's processes.

    Each replica and each shard is one, whether its children find room or not.

    Raises:
        Shortage: the machine cannot.
    """
    num_shards = 0 if settings.shards.addresses else settings.num_shards
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if _address() == "local" and (settings.num_replicas + num_shards) * LIGHT_BYTES > memory_bytes:
        raise Shortage(
            f"num_replicas={settings.num_replicas}, num_shards={settings.num_shards}: each is a "
            f"process of some {LIGHT_BYTES / 2**20:.0f} MiB, and this machine has "
            f"{memory_bytes / 2**30:.0f} GiB; ask for fewer, as with --set num_replicas=2, or let "
            "RAY_ADDRESS name a cluster"
        )


@contextmanager
def cluster(
    settings: SearchSettings, folder: Path, say: Callable[[str], None]
) -> Iterator[Placement]:
    """Start Ray on this machine, or join the cluster that RAY_ADDRESS names, and leave it.

    Gives where the processes of the search may run there.

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
            if address == "local":
                start_ray(say, include_dashboard=False, **OPTIONS)
            else:
                ray.init(address=address, **OPTIONS)
    except (ValueError, ConnectionError, RuntimeError, OSError) as error:
        raise ClusterError(f"no Ray at RAY_ADDRESS={address}: {summary_of(error)}") from error
    if threading.current_thread() is threading.main_thread():
        # Ray has put its own in their place, which end the process.
        for number, handler in handlers.items():
            signal.signal(number, handler)
    try:
        there = nodes()
        placement = Placement(
            is_spread=_is_spread(settings, there), is_on_gpus=settings.children.num_gpus > 0
        )
        if not placement.is_spread:
            _check(settings, there)
            yield placement
            return
        if lack := shortage(settings, there):
            if not has_autoscaler():
                raise Shortage(lack)
            say(f"no child can train until the autoscaler has started other nodes: {lack}")
        yield placement
    finally:
        ray.shutdown()


def check_folder(run: Run) -> None:
    """Check that every node sees the run directory: logs, certificates and shards' state are there.

    Raises:
        Shortage: one does not.
    """
    path, wanted = run.path / "id", run.id

    def id_there() -> str:
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError as error:
            return str(error)

    remote: Any = ray.remote
    look = remote(id_there).options
    asked = [
        (
            node.name,
            look(
                num_cpus=0,
                max_retries=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False),
            ).remote(),
        )
        for node in nodes()  # of which one machine may have several
    ]
    references = [reference for _, reference in asked]
    ray.wait(references, num_returns=len(references), timeout=_LOOK_TIMEOUT_S)
    for name, reference in asked:
        try:
            found = result_of(reference, timeout_s=0)
        except ray.exceptions.GetTimeoutError:
            found = f"no answer within {_LOOK_TIMEOUT_S:g} s"
        except ray.exceptions.RayError as error:
            logger.warning("node %s has gone: %s", name, summary_of(error))
            continue
        if found != wanted:
            raise Shortage(
                f"run directory {run.path}: node {name} does not see it ({found}): must be on "
                "storage that all nodes of the cluster share; give another with --run-dir"
            )


def shortage(settings: SearchSettings, nodes: Sequence[Node]) -> str:
    """Say why a cluster can never run the search; empty where it can, be it later.

    Ray itself waits for ever, in silence, for what no node has.
    """
    names = {node.name for node in nodes}
    if len(names) > 1 and not _is_spread(settings, nodes):
        shards = settings.shards
        where = "shards.addresses" if shards.addresses else f"shards.host={shards.host}"
        return (
            f"the Ray cluster has {len(names)} machines: must be 1, since {where} is of one alone; "
            "give addresses that all can reach, or none and shards.host=auto, or unset RAY_ADDRESS "
            "to search on this machine"
        )
    lacks = lacking(settings.children, nodes)
    if not lacks:
        return ""
    hint = ", or set children.num_gpus=0 to train on CPUs" if "num_gpus" in lacks else ""
    return f"{lacks}: a child fits nowhere; ask for less for each{hint}"


def _check(settings: SearchSettings, nodes: Sequence[Node]) -> None:
    if lack := shortage(settings, nodes):
        raise Shortage(lack)


def _is_spread(settings: SearchSettings, nodes: Sequence[Node]) -> bool:
    """Tell whether a search uses all machines of the cluster.

    A job is submitted to a cluster that may have one machine today and more tomorrow.
    """
    shards = settings.shards
    if shards.addresses and not shards.is_public:
        return False
    if not shards.addresses and shards.host != "auto":
        return shards.host == "node"
    return is_in_job() or len({node.name for node in nodes}) > 1


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
