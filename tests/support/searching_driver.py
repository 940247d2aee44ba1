"""A process that uses room as a search does; `python -m support.searching_driver CHILDREN`."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import ray

from deploy.autoscaler import RoomRequest
from workers.node import nodes
from workers.remote import ANYWHERE
from workers.slots import Slot, num_fitting

SLOT = Slot(ANYWHERE, num_cpus=1.0, num_gpus=1.0)
LOOK_EVERY_S = 0.5


class _Child:
    def train(self) -> None:
        """Have a place."""


def main(num_wanted: int) -> None:
    """Take what room there is, ask for the rest, and say how many children have a place."""
    logging.basicConfig(level=logging.INFO)
    ray.init(log_to_driver=False)
    remote: Any = ray.remote
    child = remote(_Child).options(num_cpus=SLOT.num_cpus, num_gpus=SLOT.num_gpus)
    children: list[Any] = []
    num_placed = 0
    with RoomRequest(is_wanted=True) as room:
        while True:
            num_free = sum(num_fitting(node.free, SLOT) for node in nodes())
            started = [child.remote() for _ in range(min(num_free, num_wanted - len(children)))]
            children += started
            room.ask(SLOT.resources, 0 if num_free else num_wanted - len(children))
            if started:
                ray.get([each.train.remote() for each in started])
                num_placed += len(started)
                logging.info("%d children have a place", num_placed)
            time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    main(int(sys.argv[1]))
