"""PPO: several gradients of the same rewards, each where the one before led to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from controller.reinforce import Reinforce
from controller.rollout import Rollout
from ps.layout import FlatVector

# Of log r_t. More takes a decision that was drawn with a probability below e^-20, 2 in 10^9: one
# that a search does not meet but by an error of rounding. And e^20 times MAX_REWARD fits float32.
_MAX_LOG_RATIO = 20.0


class Ppo(Reinforce):
    """Learns as REINFORCE does, with rewards that count several times, within bounds.

    With r_t = P(a_t | a_<t) / P_then(a_t | a_<t), A = R_k - b and clip c, the loss of one epoch is

        -(1/m) sum_k sum_t min(r_t A, clip(r_t, 1 - c, 1 + c) A)

    An advantage A > 0 stops to count for a decision once that is more than 1 + c times as probable
    as it was, A < 0 once it is less than 1 - c times: it has moved enough, the way it was to go. A
    decision that has moved the other way counts in full, up to r_t = e^20; one beyond counts for
    nothing, as in the dual clip of Ye et al. 2020 (there beyond 3). At r_t = 1 the gradient is that
    of REINFORCE.

    The parameters are the shards', which take a reward in one push only. So the replica moves a
    copy of its own: after each epoch but the last by `inner_step` along the gradient, whatever its
    norm. What leaves is the mean of the gradients met, for the shards' optimizer to step by. (This
    is how federated learning makes one server step of several local ones; Reddi et al. 2021,
    algorithm 1.) A step of fixed length does not depend on the scale of rewards, as the steps of
    Adam on the shards do not; a gradient that the clip has emptied is zero, and moves nothing.

    Source: Schulman et al. 2017, s3, equation 7; for architectures Zoph et al. 2018 (NASNet). The
    advantage is the paper's own, R_k - b, of a whole rollout: there is no critic.
    """

    def gradient(
        self,
        depths: Sequence[int],
        rollouts: Sequence[Rollout],
        advantages: Sequence[float],
        is_reweighted: bool = False,
    ) -> FlatVector:
        """Give the mean of the gradients of all epochs; the first is at the parameters loaded last.

        Those are what the rollouts were sampled with, unless is_reweighted: then the ratios are to
        the log-probabilities in the rollouts, and the first gradient, too, may meet the clip.

        Raises:
            UnusableGradient: an advantage, or a gradient, is not finite, or it is too large.
        """
        gains = self._gains(advantages)
        # Sampled with the parameters of now, the ratios of the first epoch are 1 to the last bit,
        # which the rollouts' own figures, of another batch, may not give.
        then = self._log_probs_then(rollouts) if is_reweighted else None
        loaded = self.values
        gradients: list[FlatVector] = []
        try:
            while True:
                log_probs, entropy = self._forced(depths, rollouts)
                then = log_probs.detach() if then is None else then
                gradients.append(self._descent(self._surrogate(log_probs, then, gains), entropy))
                if len(gradients) == self._learning.epochs:
                    break
                self._step(gradients[-1])
        finally:
            self.load(loaded)
        mean: FlatVector = np.mean(gradients, axis=0)
        return mean

    def _surrogate(self, log_probs: Tensor, then: Tensor, gains: Tensor) -> Tensor:
        """Give the clipped objective of each rollout, (m,)."""
        # An infinite ratio would make the zero that the clip gives it 0 * inf, for all rollouts.
        ratios = (log_probs - then).clamp(max=_MAX_LOG_RATIO).exp()
        clip = self._learning.clip
        bounded = ratios.clamp(1 - clip, 1 + clip)
        gains = gains.unsqueeze(1)
        # Within the bounds both are equal, and torch gives each half of the gradient.
        return torch.minimum(ratios * gains, bounded * gains).sum(dim=1)

    def _step(self, gradient: FlatVector) -> None:
        norm = np.linalg.norm(gradient)
        if norm > 0:
            self.load(self.values - np.float32(self._learning.inner_step / norm) * gradient)
