"""The state of torch in which a child is trained, whatever was there before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from child.denormals import without_denormals
from child.determinism import deterministic
from child.passes import Passes


@contextmanager
def seeded(passes: Passes, seed: int) -> Iterator[None]:
    """Let torch draw from the seed, as precisely and repeatably as the settings of the passes say.

    What torch would have drawn without it, it draws afterwards.

    Threads: it holds for the whole process, but for `without_denormals`.

    Args:
        seed: in [0, 2**63).
    """
    with ExitStack() as stack:
        is_cuda = passes.device.type == "cuda"
        stack.enter_context(torch.random.fork_rng([passes.device] if is_cuda else []))
        if passes.settings.is_deterministic:
            stack.enter_context(deterministic())
        stack.enter_context(passes.precision.kept())
        stack.enter_context(without_denormals())
        torch.manual_seed(seed)
        yield
