"""A language model: embedding, recurrent layers, softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from child.language.dropout import kept, masked
from child.language.layers import CellLayer, Lstm, LstmLayer, RecurrentLayer, State
from child.language.model_settings import LanguageModelSettings
from child.language.size import ModelSize
from child.recurrent.architecture import CellArchitecture


class LanguageModel(nn.Module):
    """Predicts each token of a text from those before it.

    V tokens are embedded in E values each, go through layers of U units, and a softmax over V with
    biases. With `is_tied` the matrix that embeds is the one that predicts, and E = U.

    In training, what dropout leaves out is drawn once for each call, and stays out for all steps of
    each sequence: tokens wherever they stand, inputs of each layer, what each layer put out the
    step before, and outputs of the last one. Without `is_variational`, inputs and outputs are drawn
    for each step.

    Source: Zoph & Le 2017, s4.2; Zaremba et al. 2014; Gal & Ghahramani 2016; Inan et al. 2017.
    """

    def __init__(
        self,
        architecture: CellArchitecture | Lstm,
        size: ModelSize,
        settings: LanguageModelSettings,
    ) -> None:
        """Build the model; its weights come from torch's global generator.

        Args:
            architecture: of the cell.
            size: its num_blocks are the architecture's base.
        """
        super().__init__()
        self._dropout = settings.dropout
        self.size = size
        self.embedding = nn.Embedding(size.num_tokens, size.embedding_size)
        widths = [size.embedding_size] + [size.hidden_size] * size.num_layers
        self.layers = nn.ModuleList(
            LstmLayer(width, size.hidden_size)
            if isinstance(architecture, Lstm)
            else CellLayer(architecture, width, size.hidden_size)
            for width in widths[:-1]
        )
        self.softmax = nn.Linear(size.hidden_size, size.num_tokens)
        for weight in self.parameters():
            if weight.ndim > 1:
                nn.init.uniform_(weight, -settings.init_range, settings.init_range)
            else:
                nn.init.zeros_(weight)
        if size.is_tied:
            self.softmax.weight = self.embedding.weight

    def forward(
        self, tokens: Tensor, states: Sequence[State] | None = None
    ) -> tuple[Tensor, list[State]]:
        """Give what follows each token, and the state after the last.

        Args:
            tokens: (T, B) int64, T steps of B sequences.
            states: of each layer, (h, c), (B, U) each; None: zeros, the beginning of a text.

        Returns:
            Logits (T, B, V) of the token after each; the states of the layers.
        """
        values = self._embedded(tokens)
        new_states: list[State] = []
        for number, layer in enumerate(self.layers):
            state = states[number] if states is not None else None
            values = self._dropped(values, self._dropout.input)
            mask = None
            if self.training:
                shape = (tokens.shape[1], self.size.hidden_size)
                mask = kept(shape, self._dropout.recurrent, values)
            values, new_state = cast(RecurrentLayer, layer)(values, state, mask)
            new_states.append(new_state)
        return self.softmax(self._dropped(values, self._dropout.output)), new_states

    def _embedded(self, tokens: Tensor) -> Tensor:
        weight = self.embedding.weight
        if not self.training:
            return functional.embedding(tokens, weight)
        # A token that is left out is so wherever it stands, in every sequence of the batch.
        mask = kept((self.size.num_tokens, 1), self._dropout.embedding, weight)
        embedded = functional.embedding(tokens, weight)
        return embedded if mask is None else embedded * functional.embedding(tokens, mask)

    def _dropped(self, values: Tensor, dropped: float) -> Tensor:
        if not self.training:
            return values
        steps = 1 if self._dropout.is_variational else values.shape[0]
        return masked(values, kept((steps, *values.shape[1:]), dropped, values))


def detached(states: Sequence[State]) -> list[State]:
    """Give states that no gradient goes back through."""
    return [(h.detach(), c.detach()) for h, c in states]
