"""The description of a recurrent cell as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any

from child.recurrent.node import Node


@dataclass(frozen=True)
class CellArchitecture:
    """A binary tree of nodes that computes h_t and c_t from x_t, h_{t-1} and c_{t-1}.

    nodes: 2N - 1 of them for N leaves, numbered from 0, leaves first, the root last. A leaf takes
        W x_t and U h_{t-1} with weights of its own; an inner node takes its two `children`.
    inject: combines the activated output of node ``inject_index`` with c_{t-1}; its parent, or h_t
        where it is the root, takes the result.
    memory_index: the node whose value before its activation is c_t; "first index" in the paper.
    inject_index: "second index" in the paper.

    h_t is the output of the root. Open in the paper, decided here: both indices may name the same
    node, for c_t is taken before the activation and the injection, so nothing is circular; and
    inject_index may name the root, then h_t is the injected output.

    It prints as one line: the nodes, level by level, each with its activation and its combination;
    where c_t comes from; what is done with c_{t-1}. The cell of Figure 5:

    >>> leaves = Node("add", "tanh"), Node("elem_mult", "relu")
    >>> print(CellArchitecture((*leaves, Node("elem_mult", "sigmoid")), Node("add", "relu"), 1, 0))
    tanh+ relu* | sigm*; c' from 1; relu+ c at 0

    Raises:
        ValueError: an even number of nodes, or an index that names none.

    Source: Zoph & Le 2017, s3.4 and Figure 5.
    """

    nodes: tuple[Node, ...]
    inject: Node
    memory_index: int
    inject_index: int

    def __post_init__(self) -> None:
        if len(self.nodes) % 2 == 0:
            raise ValueError(
                f"{len(self.nodes)} nodes: must be an odd number; a cell with N leaves has 2N - 1"
            )
        for name in ("memory_index", "inject_index"):
            index = getattr(self, name)
            if type(index) is not int or not 0 <= index < len(self.nodes):
                raise ValueError(
                    f"{name}={index!r}: must be the number of a node, 0 to {len(self.nodes) - 1}"
                )

    @property
    def base(self) -> int:
        """The number of leaves."""
        return (len(self.nodes) + 1) // 2

    def children(self, node: int) -> tuple[int, int]:
        """Give the two nodes that an inner node takes, in order: 2i and 2i + 1 for node N + i.

        This is a binary tree for every N, complete where N is a power of two.

        Raises:
            ValueError: it is no inner node.
        """
        if not self.base <= node < len(self.nodes):
            raise ValueError(
                f"node={node}: must be an inner node, {self.base} to {len(self.nodes) - 1}"
                if self.base > 1
                else f"node={node}: a cell with one leaf has no inner nodes"
            )
        first = 2 * (node - self.base)
        return first, first + 1

    def __str__(self) -> str:
        levels = [0] * self.base
        for node in range(self.base, len(self.nodes)):
            levels.append(1 + max(levels[child] for child in self.children(node)))
        tree = " | ".join(
            " ".join(str(node) for _, node in level)
            for _, level in groupby(zip(levels, self.nodes, strict=True), key=lambda each: each[0])
        )
        return f"{tree}; c' from {self.memory_index}; {self.inject} c at {self.inject_index}"

    def to_json(self) -> dict[str, Any]:
        """Give {"nodes": […], …} with a key for each field; see `Node.to_json`."""
        return {
            "nodes": [node.to_json() for node in self.nodes],
            "inject": self.inject.to_json(),
            "memory_index": self.memory_index,
            "inject_index": self.inject_index,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CellArchitecture:
        """Give the architecture that `to_json` described.

        Raises:
            ValueError: it describes none.
        """
        keys = {field.name for field in fields(cls)}
        if set(data) != keys:
            raise ValueError(
                f"a cell with {', '.join(sorted(data)) or 'nothing'}: must have "
                f"{', '.join(sorted(keys))}"
            )
        return cls(
            tuple(Node.from_json(node) for node in data["nodes"]),
            Node.from_json(data["inject"]),
            data["memory_index"],
            data["inject_index"],
        )
