"""A training after the search: what it is of, and what became of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal

from child.final_result import FinalResult
from child.result import TrialResult

# grid: on the data to train on, to be compared. final: on all data, until it converges, and tested.
Stage = Literal["grid", "final"]


@dataclass(frozen=True)
class Training:
    """What is trained: a network, by these settings, with this seed.

    trial: whose architecture it is, or is made from. architecture: as JSON. settings: a JSON object
    of all that has a say in what comes out.
    """

    stage: Stage
    trial: int
    architecture: dict[str, Any]
    settings: dict[str, Any]
    seed: int

    @cached_property
    def sha256(self) -> str:
        """Its name: the same for the same training, whatever trial the architecture is of."""
        what = [self.stage, self.architecture, self.settings, self.seed]
        text = json.dumps(what, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class TrainingRecord:
    """What became of a training; see `Training`, `TrialResult` of a grid, `FinalResult` of others.

    What the stage has not is None.
    """

    sha256: str
    stage: Stage
    trial: int
    architecture: dict[str, Any]
    settings: dict[str, Any]
    seed: int
    state: Literal["completed", "infeasible"]
    reason: str
    num_parameters: int
    seconds: float
    recorded_at: float
    reward: float | None = None
    validations: list[float] | None = None
    validation: float | None = None
    losses: list[float] | None = None
    is_converged: bool | None = None
    test: float | None = None

    @property
    def kind(self) -> str:
        """The same for trainings that differ in their seed alone."""
        return json.dumps([self.stage, self.architecture, self.settings], sort_keys=True)

    @classmethod
    def of(
        cls, training: Training, result: TrialResult | FinalResult, recorded_at: float
    ) -> TrainingRecord:
        """Give the record of a training that has ended at a time, in seconds since the epoch."""
        outcome: dict[str, Any] = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(result).items()
            if name not in ("is_out_of_memory", "traceback", "metrics")
        }
        what: dict[str, Any] = {
            field.name: getattr(training, field.name) for field in fields(training)
        }
        return cls(sha256=training.sha256, recorded_at=recorded_at, **what, **outcome)
