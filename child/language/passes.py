"""Passes of a language model over a text: one to train it, one to see how well it predicts."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from child.data.text import TextTrainingData
from child.data.tokens import Unit
from child.language.model import detached
from child.language.training_settings import LanguageTrainingSettings
from child.passes import Learner
from child.precision import Precision
from child.recurrent.fast_unroll import prepare
from child.result import Infeasible

_NO_TARGET = -100  # what torch's cross-entropy leaves out


class TextPasses:
    """Takes language models over a text as the settings say; see `child.passes.Passes`.

    A text is cut into as many parts of one length as a batch holds, and these are read side by
    side, so many tokens at a time; the state of the layers goes on from one time to the next,
    gradients do not. Every token but the first is predicted, once.

    Their figure is the perplexity where tokens are words, e to the mean cross-entropy in nats;
    where they are characters, that mean in bits.
    """

    def __init__(
        self,
        settings: LanguageTrainingSettings,
        data: TextTrainingData,
        unit: Unit,
        device: torch.device,
    ) -> None:
        """Put the text on the device, and compile there what models need."""
        self.settings = settings
        self.device = device
        self.precision = Precision(settings.precision, device)
        self._unit = unit
        prepare(device)
        self._train = self._columns(data.train, settings.batch_size)
        self._validation = self._columns(data.validation, settings.evaluation_batch_size)

    def learner(self, network: nn.Module) -> Learner:
        network.to(self.device)
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[self.settings.optimizer]
        optimizer = kind(
            network.parameters(),
            lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
        )
        return Learner(network, optimizer, self.precision.scaler())

    def train(
        self, learner: Learner, learning_rate: float, before_step: Callable[[], None]
    ) -> float:
        """Train on the whole text once, from its beginning.

        A step descends the sum of the cross-entropy over its tokens, the mean over the parts, as
        Zaremba et al. 2014 do; the loss that is given is the mean over all tokens.
        """
        network, optimizer, scaler = learner.network, learner.optimizer, learner.scaler
        network.train()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        total = torch.zeros((), device=self.device)
        states = None
        for inputs, targets in self._pieces(self._train):
            before_step()
            logits, states = self._logits(network, inputs, states)
            loss = _cross_entropy(logits, targets)
            scaler.scale(loss / inputs.shape[1]).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(network.parameters(), self.settings.max_gradient_norm)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            states = detached(states)
            total.add_(loss.detach())
        return total.item() / _num_targets(self._train)

    def validate(self, network: nn.Module) -> float:
        return self._figure(network, self._validation)

    def best(self, validations: Sequence[float]) -> float:
        """Give the lowest figure."""
        return min(validations)

    def reward(self, validation: float) -> float:
        """Give c / perplexity ** 2 (Zoph & Le 2017, s4.2)."""
        perplexity = validation if self._unit == "words" else 2.0**validation
        return self.settings.reward_scale / perplexity**2

    def examples(self, number: int) -> Tensor:
        """Give one token of each of so many sequences, (1, number) int64."""
        tokens = self._validation[0].flatten()
        return tokens[torch.arange(number, device=self.device) % len(tokens)].unsqueeze(0)

    def answers(self, network: nn.Module, examples: Tensor) -> Tensor:
        """Give the logits after each token, (1, N, num_tokens), at the beginning of a text."""
        return self._logits(network, examples, None)[0]

    def test(self, network: nn.Module, test: NDArray[np.int64]) -> float:
        return self._figure(network, self._columns(test, self.settings.evaluation_batch_size))

    @torch.no_grad()
    def _figure(self, network: nn.Module, columns: tuple[Tensor, Tensor]) -> float:
        network.eval()
        total = torch.zeros((), device=self.device, dtype=torch.float64)
        states = None
        for inputs, targets in self._pieces(columns):
            logits, states = self._logits(network, inputs, states)
            total.add_(_cross_entropy(logits, targets))
        nats = total.item() / _num_targets(columns)
        # Above, e to it is no number of a computer's any more.
        if not nats < math.log(sys.float_info.max) / 2:
            raise Infeasible(f"the cross-entropy of the trained network is {nats:g} nats")
        return math.exp(nats) if self._unit == "words" else nats / math.log(2)

    def _logits(self, network: nn.Module, inputs: Tensor, states: Any) -> tuple[Tensor, Any]:
        with self.precision.autocast():
            logits, states = network(inputs, states)
        return logits.float(), states

    def _columns(self, tokens: NDArray[np.int64], num_parts: int) -> tuple[Tensor, Tensor]:
        """Cut a text into parts: give inputs and targets, (steps, parts) each, on the device.

        The last part may lack targets, which are _NO_TARGET there; a short text has fewer parts.
        """
        stream = torch.tensor(tokens)
        num_targets = len(stream) - 1
        num_parts = min(num_parts, num_targets)
        num_steps = math.ceil(num_targets / num_parts)
        num_parts = math.ceil(num_targets / num_steps)  # none without a target
        missing = num_steps * num_parts - num_targets
        inputs = functional.pad(stream[:-1], (0, missing), value=0)
        targets = functional.pad(stream[1:], (0, missing), value=_NO_TARGET)
        shape = num_parts, num_steps
        parts = [each.view(shape).t().contiguous().to(self.device) for each in (inputs, targets)]
        return parts[0], parts[1]

    def _pieces(self, columns: tuple[Tensor, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(*(each.split(self.settings.num_steps) for each in columns), strict=True)


def _num_targets(columns: tuple[Tensor, Tensor]) -> int:
    return int((columns[1] != _NO_TARGET).sum())


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Give the sum over all targets, in nats."""
    return functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=_NO_TARGET, reduction="sum"
    )
