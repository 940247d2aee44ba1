"""A search on pretended GPUs: a child says where it is, and when, and trains nothing."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from child.convolutional.architecture import ConvolutionalArchitecture
from child.images.task import ImageTask
from child.passes import Learner
from child.precision import Precision
from deploy.cli import main
from deploy.settings import ImageSearchSettings

# Wherever this is imported there are GPUs.
torch.cuda.is_available = lambda: True
NOTES = Path("/share/notes")
CHILD_S = 1.0


class Passes:
    """See `child.passes.Passes`."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.device = torch.device("cpu")
        self.precision = Precision("float32", self.device)

    def learner(self, network: nn.Module) -> Any:
        return Learner(network, None, None)  # type: ignore[arg-type]  # nobody uses them

    def train(self, *_: Any) -> float:
        begun = time.time()
        time.sleep(CHILD_S)
        note = {
            "host": socket.gethostname(),
            "gpu": os.environ["CUDA_VISIBLE_DEVICES"],
            "begun": begun,
            "ended": time.time(),
        }
        with (NOTES / f"{socket.gethostname()}-{os.getpid()}").open("a") as file:
            file.write(json.dumps(note) + "\n")
        return 0.0

    def validate(self, _: nn.Module) -> float:
        return 0.5

    def best(self, validations: Any) -> float:
        return max(validations)

    def reward(self, validation: float) -> float:
        return validation

    def test(self, *_: Any) -> float:
        return 0.5


@dataclass(frozen=True)
class PretendedTask(ImageTask):
    """Networks that nobody builds."""

    def build(self, _: ConvolutionalArchitecture, __: Any) -> nn.Module:  # type: ignore[override]
        return nn.Identity()

    def passes(self, _: Any, __: torch.device) -> Any:
        return Passes(self.training)


if __name__ == "__main__":
    import cluster.pretended_search as importable

    ImageSearchSettings.task = property(  # type: ignore[method-assign,assignment]
        lambda self: importable.PretendedTask(self.space, self.network, self.training)
    )
    NOTES.mkdir(exist_ok=True)
    sys.exit(main(["search", *sys.argv[1:]]))
