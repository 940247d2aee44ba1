"""What was sampled for a trial, where, and the gradient of several of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from controller.rollout import Rollout
from controller.strategy import Strategy, UnusableGradient
from controller.trial import Stamp, Start, Trial
from ps.client import Pulled
from ps.layout import FlatVector

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sampled:
    """A trial of a replica, from its sampling to its push.

    versions: of each shard's slice, that it was sampled with; pulled: those parameters, or None
    where a life that is over had them.
    """

    trial: int
    depth: int
    rollout: Rollout
    versions: tuple[int, ...]
    pulled: Pulled | None

    @classmethod
    def before(cls, depth: int, start: Start | Trial) -> Self:
        """Give what a life that is over had sampled."""
        assert start.decisions is not None
        assert start.log_probs is not None
        assert start.versions is not None
        choices = tuple(choice for _, choice in start.decisions)
        rollout = Rollout(choices, tuple(start.log_probs))
        return cls(start.trial, depth, rollout, tuple(start.versions), None)


class Gradient(NamedTuple):
    """The gradient of some trials, (P,) float32, as it leaves the replica.

    versions: the oldest of each shard's slice that it was computed at. lost: the trials that it has
    nothing of, since theirs is not finite, or too large.
    """

    versions: tuple[int, ...]
    values: FlatVector
    lost: tuple[int, ...]


@dataclass(frozen=True)
class Rewarded:
    """A sampled trial that was recorded, with its reward and baseline."""

    sampled: Sampled
    stamp: Stamp

    @classmethod
    def before(cls, trial: Trial) -> Self:
        """Give a trial that a life that is over had recorded."""
        assert trial.reward is not None
        assert trial.baseline is not None
        return cls(Sampled.before(trial.depth, trial), Stamp(trial.reward, trial.baseline))


def gradient_of(
    rewarded: Sequence[Rewarded],
    strategy: Strategy,
    pull: Callable[[], Pulled],
    *,
    is_corrected: bool,
) -> Gradient:
    """Give the gradient of some trials: the mean over them.

    Without a correction each counts at the parameters it was sampled with. Where those are gone, or
    with a correction, it counts at those of now, its decisions weighted; see `Strategy.gradient`.

    A gradient that no shard would take must not stop the search, which would meet it again in every
    life: these rewards are in this push and no other. So the trials that were to have it, all that
    were sampled with the same parameters, count as zero.

    Args:
        rewarded: at least one.
    """
    groups: dict[int | None, list[Rewarded]] = {}
    for one in rewarded:
        pulled = None if is_corrected else one.sampled.pulled
        groups.setdefault(None if pulled is None else id(pulled), []).append(one)
    evaluated: list[tuple[int, ...]] = []
    lost: list[int] = []
    total: FlatVector | None = None
    for key, group in groups.items():
        then = group[0].sampled.pulled
        pulled = pull() if key is None or then is None else then
        evaluated.append(pulled.versions)
        strategy.load(pulled.values)
        try:
            part = strategy.gradient(
                [one.sampled.depth for one in group],
                [one.sampled.rollout for one in group],
                [one.stamp.advantage for one in group],
                is_reweighted=key is None,
            )
        except UnusableGradient as error:
            trials = [one.sampled.trial for one in group]
            rewards = [one.stamp.reward for one in group]
            logger.warning(
                "the rewards of trials %s count for nothing, and the search goes on: %s; their "
                "rewards are %s",
                trials,
                error,
                rewards,
            )
            lost += trials
            part = np.zeros_like(pulled.values)
        # A round of one group, the usual one, keeps its bits.
        if len(groups) > 1:
            part = part * np.float32(len(group) / len(rewarded))
        total = part if total is None else total + part
    assert total is not None, "a gradient is of at least one trial"
    return Gradient(oldest(evaluated), total, tuple(lost))


def oldest(versions: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Give the oldest version of each shard's slice."""
    return tuple(min(of_shard) for of_shard in zip(*versions, strict=True))
