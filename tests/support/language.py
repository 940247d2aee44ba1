"""Language models, texts and settings to test with, and what models compute, by hand in numpy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from support.cells import FIGURE_5, fill
from torch import Tensor, nn

from child.data.text import TextTrainingData, Vocabulary
from child.data.tokens import Unit
from child.language.layers import LSTM, Lstm
from child.language.model import LanguageModel
from child.language.model_settings import DropoutSettings, LanguageModelSettings
from child.language.passes import TextPasses
from child.language.size import ModelSize
from child.language.training_settings import LanguageTrainingSettings
from child.recurrent.architecture import CellArchitecture
from child.schedule import LearningRateSchedule
from child.training import ChildTrainer

CPU = torch.device("cpu")
NO_DROPOUT = DropoutSettings(embedding=0.0, input=0.0, recurrent=0.0, output=0.0)

Array = NDArray[np.float64]
Step = Callable[[Array, Array, Array], tuple[Array, Array]]
States = Sequence[tuple[Array, Array]]


def text_of(train: Iterable[int], validation: Iterable[int] = (0, 1)) -> TextTrainingData:
    """Give a text of these ids; as many tokens are known as the ids go up to."""
    parts = [np.array(list(part), np.int64) for part in (train, validation)]
    for part in parts:
        part.setflags(write=False)
    num_tokens = 1 + max(int(part.max()) for part in parts)
    return TextTrainingData(*parts, Vocabulary(tuple(map(str, range(num_tokens)))))


def settings_of(**given: Any) -> LanguageTrainingSettings:
    """Give settings in which neither rate nor gradients change, but for what is given."""
    plain: dict[str, Any] = {
        "num_epochs": 1,
        "batch_size": 3,
        "evaluation_batch_size": 2,
        "num_steps": 4,
        "schedule": LearningRateSchedule(kind="constant"),
        "max_gradient_norm": 1e9,
    }
    return LanguageTrainingSettings(**plain | given)


def passes_of(
    settings: LanguageTrainingSettings, data: TextTrainingData, unit: Unit = "words"
) -> TextPasses:
    """Give passes over a text on the CPU."""
    return TextPasses(settings, data, unit, CPU)


def text_trainer(
    settings: LanguageTrainingSettings,
    data: TextTrainingData,
    unit: Unit = "words",
    clock: Callable[[], float] = time.monotonic,
) -> ChildTrainer:
    """Give a trainer of networks for a text, on the CPU."""
    return ChildTrainer(passes_of(settings, data, unit), clock)


def model_of(
    architecture: CellArchitecture | Lstm, *, num_tokens: int = 5, seed: int = 0, **given: Any
) -> LanguageModel:
    """Give a model in float64 without dropout, with 3 units in each of 2 layers, unless given.

    Its weights are normal numbers, so that one taken for another is seen.
    """
    plain: dict[str, Any] = {"num_parameters": None, "hidden_size": 3, "dropout": NO_DROPOUT}
    settings = LanguageModelSettings(**plain | given)
    size = ModelSize.of(settings, num_tokens, architecture.base)
    assert size is not None
    model = LanguageModel(architecture, size, settings).double()
    fill(model, seed)
    return model


def tokens_of(model: LanguageModel, num_steps: int, num_sequences: int, seed: int = 0) -> Tensor:
    """Give random tokens that a model knows, (T, B), the same for the same seed and shape."""
    rng = np.random.default_rng([seed, num_steps, num_sequences])
    return torch.from_numpy(rng.integers(model.size.num_tokens, size=(num_steps, num_sequences)))


# --- By hand: float64, loops, no torch.


def sigmoid(value: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-value))
    return result


def figure_5(u: Array, v: Array, c: Array) -> tuple[Array, Array]:
    """Give h and c of the cell of Figure 5 for u = W x and v = U h."""
    u0, u1 = np.split(u, 2, axis=-1)
    v0, v1 = np.split(v, 2, axis=-1)
    memory = u1 * v1
    a0 = np.maximum(np.tanh(u0 + v0) + c, 0)
    return sigmoid(a0 * np.maximum(memory, 0)), memory


def lstm(u: Array, v: Array, c: Array) -> tuple[Array, Array]:
    """Give h and c of an LSTM, torch's order of gates, for u = W x and v = U h."""
    take, keep, new, give = np.split(u + v, 4, axis=-1)
    c = sigmoid(keep) * c + sigmoid(take) * np.tanh(new)
    return sigmoid(give) * np.tanh(c), c


# Architectures, and a step of each by hand.
CELLS = [(FIGURE_5, figure_5), (LSTM, lstm)]


