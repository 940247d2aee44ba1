"""A trial as the ledger holds it, and what it is called on its way there."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

TrialState = Literal["reserved", "started", "completed", "infeasible"]

# A trial in one of these states has its result, which never changes again.
RECORDED: tuple[TrialState, ...] = ("completed", "infeasible")

# How long a replica that gives no sign keeps its trials from the others. It is for those that
# nobody replaces: a new life of the same replica frees them at once.
LEASE_S = 120.0


class Owner(NamedTuple):
    """One life of a controller replica."""

    replica: int
    incarnation: int


@dataclass(frozen=True)
class Start:
    """What is known of a trial when its child starts to train.

    decisions: (kind, choice) in the order taken; log_probs: of each, in nats, or none where they
    are not known.
    architecture: as JSON, and architecture_text as it prints; seed: of the child; versions: of each
    shard's slice that was pulled.
    """

    trial: int
    decisions: tuple[tuple[str, int], ...]
    log_probs: tuple[float, ...]
    architecture: dict[str, Any]
    architecture_text: str
    seed: int
    versions: tuple[int, ...]

    @property
    def architecture_sha256(self) -> str:
        """The same for the same architecture, whatever trial it is of."""
        text = json.dumps(self.architecture, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Reservation:
    """A place in the budget: trial number, from 1, and the depth of the network to sample.

    start: what a life that is over had sampled for it, whose child is to be trained; None where
    nothing was sampled yet.
    """

    trial: int
    depth: int
    start: Start | None = None


@dataclass(frozen=True)
class Stamp:
    """What a recorded trial contributes to the gradient: its reward and the baseline before it."""

    reward: float
    baseline: float

    @property
    def advantage(self) -> float:
        return self.reward - self.baseline


@dataclass(frozen=True)
class Trial:
    """One row of the ledger. What is not known yet is None; times are seconds since the epoch.

    For the fields up to versions see `Reservation` and `Start`; from validations to
    metrics `child.result.TrialResult`. record_number is the trial's place, from 1, in the
    order of results, in which their rewards moved the baseline. reused_from is the trial of the
    same architecture whose result was taken instead of training it. (push_replica, push_sequence)
    names the push that its reward is in.
    """

    trial: int
    state: TrialState
    replica: int
    incarnation: int
    depth: int
    reserved_at: float
    started_at: float | None
    recorded_at: float | None
    record_number: int | None
    decisions: list[tuple[str, int]] | None
    log_probs: list[float] | None
    architecture: dict[str, Any] | None
    architecture_text: str | None
    architecture_sha256: str | None
    seed: int | None
    versions: list[int] | None
    reward: float | None
    baseline: float | None
    validations: list[float] | None
    validation: float | None
    num_parameters: int | None
    seconds: float | None
    reason: str
    is_out_of_memory: bool
    traceback: str
    metrics: dict[str, float] | None
    reused_from: int | None
    push_replica: int | None
    push_sequence: int | None
