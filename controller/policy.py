"""The policy: a recurrent network that writes an architecture, one decision after another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from child.space import AnchorDecision, Decision, Space
from controller.distributions import Bernoullis, Distribution, Softmax, bits_of
from controller.rollout import Rollout

# Gives, for a step and the rows of the batch that take one decision there, the choice of each.
Chooser = Callable[[int, Sequence[int], Distribution], Sequence[int]]


class PolicySettings(BaseModel):
    """The recurrent network that writes architectures; the defaults are Zoph & Le 2017, s4.1."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    hidden_size: int = Field(
        35, ge=1, le=2048, description="Units in each of its LSTM layers; s4.1."
    )
    num_layers: int = Field(2, ge=1, le=8, description="LSTM layers; s4.1.")
    embedding_size: int = Field(
        35,
        ge=1,
        le=2048,
        description="Numbers that stand for the last choice when the next one is made. Open in the "
        "paper.",
    )
    init_range: float = Field(
        0.08, gt=0, description="All weights start uniform between minus this and this; s4.1."
    )
    sharing: Literal["kind", "position"] = Field(
        "kind",
        description="Which decisions have an embedding and a softmax in common, open in the paper: "
        "those of a kind, or none: each step of the list has its own. Anchor points always share.",
    )
    first_input: Literal["learned", "zeros"] = Field(
        "learned",
        description="What it reads before the first choice: weights of its own, or zeros. Open in "
        "the paper.",
    )
    anchor_input: Literal["mean", "learned"] = Field(
        "mean",
        description="What follows an anchor point, open in the paper. mean: a linear map of the "
        "mean of the hidden states at the anchor points taken. learned: a weight of its own.",
    )
    temperature: float = Field(
        1.0,
        gt=0,
        le=1000,
        description="Divides all logits: above 1 choices are nearer to uniform, below 1 nearer to "
        "the most probable one. Open in the paper, so 1. ENAS (Pham et al. 2018) has 5.",
    )
    tanh_constant: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="Logits become this times their tanh, after the temperature: no choice gets "
        "ever so sure, since none is more than exp(twice this) times as probable as another. null: "
        "they stay as they are, as in the paper. Bello et al. 2017; ENAS (Pham et al. 2018) has "
        "2.5.",
    )


