"""What a search asks of a cluster, where it goes, and why there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from deploy.settings import SearchSettings
from workers.placement import Need, Placement
from workers.seats import homes
from workers.slots import Node, num_fitting

_HEADINGS = ("what", "number", "each asks for", "where", "why there")


def placement_table(settings: SearchSettings, placement: Placement, here: str) -> str:
    """Give the table, as lines of text.

    Args:
        here: the address of the node that the search was started on.
    """
    nodes = placement.nodes()
    layout = settings.untrained().layout
    largest = max(part.stop - part.start for part in layout.slices)
    of_shard, of_replica = placement.need(slice_bytes=4 * largest), placement.need()
    num_children = settings.num_replicas * settings.children.per_replica
    fitting = {node.name: num_fitting(node.total, settings.children) for node in nodes}
    room = [f"{name} ({number})" for name, number in sorted(fitting.items()) if number]
    rows = [("ledger", "1", "nothing", here, "the search was started there")]
    if not settings.shards.addresses:
        rows.append(("shards", str(settings.num_shards), *_light(nodes, of_shard)))
    rows += [
        ("replicas", str(settings.num_replicas), *_light(nodes, of_replica)),
        (
            "child workers",
            str(num_children),
            f"{settings.children.num_cpus:g} CPU, {settings.children.num_gpus:g} GPU",
            ", ".join(room) or "no node yet",
            "room for so many; more as nodes join",
        ),
    ]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (_HEADINGS, *rows)
    )


def _light(nodes: Sequence[Node], need: Need) -> tuple[str, str, str]:
    """Give what a shard or replica asks for, where it goes, and why."""
    there = homes(nodes, need)
    machines = Counter(node.name for node in there)
    why = "no GPUs there" if any(node.total.get("GPU") for node in nodes) else "all nodes in turn"
    if any(node.total.get("GPU") for node in there):
        why = "no room on a node without GPUs"
    asks = f"{need.num_cpus:g} CPU, {need.memory_bytes / 2**20:.0f} MiB"
    return asks, ", ".join(sorted(machines)) or "wherever room comes", why
