"""Functions that exported models carry along: their text is copied as it stands here."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 (its name in exported models)
from torch import Tensor


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Give the tensors in a file: the length of a JSON header, the header, then their bytes."""
    dtypes = {"F32": torch.float32, "I64": torch.int64}
    data = bytearray(Path(path).read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            first, last = (start + offset for offset in entry["data_offsets"])
            values = torch.frombuffer(data[first:last], dtype=dtypes[entry["dtype"]])
            tensors[name] = values.reshape(entry["shape"])
    return tensors


def average_pool(
    x: Tensor, window: tuple[int, int], strides: tuple[int, int], padding: tuple[int, ...]
) -> Tensor:
    """Give the mean of each window, in which only what is inside the map counts."""
    inside = F.pad(torch.ones_like(x[:1, :1]), padding)
    means = F.avg_pool2d(F.pad(x, padding), window, strides)
    return means / F.avg_pool2d(inside, window, strides)


def contrast_norm(x: Tensor) -> Tensor:
    """Subtract from each pixel the local mean, and divide by the local deviation.

    Both are over all channels and a 9x9 Gaussian window, of which what is inside the map counts; no
    deviation is taken for less than its mean over the image (Jarrett et al. 2009, s2.1).
    """
    gaussian = torch.exp(-(torch.arange(-4, 5, dtype=x.dtype, device=x.device) ** 2) / 2 / 2.25**2)
    window = torch.outer(gaussian, gaussian)[None, None]

    def blurred(maps: Tensor) -> Tensor:
        return F.conv2d(maps, window / window.sum(), padding=4)

    inside = blurred(torch.ones_like(x[:1, :1]))
    centred = x - blurred(x.mean(1, keepdim=True)) / inside
    variance = blurred((centred**2).mean(1, keepdim=True)) / inside
    deviation = variance.clamp_min(1e-8).sqrt()
    return centred / torch.maximum(deviation, deviation.mean((2, 3), keepdim=True))
