"""How many children can train at a time on what a cluster has, and for which replica."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ray

from workers.child import ChildrenSettings

_ROUNDING = 1e-6  # Ray counts in parts of ten thousand


@dataclass(frozen=True)
class Node:
    """A node of the cluster: what it has of each of Ray's resources, and what of it is free.

    name is the address of its machine, node_id what Ray calls it.
    """

    name: str
    total: Mapping[str, float]
    free: Mapping[str, float]
    node_id: str = ""


def nodes() -> list[Node]:
    """Ask Ray for the nodes that are alive."""
    free = ray._private.state.available_resources_per_node()
    return [
        Node(
            node["NodeManagerAddress"],
            node["Resources"],
            free.get(node["NodeID"], {}),
            node["NodeID"],
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def num_fitting(there: Mapping[str, float], children: ChildrenSettings) -> int:
    """Give how many children fit into the resources of one node.

    >>> settings = ChildrenSettings(num_cpus=1.0, num_gpus=0.4)
    >>> num_fitting({"CPU": 8.0, "GPU": 2.0}, settings)  # two on each GPU
    4
    """
    fitting = math.inf
    for resource, each in (("CPU", children.num_cpus), ("GPU", children.num_gpus)):
        if each == 0:
            continue
        has = there.get(resource, 0.0) + _ROUNDING
        if resource == "GPU" and each < 1:
            # A part of a GPU is of one GPU: two of 0.6 do not share one.
            whole, rest = divmod(has, 1.0)
            on_one = (1 + _ROUNDING) // each
            fitting = min(fitting, whole * on_one + min(on_one, rest // each))
        else:
            fitting = min(fitting, has // each)
    return int(fitting)


def quotas(num_slots: int, num_replicas: int, per_replica: int) -> list[int]:
    """Give how many child workers each replica is to have: as many as it wants, one by one.

    >>> quotas(11, num_replicas=3, per_replica=4)
    [4, 4, 3]
    """
    return [
        max(0, min(per_replica, num_slots - per_replica * replica))
        for replica in range(num_replicas)
    ]


def lacking(children: ChildrenSettings, nodes: Sequence[Node]) -> str:
    """Say what no node has that one child needs, a line for each node; empty if one has it all."""
    lacks = []
    for node in nodes:
        short = [
            f"{key}={each:g}: {node.name} has {node.total.get(resource, 0.0):g} {resource}s"
            for resource, key, each in (
                ("GPU", "children.num_gpus", children.num_gpus),
                ("CPU", "children.num_cpus", children.num_cpus),
            )
            if each > node.total.get(resource, 0.0) + _ROUNDING
        ]
        if not short:
            return ""
        lacks.append("; ".join(short))
    return "\n".join(lacks)