class Policy(nn.Module):
    """P(choices) as an autoregressive LSTM over the decisions of a space.

    Each decision is a softmax over its choices; the choice is embedded and is the next step's
    input. Embedding and softmax are shared by all decisions of a kind, or, with the setting
    ``sharing``, each step of the list has its own for whatever kind may stand there (open in the
    paper).

    At an anchor point each earlier one, j, is taken with probability
    sigmoid(v . tanh(W_prev h_j + W_curr h_i)), independently; h is the hidden state at the anchor
    point, of the upper layer of the LSTM. W_prev, W_curr and v are one set of weights, in the paper
    and here, and so is what embeds the points taken: all anchor points share them in any case.

    The policy asks the space for the next decision of a prefix and knows nothing else of it, so
    rollouts of one batch may differ in their decisions.

    Source: Zoph & Le 2017, s3.1, s3.3 and s4.1.
    """

    def __init__(
        self,
        space: Space,
        settings: PolicySettings,
        deepest: int,
        generator: np.random.Generator,
    ) -> None:
        """Build the policy.

        Args:
            deepest: depth of the deepest network that it is to write; by position it has weights
                for the steps of no other. (By kind it can write any.)
            generator: the weights are drawn from it and nothing else.
        """
        super().__init__()
        self._space = space
        self._deepest = deepest
        self._is_by_position = settings.sharing == "position"
        self._temperature = settings.temperature
        self._tanh_constant = settings.tanh_constant
        input_size, hidden_size = settings.embedding_size, settings.hidden_size
        if settings.first_input == "learned":
            self.first_input = nn.Parameter(torch.empty(input_size))
        else:
            self.register_buffer("first_input", torch.zeros(input_size), persistent=False)
        self.lstm = nn.LSTM(input_size, hidden_size, settings.num_layers, batch_first=True)
        num_choices = self._num_choices()
        self.embeddings = nn.ModuleDict(
            {name: nn.Embedding(number, input_size) for name, number in num_choices.items()}
        )
        self.softmaxes = nn.ModuleDict(
            {name: nn.Linear(hidden_size, number) for name, number in num_choices.items()}
        )
        self.anchors = _Anchors(settings) if space.has_anchors else None
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

        Raises:
            ValueError: a depth is beyond the deepest, and the policy has weights by position.
        """

        def draw(_: int, rows: Sequence[int], distribution: Distribution) -> list[int]:
            return distribution.draw([generators[row] for row in rows])

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

        Raises:
            ValueError: a depth is beyond the deepest, and the policy has weights by position.
        """
        return self._unroll(depths, lambda step, rows, _: [choices[row][step] for row in rows])[1]

    def log_probs_and_entropies(
        self, depths: Sequence[int], choices: Sequence[Sequence[int]]
    ) -> tuple[Tensor, Tensor]:
        """Give what `log_probs` gives, and the entropies of the distributions met on the way.

        Returns:
            Log-probabilities (B, T), and (B,): of each rollout the sum over its steps of the
            entropy, in nats, of that step's distribution; both float32, differentiable. A step's
            entropy is differentiated as it is after the choices before it: not through their
            probabilities.
        """
        met: list[Tensor] = []  # (B,) each

        def look(step: int, rows: Sequence[int], distribution: Distribution) -> list[int]:
            entropy = distribution.entropy()
            met.append(entropy.new_zeros(len(depths)).index_put((torch.tensor(rows),), entropy))
            return [choices[row][step] for row in rows]

        log_probs = self._unroll(depths, look)[1]
        return log_probs, torch.stack(met).sum(dim=0)

    def _unroll(self, depths: Sequence[int], choose: Chooser) -> tuple[list[list[int]], Tensor]:
        if self._is_by_position and max(depths) > self._deepest:
            raise ValueError(
                f"depth={max(depths)}: must be at most {self._deepest}; with sharing=position the "
                "policy has weights for the steps of no deeper network"
            )
        prefixes: list[list[int]] = [[] for _ in depths]
        at_anchors: list[list[Tensor]] = [[] for _ in depths]  # hidden states, (H,) each
        log_probs: list[Tensor] = []
        inputs = self.first_input.expand(len(depths), -1)
        state: tuple[Tensor, Tensor] | None = None
        while open_rows := self._group_by_decision(prefixes, depths):
            # Rows that are complete go along, and nothing looks at what comes out of them.
            output, state = self.lstm(inputs.unsqueeze(1), state)
            hidden = output.squeeze(1)
            step_log_probs = hidden.new_zeros(len(depths))
            next_inputs = torch.zeros_like(inputs)
            for decision, rows in open_rows.items():
                earlier = [at_anchors[row] for row in rows]
                distribution, embed = self._look(decision, len(log_probs), hidden[rows], earlier)
                picked = choose(len(log_probs), rows, distribution)
                index = (torch.tensor(rows),)
                step_log_probs = step_log_probs.index_put(index, distribution.log_prob(picked))
                next_inputs = next_inputs.index_put(index, embed(picked))
                for row, choice in zip(rows, picked, strict=True):
                    prefixes[row].append(choice)
                    if isinstance(decision, AnchorDecision):
                        at_anchors[row].append(hidden[row])
            log_probs.append(step_log_probs)
            inputs = next_inputs
        return prefixes, torch.stack(log_probs, dim=1)

    def _look(
        self,
        decision: Decision | AnchorDecision,
        step: int,
        hidden: Tensor,
        at_anchors: Sequence[Sequence[Tensor]],
    ) -> tuple[Distribution, Callable[[Sequence[int]], Tensor]]:
        """Give what R rows choose from at a decision, and how their choices are embedded.

        Args:
            hidden: (R, H). at_anchors: of each row, the hidden states at its anchor points.
        """
        if isinstance(decision, AnchorDecision):
            assert self.anchors is not None, "a space with anchor points must say so"
            k = decision.num_earlier
            states = [state for row in at_anchors for state in row[:k]]
            earlier = torch.stack(states) if states else hidden.new_empty(0)
            earlier = earlier.reshape(len(hidden), k, hidden.shape[1])
            logits = self.anchors.logits(hidden, earlier)
            return (
                Bernoullis(self._tempered(logits)),
                lambda choices: self.anchors.embedded(earlier, bits_of(choices, k)),
            )
        name = self._name(decision, step)
        logits = self.softmaxes[name](hidden)
        return (
            Softmax(self._tempered(logits)),
            lambda choices: self.embeddings[name](torch.tensor(choices)),
        )

    def _tempered(self, logits: Tensor) -> Tensor:
        """Give the logits that are drawn by, and judged by: nothing else looks at the others."""
        logits = logits / self._temperature
        if self._tanh_constant is None:
            return logits
        return self._tanh_constant * torch.tanh(logits)

    def _num_choices(self) -> dict[str, int]:
        """Give the names of the embeddings and softmaxes, and the choices that each is for."""
        decisions = self._space.decisions
        steps = self._space.positions(self._deepest) if self._is_by_position else [set(decisions)]
        return {
            self._name(decision, step): decision.num_choices
            for step, met in enumerate(steps)
            for decision in decisions  # in this order: a set has none
            if decision in met
        }

    def _name(self, decision: Decision, step: int) -> str:
        # "type" alone would be taken for nn.Module.type.
        of_kind = f"of_{decision.kind}"
        return f"at_{step}_{of_kind}" if self._is_by_position else of_kind

    def _group_by_decision(
        self, prefixes: Sequence[Sequence[int]], depths: Sequence[int]
    ) -> dict[Decision | AnchorDecision, list[int]]:
        """Give the rows that take each decision next; complete rows are in none."""
        rows: dict[Decision | AnchorDecision, list[int]] = defaultdict(list)
        for row, (prefix, depth) in enumerate(zip(prefixes, depths, strict=True)):
            decision = self._space.next_decision(prefix, depth)
            if decision is not None:
                rows[decision].append(row)
        return rows


