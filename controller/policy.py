"""The policy: a recurrent network that writes an architecture, one decision after another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from child.space import Space
from controller.rollout import Rollout

# Gives, for a step, the rows of the batch that take a decision of one kind, and the
# log-probabilities (rows, choices) of that decision, the choice of each row.
Chooser = Callable[[int, Sequence[int], Tensor], Sequence[int]]


class PolicySettings(BaseModel):
    """The size of the policy. The defaults are those of Zoph & Le 2017, s4.1."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    hidden_size: int = Field(35, ge=1, le=2048)
    num_layers: int = Field(2, ge=1, le=8)
    embedding_size: int = Field(35, ge=1, le=2048, description="Open in the paper.")
    init_range: float = Field(0.08, gt=0, description="All weights start uniform in ± this.")


class Policy(nn.Module):
    """P(choices) as an autoregressive LSTM over the decisions of a space.

    Each decision is a softmax over its choices; the choice is embedded and is the next step's
    input. The first input is a weight of its own (open in the paper). Embedding and softmax
    are shared by all decisions of a kind. The policy asks the space for the next decision of a
    prefix and knows nothing else of it, so rollouts of one batch may differ in their decisions.

    Source: Zoph & Le 2017, s3.1 and s4.1.
    """

    def __init__(
        self, space: Space, settings: PolicySettings, generator: np.random.Generator
    ) -> None:
        """Build the policy; its weights are drawn from the generator and nothing else."""
        super().__init__()
        self._space = space
        self.first_input = nn.Parameter(torch.empty(settings.embedding_size))
        self.lstm = nn.LSTM(
            settings.embedding_size, settings.hidden_size, settings.num_layers, batch_first=True
        )
        self.embeddings = nn.ModuleDict(
            {
                _name(d.kind): nn.Embedding(d.num_choices, settings.embedding_size)
                for d in space.decisions
            }
        )
        self.softmaxes = nn.ModuleDict(
            {_name(d.kind): nn.Linear(settings.hidden_size, d.num_choices) for d in space.decisions}
        )
        bound = settings.init_range
        with torch.no_grad():
            for weights in self.parameters():
                drawn = generator.uniform(-bound, bound, tuple(weights.shape))
                weights.copy_(torch.from_numpy(drawn))

    def sample(
        self, depths: Sequence[int], generators: Sequence[np.random.Generator]
    ) -> list[Rollout]:
        """Draw one rollout for each depth, all in one batch.

        generators[i] alone decides, with the weights, what rollout i is: it is the same in every
        batch. (Matrix products may differ in the last bit with the size of the batch, so a
        choice can differ where a draw falls within that bit of a boundary.)
        """

        def draw(step: int, rows: Sequence[int], log_probs: Tensor) -> list[int]:
            cumulative = log_probs.double().exp().cumsum(dim=1).numpy()
            return [
                # The last sum may be a little less than 1; a draw above it is the last choice.
                min(int(np.searchsorted(sums, generators[row].random(), "right")), len(sums) - 1)
                for row, sums in zip(rows, cumulative, strict=True)
            ]

        with torch.no_grad():
            choices, log_probs = self._unroll(depths, draw)
        return [
            Rollout(tuple(row), tuple(log_probs[i, : len(row)].tolist()))
            for i, row in enumerate(choices)
        ]

    def log_probs(self, depths: Sequence[int], choices: Sequence[Sequence[int]]) -> Tensor:
        """Give the log-probability, in nats, of every choice, by teacher forcing.

        Returns:
            (B, T) float32, differentiable; a rollout shorter than the longest ends with zeros.
        """
        return self._unroll(depths, lambda step, rows, _: [choices[row][step] for row in rows])[1]

    def _unroll(self, depths: Sequence[int], choose: Chooser) -> tuple[list[list[int]], Tensor]:
        prefixes: list[list[int]] = [[] for _ in depths]
        log_probs: list[Tensor] = []
        inputs = self.first_input.expand(len(depths), -1)
        state: tuple[Tensor, Tensor] | None = None
        while open_rows := self._group_by_kind(prefixes, depths):
            # Rows that are complete go along, and nothing looks at what comes out of them.
            output, state = self.lstm(inputs.unsqueeze(1), state)
            hidden = output.squeeze(1)
            step_log_probs = hidden.new_zeros(len(depths))
            next_inputs = torch.zeros_like(inputs)
            for kind, rows in open_rows.items():
                kind_log_probs = self.softmaxes[_name(kind)](hidden[rows]).log_softmax(dim=1)
                picked = choose(len(log_probs), rows, kind_log_probs)
                index = torch.tensor(picked)
                chosen = kind_log_probs.gather(1, index.unsqueeze(1)).squeeze(1)
                step_log_probs = step_log_probs.index_put((torch.tensor(rows),), chosen)
                next_inputs = next_inputs.index_put(
                    (torch.tensor(rows),), self.embeddings[_name(kind)](index)
                )
                for row, choice in zip(rows, picked, strict=True):
                    prefixes[row].append(choice)
            log_probs.append(step_log_probs)
            inputs = next_inputs
        return prefixes, torch.stack(log_probs, dim=1)

    def _group_by_kind(
        self, prefixes: Sequence[Sequence[int]], depths: Sequence[int]
    ) -> dict[str, list[int]]:
        """Give the rows whose next decision is of each kind; complete rows are in none."""
        rows: dict[str, list[int]] = defaultdict(list)
        for row, (prefix, depth) in enumerate(zip(prefixes, depths, strict=True)):
            decision = self._space.next_decision(prefix, depth)
            if decision is not None:
                rows[decision.kind].append(row)
        return rows


def _name(kind: str) -> str:
    """Give the name of a kind's modules; "type" alone would be taken for nn.Module.type."""
    return f"of_{kind}"
