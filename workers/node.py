"""A node of the cluster, as Ray describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import ray


@dataclass(frozen=True)
class Node:
    """A node of the cluster: what it has of each of Ray's resources, and what of it is free.

    name is the address of its machine, node_id what Ray calls it.
    """

    name: str
    total: Mapping[str, float]
    free: Mapping[str, float]
    node_id: str = ""

    @property
    def num_gpus(self) -> float:
        return self.total.get("GPU", 0.0)


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
