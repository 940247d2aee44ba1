"""Trains children by a function of the user's."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch

from child.custom.failure import Failure, storable
from child.custom.outcome import Outcome, OutcomeError, number
from child.custom.space import CustomArchitecture, Undecodable
from child.custom.training_settings import CustomTrainingSettings
from child.memory import is_device_lost, is_out_of_memory, release
from child.result import Infeasible, TrialResult

logger = logging.getLogger(__name__)


class _TimeIsOver(BaseException):
    """The child's time is over. No Exception: a function that catches those goes on for nothing."""


class CustomTrainer:
    """Calls a function for each child; see `child.trainer.Trainer`.

    Whatever the function raises makes the child infeasible, and nothing else, SystemExit too. What
    the process does not survive, and a function that neither returns nor reports, is left to
    whoever watches it.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        options: Mapping[str, Any],
        settings: CustomTrainingSettings,
        device: torch.device,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Train by a function.

        Args:
            function: takes an architecture, and by name device, seed, report, and the options;
                gives a reward or an `Outcome`.
        """
        self._function = function
        self._options = options
        self._settings = settings
        self._device = device
        self._clock = clock

    def train(
        self,
        architecture: CustomArchitecture | Undecodable,
        seed: int,
        say: Callable[[str], None],
    ) -> TrialResult:
        start, metric = self._clock(), self._settings.metric
        validations: list[float] = []

        def infeasible(reason: str, trace: str = "", *, is_memory: bool = False) -> TrialResult:
            logger.info("infeasible: %s\n%s", reason, trace)
            return TrialResult.infeasible(
                reason,
                self._clock() - start,
                validations,
                is_out_of_memory=is_memory,
                traceback=trace,
            )

        def report(figure: float) -> None:
            """Take note of the validation figure after an epoch."""
            validations.append(number("report", figure))
            text = metric.text(validations[-1])
            say(f"epoch {len(validations)}: {metric.name} {text}, {self._clock() - start:.1f} s")
            check_time(f"in epoch {len(validations)}")

        def check_time(where: str) -> None:
            limit, seconds = self._settings.time_limit_s, self._clock() - start
            if limit is not None and seconds > limit:
                raise _TimeIsOver(f"time_limit_s={limit:g}: over after {seconds:.1f} s, {where}")

        if isinstance(architecture, Undecodable):
            return infeasible(architecture.failure.reason, architecture.failure.traceback)
        try:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
            returned = self._function(
                architecture.value,
                device=self._device,
                seed=seed,
                report=report,
                **deepcopy(self._options),
            )
            outcome = Outcome.of(returned)
            check_time("as it ended")
        except (_TimeIsOver, Infeasible, OutcomeError) as error:
            return infeasible(storable(str(error) or type(error).__name__))
        except BaseException as error:
            if is_device_lost(error):
                raise  # the process cannot go on
            failure, is_memory = Failure.of(error), is_out_of_memory(error, self._device)
            return infeasible(failure.reason, failure.traceback, is_memory=is_memory)
        finally:
            release(self._device)
        return TrialResult(
            "completed",
            reward=outcome.reward,
            validations=tuple(validations),
            validation=outcome.validation,
            num_parameters=outcome.num_parameters,
            seconds=self._clock() - start,
            metrics=outcome.metrics,
        )
