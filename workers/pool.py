"""The child workers of one replica: who trains what, and what happens when one dies."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray

from child.result import TrialResult
from controller.replica import Child
from workers.remote import result_of, summary_of

logger = logging.getLogger(__name__)

READY_TIMEOUT_S = 180.0


class ChildPool:
    """Trains children on a fixed number of workers; see `controller.replica.Children`.

    A worker that dies is replaced, and the trial it had is trained again: it is nobody's fault.
    After max_deaths deaths the trial is infeasible. A child that runs out of the memory of a
    GPU that it shares is trained again alone there, and is infeasible only if that fails.

    Threads: one at a time.
    """

    def __init__(
        self,
        spawn: Callable[[], Any],
        num_workers: int,
        max_deaths: int,
        *,
        shares_gpu: bool = False,
    ) -> None:
        """Spawn the workers and wait until all are ready.

        Args:
            spawn: gives the handle of a new ChildWorker actor.
            shares_gpu: whether workers have parts of a GPU.
        """
        self._spawn = spawn
        self._max_deaths = max_deaths
        self._shares_gpu = shares_gpu
        self._idle = [spawn() for _ in range(num_workers)]
        self.num_workers = num_workers
        try:
            result_of([worker.is_ready.remote() for worker in self._idle], READY_TIMEOUT_S)
        except ray.exceptions.GetTimeoutError as error:
            raise TimeoutError(
                f"{num_workers} child workers: not ready within {READY_TIMEOUT_S:g} s; are the "
                "CPUs and GPUs that they ask for taken by somebody else?"
            ) from error

    def train(self, children: Sequence[Child]) -> Iterator[tuple[int, TrialResult]]:
        waiting = deque(children)
        busy: dict[Any, tuple[Any, Child]] = {}
        deaths: Counter[int] = Counter()
        needs_to_be_alone: set[int] = set()
        while waiting or busy:
            while waiting and self._idle:
                worker, child = self._idle.pop(), waiting.popleft()
                is_alone = child.trial in needs_to_be_alone
                busy[worker.train.remote(child, is_alone)] = (worker, child)
            [done], _ = ray.wait(list(busy), num_returns=1)
            worker, child = busy.pop(done)
            try:
                result = result_of(done)
            except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError) as error:
                if getattr(error, "actor_init_failed", False):
                    raise  # no trial's fault: the next worker would fail alike
                self._idle.append(self._spawn())
                deaths[child.trial] += 1
                logger.warning(
                    "trial %d lost its worker (%d of %d): %s",
                    child.trial,
                    deaths[child.trial],
                    self._max_deaths,
                    summary_of(error),
                )
                if deaths[child.trial] < self._max_deaths:
                    waiting.append(child)
                    continue
                result = TrialResult(
                    state="infeasible",
                    reward=0.0,
                    validations=(),
                    validation=None,
                    num_parameters=0,
                    seconds=0.0,
                    reason=f"its worker died {self._max_deaths} times",
                )
            else:
                self._idle.append(worker)
                if (
                    result.is_out_of_memory
                    and self._shares_gpu
                    and child.trial not in needs_to_be_alone
                ):
                    logger.info("trial %d is tried alone: %s", child.trial, result.reason)
                    needs_to_be_alone.add(child.trial)
                    waiting.append(child)
                    continue
            yield child.trial, result
