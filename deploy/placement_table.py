"""What a search asks of a cluster, where it goes, and why there."""

from __future__ import annotations

from collections import Counter

from deploy.settings import SearchSettings
from workers.placement import Need, Placement
from workers.remote import ANYWHERE
from workers.seats import Seats
from workers.slots import rooms

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
    seats = Seats(placement)  # tried out: those that are given come after
    num_shards = 0 if settings.shards.addresses else settings.num_shards

    def light(what: str, number: int, need: Need) -> tuple[str, ...]:
        taken = Counter(seats.seat(f"{what} {index}", need) for index in range(number))
        num_waiting = taken.pop(ANYWHERE, 0)
        # Looked at again: nodes may have joined, or left, since.
        homes = [node for node in placement.nodes() if node.node_id in taken]
        where = sorted(f"{node.name} ({taken[node.node_id]})" for node in homes)
        if num_waiting:
            where.append(f"{num_waiting} wait for room: ask for fewer, or for larger nodes")
        is_on_gpus = any(node.total.get("GPU") for node in homes)
        has_gpus = any(node.total.get("GPU") for node in nodes)
        why = "no GPUs there" if has_gpus else "all nodes in turn"
        asks = f"{need.num_cpus:g} CPU, {need.memory_bytes / 2**20:.0f} MiB"
        return (
            f"{what}s",
            str(number),
            asks,
            ", ".join(where),
            "no room on nodes without GPUs" if is_on_gpus else why,
        )

    num_children = settings.num_replicas * settings.children.per_replica
    fitting, asked = Counter[str](), set[str]()
    for node in nodes:  # a machine may have several
        for there in rooms([node], settings.children, placement.of_children):
            fitting[node.name] += there.num_at_most
            asked.add(f"{there.slot.num_cpus:g} CPU, {there.slot.num_gpus:g} GPU")
    room = [f"{name} ({number})" for name, number in sorted(fitting.items()) if number]
    limit = settings.children.per_gpu_node
    rows: list[tuple[str, ...]] = [("ledger", "1", "nothing", here, "the search was started there")]
    if num_shards:
        rows.append(light("shard", num_shards, of_shard))
    rows += [
        light("replica", settings.num_replicas, of_replica),
        (
            "child workers",
            str(num_children),
            " or ".join(sorted(asked)) or "a GPU",
            ", ".join(room) or "no node yet",
            "room for so many; more as nodes join"
            if limit is None
            else f"at most children.per_gpu_node={limit} on each; more as nodes join",
        ),
    ]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (_HEADINGS, *rows)
    )
