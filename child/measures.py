"""What is measured of a network beside its weights and what it gets right."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from torch import nn

from child.latency import latency_s
from child.multiply_adds import num_multiply_adds
from child.passes import Passes

Measure = Literal["num_multiply_adds", "latency_s"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


@dataclass(frozen=True)
class Measures:
    """The costs of networks that are measured, none by default.

    Laws:
        A child is the same, bit for bit, whether it is measured or not.

    latency_batch_size: the examples that are answered at once as the latency is measured.
    """

    names: tuple[Measure, ...] = ()
    latency_batch_size: int = 1

    def prepare(self) -> None:
        """Load what counting takes, a second or two that no child is to wait for."""
        if "num_multiply_adds" in self.names:
            num_multiply_adds(nn.Tanh(), torch.zeros(1))

    def of_new(self, network: nn.Module, passes: Passes) -> dict[str, float]:
        """Measure a network that was just built: what is known by its shapes alone."""
        if "num_multiply_adds" not in self.names:
            return {}
        return {"num_multiply_adds": num_multiply_adds(network, passes.examples(1))}

    @torch.no_grad()
    def of_trained(self, network: nn.Module, passes: Passes) -> dict[str, float]:
        """Measure a network that is trained, on the device: it answers as if it were validated."""
        if "latency_s" not in self.names:
            return {}
        network.eval()
        examples = passes.examples(self.latency_batch_size)
        return {
            "latency_s": latency_s(partial(passes.answers, network, examples), passes.device),
        }


NOTHING = Measures()
