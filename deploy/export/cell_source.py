"""A recurrent cell, and the language model around it, as the text of torch modules."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from child.language.size import ModelSize
from child.recurrent.architecture import CellArchitecture
from child.recurrent.equations import Notation, assignments, equations
from deploy.export.parts import read_safetensors
from deploy.export.source import INDENT, ModelSource, listed, load_method

PYTHON = Notation(
    input="u{}",
    hidden="v{}",
    memory="new_c",
    output="new_h",
    call="torch.{}",
    maximum="maximum",
)


def cell_source(cell: CellArchitecture, size: ModelSize) -> ModelSource:
    """Give the modules that `child.language.model.LanguageModel` is without dropout.

    Their parameters are in the same order as there.
    """
    classes = _language_model(size), _recurrent_layer(cell)
    return ModelSource("LanguageModel", classes, (read_safetensors,))


def _recurrent_layer(cell: CellArchitecture) -> str:
    leaves = range(cell.base)
    written = textwrap.indent(equations(cell), INDENT)
    steps = "".join(f"{INDENT}{name} = {value}\n" for name, value in assignments(cell, PYTHON))
    return f'''\
class RecurrentLayer(nn.Module):
    """A recurrent layer of the cell, for the steps x of a sequence; h is what it puts out:

{written}
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        # W0, W1, ... one below the other, and so U0, U1, ...
        self.W = nn.Linear(input_size, {cell.base} * hidden_size, bias=False)
        self.U = nn.Linear(hidden_size, {cell.base} * hidden_size, bias=False)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Give the outputs (T, B, hidden_size) of T steps, and the state (h, c) after the last.

        x: (T, B, input_size), B sequences. state: (B, hidden_size) each; None is zeros.
        """
        zeros = x.new_zeros(x.shape[1], self.hidden_size)
        h, c = state or (zeros, zeros)
        outputs = []
        for u in self.W(x):  # the products of all steps with W at once
            h, c = self.step(u, h, c)
            outputs.append(h)
        return torch.stack(outputs), (h, c)

    def step(self, u: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Give h and c after one step, from u = W x, and h and c before it."""
{_chunks("u", leaves, "u")}
{_chunks("v", leaves, "self.U(h)")}
{steps}\
{INDENT}return new_h, new_c'''


def _chunks(letter: str, leaves: Sequence[int], value: str) -> str:
    names = [f"{letter}{leaf}" for leaf in leaves]
    if len(names) == 1:
        return f"{INDENT}{names[0]} = {value}"
    cut = f" = {value}.chunk({len(names)}, dim=-1)"
    line = f"{INDENT}{', '.join(names)}{cut}"
    return line if len(line) <= 100 else listed("(", names, f"){cut}")


def _language_model(size: ModelSize) -> str:
    widths = [size.embedding_size] + [size.hidden_size] * size.num_layers
    numbers = range(1, size.num_layers + 1)
    made = "".join(
        f"{INDENT}self.layer{n} = RecurrentLayer({widths[n - 1]}, {size.hidden_size})\n"
        for n in numbers
    )
    tied = f"{INDENT}self.softmax.weight = self.embedding.weight\n" if size.is_tied else ""
    called = "".join(
        f"{INDENT}x, state{n} = self.layer{n}(x, states[{n - 1}] if states else None)\n"
        for n in numbers
    )
    states = ", ".join(f"state{n}" for n in numbers)
    return f'''\
class LanguageModel(nn.Module):
    """Predicts each of {size.num_tokens:,} tokens from those before it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding({size.num_tokens}, {size.embedding_size})
{made}\
        self.softmax = nn.Linear({size.hidden_size}, {size.num_tokens})
{tied}
    def forward(
        self, tokens: Tensor, states: list[tuple[Tensor, Tensor]] | None = None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Give the logits (T, B, {size.num_tokens}) of what follows, and the states to go on with.

        tokens: (T, B) int64, T steps of B sequences. states: of each layer; None begins a text.
        """
        x = self.embedding(tokens)
{called}\
        return self.softmax(x), [{states}]

{load_method("LanguageModel")}'''.rstrip()
