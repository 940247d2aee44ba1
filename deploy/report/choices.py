"""What was chosen at each kind of decision, and how uncertain the policy was."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from child.space import AnchorDecision, Space
from controller.trial import Trial
from deploy.report.curves import parts

MAX_WINDOWS = 40
MAX_SHOWN = 6  # of the options of a decision; the others are put together
MAX_DISTANCE = 5  # of skip connections that are told apart


@dataclass(frozen=True)
class Shares:
    """How often each option was taken, in windows of trials.

    ends: the number of the last trial of each window. shares: (W, O), by window and option.
    is_ordered: whether the options are numbers, in a meaningful order.
    """

    kind: str
    options: tuple[str, ...]
    ends: tuple[int, ...]
    shares: NDArray[np.float64]
    is_ordered: bool


def shares_of_choices(trials: Sequence[Trial], space: Space) -> list[Shares]:
    """Give the shares for every kind of decision that was met, anchor points apart.

    Of very many options the most frequent ones stand alone, in their order, and the others are
    together at the end. A window in which a decision was not met is left out.
    """
    windows = _windows(trials)
    found = []
    for decision in space.decisions:
        options = space.options(decision.kind)
        counts = np.zeros((len(windows), len(options)))
        for number, window in enumerate(windows):
            taken = Counter(
                choice
                for trial in window
                for kind, choice in trial.decisions or ()
                if kind == decision.kind
            )
            for choice, times in taken.items():
                counts[number, choice] = times
        names, counts = _fewer([_name(option) for option in options], counts)
        is_met = counts.sum(axis=1) > 0
        if is_met.any():
            ends = [window[-1].trial for window, met in zip(windows, is_met, strict=True) if met]
            counts = counts[is_met]
            is_ordered = len(names) == len(options) and not isinstance(options[0], str)
            shares = counts / counts.sum(axis=1, keepdims=True)
            found.append(Shares(decision.kind, tuple(names), tuple(ends), shares, is_ordered))
    return found


def shares_of_skips(trials: Sequence[Trial], space: Space) -> Shares | None:
    """Give how many of the possible connections to each earlier layer were taken, by distance.

    A distance of 1 is to the layer before. None where no list had an anchor point with a choice.
    A distance that was not possible in a window has nan.
    """
    windows = _windows(trials)
    reach = _anchor_reach(trials, space)
    taken = np.zeros((len(windows), MAX_DISTANCE + 1))
    possible = np.zeros_like(taken)
    for number, window in enumerate(windows):
        for trial in window:
            anchors = [choice for kind, choice in trial.decisions or () if kind == "anchor"]
            for layer, choice in enumerate(anchors):
                for earlier in range(reach[layer]):
                    column = min(layer - earlier - 1, MAX_DISTANCE)
                    possible[number, column] += 1
                    taken[number, column] += choice >> earlier & 1
    met = possible.sum(axis=0) > 0
    if not met.any():
        return None
    names = [*map(str, range(1, MAX_DISTANCE + 1)), f"{MAX_DISTANCE + 1} or more"]
    shares = np.divide(taken, possible, out=np.full_like(taken, np.nan), where=possible > 0)
    return Shares(
        "skip connections",
        tuple(name for name, is_met in zip(names, met, strict=True) if is_met),
        tuple(window[-1].trial for window in windows),
        shares[:, met],
        is_ordered=True,
    )


def entropies(trials: Sequence[Trial]) -> NDArray[np.float64]:
    """Give for each trial an estimate, in nats, of the entropy of the policy that sampled it.

    It is -log P(decisions), whose expectation over the decisions is the entropy.
    """
    return np.array([-sum(trial.log_probs or ()) for trial in trials])


def uniform_entropies(trials: Sequence[Trial], space: Space) -> NDArray[np.float64]:
    """Give for each trial the entropy, in nats, of decisions drawn uniformly.

    They are those that its list has; where later decisions depend on earlier ones this, too, is an
    estimate.
    """
    each = {decision.kind: math.log(decision.num_choices) for decision in space.decisions}
    reach = _anchor_reach(trials, space)
    entropy = []
    for trial in trials:
        counts = Counter(kind for kind, _ in trial.decisions or ())
        anchors = sum(reach[: counts.pop("anchor", 0)]) * math.log(2)
        entropy.append(anchors + sum(each[kind] * n for kind, n in counts.items()))
    return np.array(entropy)


def _windows(trials: Sequence[Trial]) -> list[Sequence[Trial]]:
    # Of ten trials each; of five, where these are few windows.
    number = max(min(len(trials) // 10, MAX_WINDOWS), min(len(trials) // 5, 8), 1)
    return [trials[part] for part in parts(len(trials), number)]


def _anchor_reach(trials: Sequence[Trial], space: Space) -> list[int]:
    """Give among how many earlier layers each anchor point of the longest list picks."""
    if not space.has_anchors or not trials:
        return []
    deepest = max(trials, key=lambda trial: trial.depth)
    choices = [choice for _, choice in deepest.decisions or ()]
    met = (space.next_decision(choices[:step], deepest.depth) for step in range(len(choices)))
    return [decision.num_earlier for decision in met if isinstance(decision, AnchorDecision)]


def _fewer(names: list[str], counts: NDArray[np.float64]) -> tuple[list[str], NDArray[np.float64]]:
    if len(names) <= MAX_SHOWN + 1:
        return names, counts
    kept = sorted(np.argsort(-counts.sum(axis=0), kind="stable")[:MAX_SHOWN])
    rest = np.delete(counts, kept, axis=1).sum(axis=1, keepdims=True)
    shown = [*(names[column] for column in kept), f"{len(names) - MAX_SHOWN} others"]
    return shown, np.hstack([counts[:, kept], rest])


def _name(option: object) -> str:
    return f"{option:g}" if isinstance(option, float) else str(option).replace("_", " ")
