"""Whether the processor computes with numbers that are nearly zero."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def without_denormals() -> Iterator[None]:
    """Let this thread take a number for zero that is no normal one: in float32, below 1.2e-38.

    Processors are many times slower with such numbers, and where gradients vanish over the steps of
    a sequence most are such: one random cell of five took 2.4 times as long for it.

    Where torch computes with several threads nothing is changed: the others would not follow, and
    which of them computes what may differ. Threads that are started meanwhile keep it for good, so
    the number of threads must stay as it is until the end.
    """
    if torch.get_num_threads() > 1 or _are_flushed():
        yield
        return
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _are_flushed() -> bool:
    denormal = torch.tensor(1e-30) * 1e-10
    # Its bits: compared with zero it may be taken for it.
    return not denormal.view(torch.int32).item()