def layer_by_hand(
    step: Step,
    weights: Sequence[Array],
    inputs: Array,
    state: tuple[Array, Array] | None = None,
    mask: Array | float = 1.0,
) -> tuple[Array, tuple[Array, Array]]:
    """Give the outputs of a layer, (T, B, U), and its last state; h meets U times the mask."""
    weight_ih, weight_hh = weights
    zeros = np.zeros((inputs.shape[1], weight_hh.shape[1]))
    h, c = state or (zeros, zeros)
    outputs = []
    for x in inputs:
        h, c = step(x @ weight_ih.T, (h * mask) @ weight_hh.T, c)
        outputs.append(h)
    return np.stack(outputs), (h, c)


class ByHand:
    """What a language model computes.

    weights: in the order of the model's, copies that a test may change.
    """

    def __init__(self, model: LanguageModel, step: Step) -> None:
        self.weights = [arrayed(weight).copy() for weight in model.parameters()]
        self._step = step
        self._num_layers = model.size.num_layers
        self._is_tied = model.size.is_tied

    def read(
        self,
        tokens: NDArray[np.int64],
        states: States | None = None,
        *,
        inputs: Sequence[Array | float] | None = None,
        recurrent: Sequence[Array | float] | None = None,
        output: Array | float = 1.0,
    ) -> tuple[Array, States]:
        """Give logits (T, B, V) and states, with masks where there are any."""
        embedding, *layers = self.weights
        bias = layers.pop()
        softmax = embedding if self._is_tied else layers.pop()
        inputs = inputs or [1.0] * self._num_layers
        recurrent = recurrent or [1.0] * self._num_layers
        values, ends = embedding[tokens], []
        for number in range(self._num_layers):
            values, end = layer_by_hand(
                self._step,
                layers[2 * number : 2 * number + 2],
                values * inputs[number],
                None if states is None else states[number],
                recurrent[number],
            )
            ends.append(end)
        return (values * output) @ softmax.T + bias, ends

    def gradient(self, loss: Callable[[], float], step: float = 1e-5) -> list[Array]:
        """Give the derivatives of a loss with respect to the weights, by differences."""
        found = []
        for weight in self.weights:
            derivative = np.zeros_like(weight)
            for place in np.ndindex(*weight.shape):
                before, values = weight[place], []
                for change in (step, -step):
                    weight[place] = before + change
                    values.append(loss())
                weight[place] = before
                derivative[place] = (values[0] - values[1]) / (2 * step)
            found.append(derivative)
        return found


def cross_entropies(logits: Array, targets: NDArray[np.int64]) -> Array:
    """Give the cross-entropy of each target, in nats."""
    logits = logits - logits.max(axis=-1, keepdims=True)
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    found: Array = -np.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]
    return found


def arrayed(tensor: Tensor) -> Array:
    """Give the values of a tensor in float64."""
    values: Array = tensor.detach().double().numpy()
    return values


# --- Networks that tests foretell.


class Bigram(nn.Module):
    """Predicts a token from the one before it, with a logit for each pair.

    table: logits, (V, V), zeros unless they are given; row i is what follows i.
    calls: of each (tokens, the state it was given or None, training mode, gradients).

    Its state counts the steps that were read.
    """

    def __init__(self, num_tokens: int, table: Array | None = None) -> None:
        super().__init__()
        table = np.zeros((num_tokens, num_tokens)) if table is None else table
        self.table = nn.Parameter(torch.tensor(table, dtype=torch.float32))
        self.calls: list[tuple[NDArray[np.int64], float | None, bool, bool]] = []

    def forward(
        self, tokens: Tensor, states: Sequence[tuple[Tensor, Tensor]] | None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Give logits, and write down how it was called."""
        read = None if states is None else states[0][0].item()
        self.calls.append((tokens.numpy().copy(), read, self.training, torch.is_grad_enabled()))
        count = torch.tensor((read or 0.0) + len(tokens))
        return self.table[tokens], [(count, count)]


class Scripted(Bigram):
    """Is wrong by so many nats about each token of a validation, epoch by epoch.

    A text of two tokens that take turns is expected.
    """

    def __init__(self, nats: Iterable[float]) -> None:
        super().__init__(2)
        self._nats = iter(nats)

    def forward(
        self, tokens: Tensor, states: Sequence[tuple[Tensor, Tensor]] | None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Give logits of which the right one is lower by as much as makes the nats."""
        logits, new_states = super().forward(tokens, states)
        if not self.training:
            nats = torch.tensor(next(self._nats), dtype=torch.float64)
            # -log(1 / (1 + e^gap)) = nats
            gap = nats + torch.log1p(-torch.exp(-nats))
            logits = torch.nn.functional.one_hot(tokens, 2) * gap.float()
        return logits, new_states
