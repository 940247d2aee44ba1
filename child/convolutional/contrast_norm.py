"""Local contrast normalisation as a torch module."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn

WINDOW = 9  # pixels; Jarrett et al. 2009, s2.1
_EPSILON = 1e-4  # where all of an image is flat


class LocalContrastNorm(nn.Module):
    """Subtract the local mean from every pixel, and divide by the local standard deviation.

    Both are taken over all channels and a 9x9 Gaussian window w whose weights sum to 1:
    v = x - sum(w x), y = v / max(c, sigma) with sigma = sqrt(sum(w v^2)) and c the mean of sigma
    over the image. Beyond the border the weights are those inside alone, so that no edge appears.

    Source: Jarrett et al. 2009, "What is the best multi-stage architecture for object
    recognition?", s2.1. Zoph & Le 2017, s3.3, name the layer and leave open how it is made; the
    width of the Gaussian, a quarter of the window, is open in both.
    """

    _window: Tensor

    def __init__(self) -> None:
        super().__init__()
        offsets = torch.arange(WINDOW, dtype=torch.float32) - WINDOW // 2
        gaussian = torch.exp(-(offsets**2) / (2 * (WINDOW / 4) ** 2))
        window = torch.outer(gaussian, gaussian)
        self.register_buffer("_window", (window / window.sum())[None, None], persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise maps (N, channels, height, width); the result has at least 32 bits.

        16 bits are too few: the squares of small differences vanish in them, and those of large
        ones overflow.
        """
        device = features.device.type
        # Where there are no values, as networks are counted, there is no autocast either.
        off = nullcontext() if device == "meta" else torch.autocast(device, enabled=False)
        with off:
            return self._normalised(features.to(torch.promote_types(features.dtype, torch.float32)))

    def _normalised(self, features: Tensor) -> Tensor:
        inside = self._blurred(torch.ones_like(features[:1, :1]))
        centred = features - self._blurred(features.mean(dim=1, keepdim=True)) / inside
        variance = self._blurred((centred**2).mean(dim=1, keepdim=True)) / inside
        # The square root has no slope at 0, where a map is flat.
        deviation = variance.clamp_min(_EPSILON**2).sqrt()
        return centred / torch.maximum(deviation, deviation.mean(dim=(2, 3), keepdim=True))

    def _blurred(self, maps: Tensor) -> Tensor:
        return nn.functional.conv2d(maps, self._window.to(maps.dtype), padding=WINDOW // 2)
