"""REINFORCE: the gradient of the expected reward, from rollouts and their advantages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from child.space import Space
from controller import seeds
from controller.policy import Policy, PolicySettings
from controller.rollout import Rollout
from ps.layout import FlatVector, Layout

_RATIO_BOUNDS = (0.8, 1.2)


class Reinforce:
    """Samples from a policy and learns by policy gradient; see `controller.strategy.Strategy`.

    The loss is -(1/m) sum_k sum_t log P(a_t | a_<t) (R_k - b), so that descending it ascends the
    expected reward. Advantages R_k - b are numbers: nothing is differentiated through a reward.

    Source: Zoph & Le 2017, s3.2.
    """

    def __init__(self, policy: Policy, num_shards: int) -> None:
        self._policy = policy
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
    ) -> Reinforce:
        """Give a learner whose policy has its first weights, a function of the seed alone.

        Args:
            deepest: depth of the deepest network of the search.

        Raises:
            ValueError: the policy has fewer parameters than there are shards.
        """
        generator = seeds.weights_generator(search_seed)
        return cls(Policy(space, settings, deepest, generator), num_shards)

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
        no use: it is a product of dozens of these.)

        Raises:
            ValueError: an advantage, or the gradient, is not finite.
        """
        if not np.isfinite(advantages).all():
            raise ValueError(f"advantages={list(advantages)}: must be finite")
        log_probs = self._policy.log_probs(depths, [r.choices for r in rollouts])  # (m, T)
        if is_reweighted:
            then = pad_sequence([torch.tensor(r.log_probs) for r in rollouts], batch_first=True)
            log_probs = log_probs * (log_probs.detach() - then).exp().clamp(*_RATIO_BOUNDS)
        loss = -(log_probs.sum(dim=1) * torch.tensor(advantages)).mean()
        names, parameters = zip(*self._policy.named_parameters(), strict=True)
        # A decision that no rollout met has no part in the loss: its gradient is zero.
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        flat = self.layout.flatten(
            {name: g.numpy() for name, g in zip(names, gradients, strict=True)}
        )
        if not np.isfinite(flat).all():
            raise ValueError("the policy gradient is not finite; it stays in the replica")
        return flat
