"""REINFORCE: the gradient of the expected reward, from rollouts and their advantages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from child.space import Space
from controller import seeds
from controller.learning import LearningSettings
from controller.policy import Policy, PolicySettings
from controller.rollout import Rollout
from controller.strategy import UnusableGradient
from ps.layout import FlatVector, Layout
from ps.push import MAX_NORM

PAPER = LearningSettings()

_RATIO_BOUNDS = (0.8, 1.2)


class Reinforce:
    """Samples from a policy and learns by policy gradient; see `controller.strategy.Strategy`.

    The loss is -(1/m) sum_k sum_t log P(a_t | a_<t) (R_k - b), so that descending it ascends the
    expected reward. Advantages R_k - b are numbers: nothing is differentiated through a reward.
    With an entropy bonus beta there is -(beta/m) sum_k sum_t H(P(. | a_<t)) beside it.

    Source: Zoph & Le 2017, s3.2; the bonus, which the paper has not, Mnih et al. 2016, s4.
    """

    def __init__(self, policy: Policy, num_shards: int, learning: LearningSettings = PAPER) -> None:
        self._policy = policy
        self._learning = learning
        shapes = tuple((name, tuple(p.shape)) for name, p in policy.named_parameters())
        self.layout = Layout(shapes, num_shards)

    @classmethod
    def untrained(
        cls,
        space: Space,
        settings: PolicySettings,
        search_seed: int,
        num_shards: int,
        deepest: int,
        learning: LearningSettings = PAPER,
    ) -> Self:
        """Give a learner whose policy has its first weights, a function of the seed alone.

        Args:
            deepest: depth of the deepest network of the search.

        Raises:
            ValueError: the policy has fewer parameters than there are shards.
        """
        generator = seeds.weights_generator(search_seed)
        return cls(Policy(space, settings, deepest, generator), num_shards, learning)

    @property
    def values(self) -> FlatVector:
        """The parameters as they are now, (P,) float32, a copy."""
        return self.layout.flatten(
            {name: p.detach().numpy() for name, p in self._policy.named_parameters()}
        )

    def load(self, values: FlatVector) -> None:
        tensors = self.layout.unflatten(values)
        with torch.no_grad():
            for name, parameter in self._policy.named_parameters():
                parameter.copy_(torch.from_numpy(tensors[name].copy()))

    def sample(
        self, depths: Sequence[int], generators: Sequence[np.random.Generator]
    ) -> list[Rollout]:
        return self._policy.sample(depths, generators)

    def gradient(
        self,
        depths: Sequence[int],
        rollouts: Sequence[Rollout],
        advantages: Sequence[float],
        is_reweighted: bool = False,
    ) -> FlatVector:
        """Give the gradient of the loss at the parameters that were loaded last.

        Where those are not the ones that the rollouts were sampled with (is_reweighted), each
        decision counts by how much more probable it has become since, P(a_t) / P_then(a_t), kept
        within 0.8 and 1.2 as in Schulman et al. 2017, s3. (The ratio of a whole rollout would be of
        no use: it is a product of dozens of these.) The entropy is that of now in any case.

        Raises:
            UnusableGradient: an advantage, or the gradient, is not finite, or it is too large.
        """
        gains = self._gains(advantages)
        log_probs, entropy = self._forced(depths, rollouts)  # (m, T), (m,)
        if is_reweighted:
            ratios = (log_probs.detach() - self._log_probs_then(rollouts)).exp()
            log_probs = log_probs * ratios.clamp(*_RATIO_BOUNDS)
        return self._descent(log_probs.sum(dim=1) * gains, entropy)

    @staticmethod
    def _gains(advantages: Sequence[float]) -> Tensor:
        """Give advantages as (m,).

        Raises:
            UnusableGradient: one is not finite.
        """
        if not np.isfinite(advantages).all():
            raise UnusableGradient(f"advantages={list(advantages)}: must be finite")
        return torch.tensor(advantages)

    @staticmethod
    def _log_probs_then(rollouts: Sequence[Rollout]) -> Tensor:
        """Give the log-probabilities that choices were drawn with, (m, T), ended by zeros."""
        return pad_sequence([torch.tensor(r.log_probs) for r in rollouts], batch_first=True)

    def _forced(
        self, depths: Sequence[int], rollouts: Sequence[Rollout]
    ) -> tuple[Tensor, Tensor | None]:
        """Give the log-probabilities (m, T), and the entropies (m,) where they are wanted."""
        choices = [rollout.choices for rollout in rollouts]
        if self._learning.entropy_bonus:
            return self._policy.log_probs_and_entropies(depths, choices)
        return self._policy.log_probs(depths, choices), None

    def _descent(self, objective: Tensor, entropy: Tensor | None) -> FlatVector:
        """Give the gradient of minus the mean of (m,), with the entropy's part in it.

        Raises:
            UnusableGradient: it is not finite, or too large for a shard.
        """
        loss = -objective.mean()
        if entropy is not None:
            loss = loss - self._learning.entropy_bonus * entropy.mean()
        names, parameters = zip(*self._policy.named_parameters(), strict=True)
        # A decision that no rollout met has no part in the loss: its gradient is zero.
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        flat = self.layout.flatten(
            {name: g.numpy() for name, g in zip(names, gradients, strict=True)}
        )
        norm = float(np.linalg.norm(flat.astype(np.float64)))  # not finite if an element is not
        if not norm <= MAX_NORM:
            raise UnusableGradient(
                f"the norm of the policy gradient is {norm:g}: must be at most {MAX_NORM:g}; no "
                "shard would take it"
            )
        return flat
