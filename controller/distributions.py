"""The distribution of one decision, for several rollouts at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


class Distribution(Protocol):
    """What R rollouts choose from, each for itself."""

    def draw(self, generators: Sequence[np.random.Generator]) -> list[int]:
        """Draw a choice for each rollout, row r from generators[r] alone."""
        ...

    def log_prob(self, choices: Sequence[int]) -> Tensor:
        """Give the log-probability, in nats, of a choice for each rollout; (R,), differentiable."""
        ...

    def entropy(self) -> Tensor:
        """Give the entropy, in nats, of each rollout's distribution; (R,), differentiable."""
        ...


class Softmax:
    """One of C choices.

    The logits are (R, C).
    """

    def __init__(self, logits: Tensor) -> None:
        self._log_probs = logits.log_softmax(dim=1)

    def draw(self, generators: Sequence[np.random.Generator]) -> list[int]:
        cumulative = self._log_probs.double().exp().cumsum(dim=1).numpy()
        return [
            # The last sum may be a little less than 1; a draw above it is the last choice.
            min(int(np.searchsorted(sums, generator.random(), "right")), len(sums) - 1)
            for sums, generator in zip(cumulative, generators, strict=True)
        ]

    def log_prob(self, choices: Sequence[int]) -> Tensor:
        index = torch.tensor(choices).unsqueeze(1)
        return self._log_probs.gather(1, index).squeeze(1)

    def entropy(self) -> Tensor:
        return -(self._log_probs.exp() * self._log_probs).sum(dim=1)


class Bernoullis:
    """K bits, each drawn independently; bit k of a choice, from 0, is one with sigmoid(logit k).

    The logits are (R, K). Source: the anchor points of Zoph & Le 2017, s3.3.
    """

    def __init__(self, logits: Tensor) -> None:
        self._logits = logits

    def draw(self, generators: Sequence[np.random.Generator]) -> list[int]:
        probabilities = self._logits.double().sigmoid().numpy()
        return [
            sum(1 << k for k, is_one in enumerate(generator.random(len(row)) < row) if is_one)
            for row, generator in zip(probabilities, generators, strict=True)
        ]

    def log_prob(self, choices: Sequence[int]) -> Tensor:
        signs = 2 * bits_of(choices, self._logits.shape[1]).to(self._logits.dtype) - 1
        return logsigmoid(signs * self._logits).sum(dim=1)

    def entropy(self) -> Tensor:
        # The bits are independent: the entropy of all is the sum of theirs.
        ones = self._logits.sigmoid() * logsigmoid(self._logits)
        zeros = (-self._logits).sigmoid() * logsigmoid(-self._logits)
        return -(ones + zeros).sum(dim=1)


def bits_of(choices: Sequence[int], num_bits: int) -> Tensor:
    """Give the lowest bits of each choice, the lowest first, as booleans (R, num_bits).

    >>> bits_of([0b01, 0b10], 2).tolist()
    [[True, False], [False, True]]
    """
    bits = [[bool(choice >> k & 1) for k in range(num_bits)] for choice in choices]
    return torch.tensor(bits, dtype=torch.bool).reshape(len(choices), num_bits)