class _Anchors(nn.Module):
    """The weights of all anchor points.

    R rows, each with K earlier anchor points and hidden states of size H.
    """

    def __init__(self, settings: PolicySettings) -> None:
        super().__init__()
        size = settings.hidden_size
        self.previous = nn.Linear(size, size, bias=False)  # W_prev
        self.current = nn.Linear(size, size, bias=False)  # W_curr
        self.vector = nn.Parameter(torch.empty(size))  # v
        self._takes_mean = settings.anchor_input == "mean"
        if self._takes_mean:
            self.embedding = nn.Linear(size, settings.embedding_size)
        else:
            self.input = nn.Parameter(torch.empty(settings.embedding_size))

    def logits(self, hidden: Tensor, earlier: Tensor) -> Tensor:
        """Give the logits (R, K) for hidden states (R, H) and those before, (R, K, H)."""
        mixed = torch.tanh(self.previous(earlier) + self.current(hidden).unsqueeze(1))
        return mixed @ self.vector

    def embedded(self, earlier: Tensor, is_taken: Tensor) -> Tensor:
        """Give the next inputs, (R, E); is_taken: (R, K) booleans."""
        if not self._takes_mean:
            return self.input.expand(len(earlier), -1)
        taken = (earlier * is_taken.unsqueeze(2)).sum(dim=1)
        mean = taken / is_taken.sum(dim=1, keepdim=True).clamp_min(1)
        embedded: Tensor = self.embedding(mean)
        return embedded
