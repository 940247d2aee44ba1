"""The number formats that a child is computed in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

PrecisionName = Literal["auto", "float32", "bfloat16", "float16"]


class Precision:
    """Convolutions and products in one number format; weights, sums and losses in float32.

    auto: float32 on a CPU; on a GPU bfloat16 where it computes in that, else float16. Open in the
    paper, which is older than either on a GPU; float32 is what it must have used. float32 is whole:
    TF32, in which torch has GPUs compute convolutions unless it is told otherwise, is off.
    """

    def __init__(self, name: PrecisionName, device: torch.device) -> None:
        self.dtype = _dtype_of(name, device)
        self._device_type = device.type

    def autocast(self) -> torch.autocast:
        """Give a context in which a network computes in this format."""
        return torch.autocast(
            self._device_type, dtype=self.dtype, enabled=self.dtype != torch.float32
        )

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Let torch shorten no float32 while a child is computed in it.

        Threads: it holds for the whole process.
        """
        cudnn = torch.backends.cudnn
        before = cudnn.allow_tf32
        cudnn.allow_tf32 = before and self.dtype != torch.float32
        try:
            yield
        finally:
            cudnn.allow_tf32 = before

    def scaler(self) -> torch.amp.GradScaler:
        """Give what keeps the gradients of one child from vanishing in float16.

        In the other formats, which have float32's range, it does nothing.
        """
        return torch.amp.GradScaler(self._device_type, enabled=self.dtype == torch.float16)


def _dtype_of(name: PrecisionName, device: torch.device) -> torch.dtype:
    match name:
        case "float32":
            return torch.float32
        case "bfloat16":
            return torch.bfloat16
        case "float16":
            return torch.float16
        case "auto":
            if device.type != "cuda":
                return torch.float32
            # Emulated, it is slower than float32.
            is_native = torch.cuda.is_bf16_supported(including_emulation=False)
            return torch.bfloat16 if is_native else torch.float16
