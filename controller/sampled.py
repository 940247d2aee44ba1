"""What was sampled for a trial, where, and the gradient of several of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from controller.rollout import Rollout
from controller.strategy import Strategy
from controller.trial import Stamp, Start, Trial
from ps.client import Pulled
from ps.layout import FlatVector


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
) -> tuple[tuple[int, ...], FlatVector]:
    """Give the oldest versions that a gradient was computed at, and the gradient, (P,) float32.

    It is the mean over the trials. Without a correction each counts at the parameters it was
    sampled with. Where those are gone, or with a correction, it counts at those of now, its
    decisions weighted; see `Strategy.gradient`.

    Args:
        rewarded: at least one.
    """
    groups: dict[int | None, list[Rewarded]] = {}
    for one in rewarded:
        pulled = None if is_corrected else one.sampled.pulled
        groups.setdefault(None if pulled is None else id(pulled), []).append(one)
    evaluated = []
    total: FlatVector | None = None
    for key, group in groups.items():
        then = group[0].sampled.pulled
        pulled = pull() if key is None or then is None else then
        evaluated.append(pulled.versions)
        strategy.load(pulled.values)
        part = strategy.gradient(
            [one.sampled.depth for one in group],
            [one.sampled.rollout for one in group],
            [one.stamp.advantage for one in group],
            is_reweighted=key is None,
        )
        # A round of one group, the usual one, keeps its bits.
        if len(groups) > 1:
            part = part * np.float32(len(group) / len(rewarded))
        total = part if total is None else total + part
    assert total is not None, "a gradient is of at least one trial"
    return oldest(evaluated), total


def oldest(versions: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Give the oldest version of each shard's slice."""
    return tuple(min(of_shard) for of_shard in zip(*versions, strict=True))
