"""Networks to export, with weights that tell their layers apart."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.cells import fill
from torch import Tensor, nn

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import BatchNorm, ContrastNorm, Convolution, Layer, Pooling
from child.convolutional.network import ConvolutionalNetwork
from child.convolutional.network_settings import NetworkSettings
from child.convolutional.plan import NetworkPlan
from child.convolutional.space import ConvolutionalSpace
from child.convolutional.space_settings import ConvolutionalSettings
from child.data.images import LabelledImages, TrainingData
from child.data.whitening import Whitening, WhiteningKind
from child.images.augmentation import Augmentation, AugmentationSettings
from child.language.model import LanguageModel
from child.language.model_settings import LanguageModelSettings
from child.language.size import ModelSize
from deploy.export.cell_source import cell_source
from deploy.export.convolutional_source import convolutional_source
from deploy.export.preparation import Preparation

# Asks every model.py of a folder, one folder below it for each, in a process that has torch alone.
ALONE = """
import builtins, importlib.util, sys
from pathlib import Path
import torch

KNOWN = {*sys.stdlib_module_names, "torch"}
import_any = builtins.__import__


def import_known(name, globals=None, *others):
    # torch itself may import what it likes, and has: what it has loaded is asked for nowhere else.
    if (globals or {}).get("__name__") == "model" and name.partition(".")[0] not in KNOWN:
        raise ImportError(f"{name} is imported")
    return import_any(name, globals, *others)


builtins.__import__ = import_known
for room in ("child", "deploy", "numpy", "safetensors"):
    try:
        exec(f"import {room}", {"__name__": "model"})
    except ImportError:
        continue
    sys.exit(f"{room} can be imported")
torch.set_grad_enabled(False)
torch.set_num_threads(1)
for folder in sorted(Path(sys.argv[1]).iterdir()):
    spec = importlib.util.spec_from_file_location("model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    inputs = torch.load(folder / "inputs.pt", weights_only=True)
    name = "Network" if hasattr(module, "Network") else "LanguageModel"
    model = getattr(module, name).load(folder / "model.safetensors")
    if "stored" in inputs:
        inputs["images"] = model.prepare(inputs.pop("stored"))
    torch.save(model(**inputs), folder / "answers.pt")
"""


def asked_alone(folder: Path) -> dict[str, Any]:
    """Give what each model says to its inputs.pt, by the name of its folder."""
    command = [sys.executable, "-I", "-c", ALONE, str(folder)]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return {
        each.name: torch.load(each / "answers.pt", weights_only=True)
        for each in sorted(folder.iterdir())
    }


def scrambled(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give a network in evaluation mode whose batch norms all differ, as after a training."""
    generator = torch.Generator().manual_seed(seed)
    least = {"weight": 0.5, "running_var": 0.5, "bias": 0.0, "running_mean": -0.5}
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.ndim == 1:
                drawn = torch.rand(value.shape, generator=generator)
                value.copy_(drawn + least[name.rpartition(".")[2]])
    return network.eval()


def random_network(
    space: ConvolutionalSettings, depth: int, seed: int
) -> ConvolutionalArchitecture:
    """Give an architecture of a space, the same for the same seed."""
    rng = np.random.default_rng(seed)
    written, choices = ConvolutionalSpace(space), []
    while decision := written.next_decision(choices, depth):
        choices.append(int(rng.integers(decision.num_choices)))
    architecture: ConvolutionalArchitecture = written.decode(choices, depth)
    return architecture


def random_images(
    shape: tuple[int, int, int], kind: WhiteningKind = "channel", num_classes: int = 4
) -> TrainingData:
    """Give images of a shape with correlations, always the same."""
    rng = np.random.default_rng(3)
    base = rng.integers(0, 200, (40, 1, *shape[1:]))
    images = (base + rng.integers(0, 56, (40, *shape))).astype(np.uint8)
    part = LabelledImages(images, np.arange(40) % num_classes)
    return TrainingData(part, part, num_classes, Whitening.measure(kind, images))


def largest_difference(one: Tensor, other: Tensor) -> float:
    """Give the largest difference, relative where the values are large."""
    assert one.shape == other.shape
    return ((one - other).abs().max() / other.abs().max().clamp_min(1)).item()


UNCHANGED = AugmentationSettings(crop="none")


@dataclass(frozen=True)
class Convolutional:
    architecture: ConvolutionalArchitecture
    shape: tuple[int, int, int] = (1, 8, 8)
    settings: NetworkSettings = NetworkSettings()  # noqa: RUF009 (it is frozen)
    whitening: str = "channel"
    augmentation: AugmentationSettings = UNCHANGED

    def made(self):
        data = random_images(self.shape, self.whitening)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = ConvolutionalNetwork(
                self.architecture, data.shape, data.num_classes, self.settings
            )
        plan = NetworkPlan.of(self.architecture, data.shape, data.num_classes, self.settings)
        preparation = Preparation.of(data, self.augmentation)
        source = convolutional_source(plan, self.settings, preparation)
        device = torch.device("cpu")
        augmentation = Augmentation(self.augmentation, data.whitening, data.shape, device)
        stored = torch.from_numpy(data.train.images[:6])
        network = scrambled(network)
        with torch.no_grad():
            expected = network(augmentation.evaluation(stored))
        return source, network, preparation.buffers, {"stored": stored}, expected


@dataclass(frozen=True)
class Recurrent:
    architecture: Any
    num_layers: int = 2
    embedding_size: int | None = 4
    is_tied: bool = False

    def made(self):
        settings = LanguageModelSettings(
            num_layers=self.num_layers, num_parameters=None, hidden_size=5,
            embedding_size=self.embedding_size, is_tied=self.is_tied,
        )  # fmt: skip
        size = ModelSize.of(settings, 7, self.architecture.base)
        model = LanguageModel(self.architecture, size, settings)
        fill(model, 1)
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(0.5)  # so that a rounding does not grow from step to step
        tokens = torch.tensor([[0, 3, 6], [5, 1, 2], [4, 4, 0], [2, 6, 1]])
        states = [(torch.rand(3, 5) - 0.5, torch.rand(3, 5) - 0.5) for _ in range(self.num_layers)]
        with torch.no_grad():
            expected = model.eval()(tokens, states)
        return (
            cell_source(self.architecture, size),
            model,
            {},
            {"tokens": tokens, "states": states},
            expected,
        )


def chain(*operations):
    inputs = [(), *((n,) for n in range(1, len(operations)))]
    return ConvolutionalArchitecture(tuple(map(Layer, operations, inputs)))


EVERY_TYPE = chain(
    Convolution(2, 3, 4, 2, 1), ContrastNorm(), Pooling("average_pooling", 2, 2),
    BatchNorm(), Pooling("max_pooling", 2, 3, 1, 2), Pooling("average_pooling", 3, 3, 2, 2),
    Pooling("max_pooling", 3, 3), Convolution(4, 4, 3),
)  # fmt: skip
SIZES = ConvolutionalArchitecture(
    (
        Layer(Convolution(3, 3, 4, 2, 2)),
        Layer(Convolution(3, 5, 4, 1, 3), (0, 1)),
        Layer(Convolution(1, 2, 3), (0, 1, 2)),
        Layer(BatchNorm(), (2,)),
    ),
    pooled_after=(1, 3),
    also_classified=(1, 2),
)
