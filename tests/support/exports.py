"""Networks to export, with weights that tell their layers apart."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.space import ConvolutionalSpace
from child.convolutional.space_settings import ConvolutionalSettings
from child.data.images import LabelledImages, TrainingData
from child.data.whitening import Whitening, WhiteningKind

# Asks every model.py of a folder, one folder below it for each, in a process that has torch alone.
ALONE = """
import importlib.util, sys
from pathlib import Path
import torch


class Alone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "torch"}:
            raise ImportError(f"{name} is imported")


sys.meta_path.insert(0, Alone())
for room in ("child", "deploy", "nasrl", "safetensors"):
    try:
        __import__(room)
    except ImportError:
        continue
    sys.exit(f"{room} can be imported")
torch.set_grad_enabled(False)
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
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.ndim == 1:
                is_positive = name.endswith(("running_var", "weight"))
                draw = torch.rand if is_positive else torch.randn
                value.copy_(draw(value.shape, generator=generator) + (0.5 if is_positive else 0))
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


def changed(text: str, changes: Mapping[str, str]) -> str:
    """Give a text with parts of it replaced, each of which must be there."""
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    return text
