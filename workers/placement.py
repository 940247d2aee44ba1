"""Where the processes of a search run: on one machine, or on all machines of a cluster."""

from __future__ import annotations

from dataclasses import dataclass

import ray

from workers.node import Node, nodes
from workers.remote import ANYWHERE, THIS_MACHINE

# Of a shard or replica where children train on GPUs; where they train on CPUs, every core is
# theirs (docs/decisions/0002).
_LIGHT_CPUS = 0.1
# A process that has imported PyTorch and gRPC, and what it works with beside its values.
LIGHT_BYTES = 400 * 2**20
# A shard holds its values, up to two moments, a checkpoint that is being written, and a pull and a
# push in flight.
_COPIES_OF_SLICE = 6


@dataclass(frozen=True)
class Need:
    """What a shard or a replica takes of its node."""

    num_cpus: float
    memory_bytes: int


@dataclass(frozen=True)
class Placement:
    """Where the processes of a search may run.

    is_spread: over all machines of the cluster; otherwise on this one alone, where the shards
    listen on loopback.
    is_on_gpus: whether children train on GPUs.
    """

    is_spread: bool
    is_on_gpus: bool

    def nodes(self) -> list[Node]:
        """Ask Ray for the nodes that are alive and may be used."""
        if self.is_spread:
            return nodes()
        here = ray.util.get_node_ip_address()
        return [node for node in nodes() if node.name == here]

    @property
    def of_children(self) -> str:
        """The place of a child worker, for `workers.remote.spawn`; Ray finds the room there."""
        return ANYWHERE if self.is_spread else THIS_MACHINE

    def need(self, slice_bytes: int = 0) -> Need:
        """Give what a shard of so many bytes of values needs, or a replica, of none."""
        if not self.is_spread:
            return Need(0.0, 0)
        num_cpus = _LIGHT_CPUS if self.is_on_gpus else 0.0
        return Need(num_cpus, LIGHT_BYTES + _COPIES_OF_SLICE * slice_bytes)
