"""One child is trained and tested, by as many workers as that takes."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

import ray

from child.trained import TrainedChild
from controller.children import Child
from workers.pulse import DEATHS, ProcessDied, Pulse
from workers.remote import result_of, summary_of

logger = logging.getLogger(__name__)

POLL_S = 0.5


def train_and_test(
    spawn: Callable[[], Any],
    child: Child,
    test: Any,
    max_deaths: int,
    is_over: Callable[[], bool],
) -> TrainedChild:
    """Have a worker train and test a child, and another, if that one dies or freezes.

    Args:
        spawn: gives the handle of a new ChildWorker actor.
        test: the data to test with.
        max_deaths: of workers, after which it is given up.
        is_over: asked about twice a second; once true, nothing is waited for any more.

    Raises:
        KeyboardInterrupt: it is over.
        ProcessDied, ray.exceptions.RayError: the last worker died, or one cannot be constructed.
    """
    for num_deaths in itertools.count(1):
        worker = spawn()
        try:
            return _outcome(worker, child, test, is_over)
        except (ProcessDied, *DEATHS) as error:
            is_unborn = getattr(error.__cause__ or error, "actor_init_failed", False)
            if is_unborn or num_deaths == max_deaths:
                raise
            logger.warning("the test lost its worker: %s", summary_of(error))
        finally:
            ray.kill(worker)
    raise AssertionError("one of them is the last")


def _outcome(worker: Any, child: Child, test: Any, is_over: Callable[[], bool]) -> TrainedChild:
    pulse = Pulse(worker)
    testing = worker.test.remote(child, test)
    while not ray.wait([testing], timeout=0)[0]:
        if is_over():
            raise KeyboardInterrupt
        pulse.check()
        awaited = [testing] if pulse.pending is None else [testing, pulse.pending]
        ray.wait(awaited, num_returns=1, timeout=POLL_S)
    tested: TrainedChild = result_of(testing)
    return tested
