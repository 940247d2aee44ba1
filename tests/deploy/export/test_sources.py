"""What is exported, run where torch alone can be imported, against the networks it was made of."""

from __future__ import annotations

import subprocess
import sys

import pytest
import safetensors.torch
import torch
from support.cells import FIGURE_5, random_cell
from support.exports import (
    EVERY_TYPE,
    SIZES,
    Convolutional,
    Recurrent,
    asked_alone,
    chain,
    largest_difference,
    random_network,
)

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import BatchNorm, Convolution, Layer, Pooling
from child.convolutional.network_settings import NetworkSettings
from child.convolutional.space_settings import ConvolutionalSettings
from child.images.augmentation import AugmentationSettings
from child.zoo import FIGURE_7, NAS_CELL
from deploy.export.exported import translated

TYPES = ("convolution", "max_pooling", "average_pooling", "batch_norm", "contrast_norm")
SPACES = {
    "strides": ConvolutionalSettings(
        filter_heights=(1, 2, 3, 4, 5), filter_widths=(1, 2, 3, 7), num_filters=(3, 5),
        stride_heights=(1, 2, 3), stride_widths=(1, 2, 3),
    ),
    "types": ConvolutionalSettings(
        filter_heights=(1, 2, 3), filter_widths=(3,), num_filters=(3,), layer_types=TYPES,
        stride_heights=(1, 2), pool_sizes=(2, 3), pool_strides=(1, 2),
    ),
    "blocks": ConvolutionalSettings(
        filter_heights=(1, 3), filter_widths=(3,), num_filters=(2, 4), block_size=3,
        pooled_after=(2, 5),
    ),
    "chain": ConvolutionalSettings(skip_connections=False, num_filters=(8, 16), is_chained=False),
}  # fmt: skip


ORDERS = ("convolution-norm-relu", "convolution-relu-norm", "norm-relu-convolution")

CASES = {
    "figure 7": Convolutional(FIGURE_7, (3, 32, 32)),
    "every type": Convolutional(EVERY_TYPE, (3, 9, 7)),
    "sizes": Convolutional(SIZES, (2, 11, 8)),
    **{
        f"{order} {features}": Convolutional(
            SIZES, (2, 11, 8), NetworkSettings(order=order, features=features, norm_epsilon=0.01)
        )
        for order in ORDERS
        for features in ("average", "flatten")
    },
    **{
        f"{name} {seed}": Convolutional(random_network(space, 4, seed), (3, 9, 7))
        for name, space in SPACES.items()
        for seed in range(5)
    },
    **{
        f"{kind} {crop} {shape}": Convolutional(
            chain(Convolution(3, 3, 6), Convolution(2, 3, 6)), shape, whitening=kind,
            augmentation=AugmentationSettings(crop=crop, margin=2),
        )
        for kind in ("none", "channel", "zca")
        for crop in ("upsample", "pad")
        for shape in ((1, 6, 4), (3, 4, 6))
    },
    "nas cell": Recurrent(NAS_CELL),
    "tied": Recurrent(FIGURE_5, embedding_size=None, is_tied=True),
    "one leaf": Recurrent(random_cell(3, 1), num_layers=1),
    "many leaves": Recurrent(random_cell(4, 24), num_layers=1),
    **{f"cell {n}": Recurrent(random_cell(n, 2 + n % 7), 1 + n % 2) for n in range(10)},
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Every case as an exported model: what it says alone, what is expected, and its text."""
    folder = tmp_path_factory.mktemp("models")
    expected, texts = {}, {}
    for name, case in CASES.items():
        source, network, buffers, inputs, expected[name] = case.made()
        texts[name] = source.module(f"The case {name}.\n")
        namespace = {"__name__": "model"}
        exec(texts[name], namespace)
        own = folder / name
        own.mkdir()
        (own / "model.py").write_text(texts[name])
        state = translated(network, namespace[source.name](), buffers)
        safetensors.torch.save_file(state, own / "model.safetensors")
        torch.save(inputs, own / "inputs.pt")
    return asked_alone(folder), expected, texts


@pytest.mark.parametrize(
    "name", [n for n, case in CASES.items() if isinstance(case, Convolutional)]
)
def test_network_gives_the_same_logits_with_torch_alone(made, name):
    answers, expected, _ = made
    assert largest_difference(answers[name], expected[name]) <= 1e-6


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if isinstance(case, Recurrent)])
def test_language_model_gives_the_same_logits_and_states_with_torch_alone(made, name):
    (logits, states), (expected_logits, expected_states) = made[0][name], made[1][name]
    assert largest_difference(logits, expected_logits) <= 1e-6
    for state, expected_state in zip(states, expected_states, strict=True):
        for one, other in zip(state, expected_state, strict=True):
            assert largest_difference(one, other) <= 1e-6


def test_text_is_as_our_own_has_to_be(made, tmp_path):
    for name, text in made[2].items():
        (tmp_path / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length=100"]
    command += ["--select=B,C4,E,F,I,PIE,RET,SIM,UP,W", "--target-version=py311", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_text_has_no_part_that_is_not_called(made):
    for text in made[2].values():
        for part in ("average_pool", "contrast_norm", "read_safetensors"):
            assert text.count(f"{part}(") != 1, part


@pytest.mark.parametrize(
    "name", [n for n, case in CASES.items() if isinstance(case, Convolutional)]
)
def test_network_says_something_else_of_each_image(made, name):
    # Of one whose units are all dead nothing would be seen above.
    assert made[0][name].std(dim=0).max() > 1e-2


def test_tied_model_has_one_matrix_that_embeds_and_predicts(made):
    namespace = {"__name__": "model"}
    exec(made[2]["tied"], namespace)
    model = namespace["LanguageModel"]()
    assert model.softmax.weight is model.embedding.weight


def test_networks_of_different_layers_say_different_things(made):
    # A network that says the same whatever it is would be equal to itself, too.
    said = {name: answer for name, answer in made[0].items() if name.startswith("types")}
    for one in said:
        for other in said:
            assert one == other or largest_difference(said[one], said[other]) > 1e-3


SKIPS = ConvolutionalArchitecture(
    (
        Layer(Convolution(5, 5, 8)),
        Layer(Convolution(3, 4, 8, 2, 1), (1,)),
        Layer(Pooling("average_pooling", 3, 3), (0, 2)),
        Layer(BatchNorm(), (3,)),
    ),
    pooled_after=(2,),
    also_classified=(2,),
)


def test_network_reads_as_it_computes():
    source, *_ = Convolutional(SKIPS).made()
    init, forward = source.classes[0].partition("    def prepare")[0].split("    def ")[1:]
    assert [line.strip() for line in init.strip().splitlines()[2:]] == [
        "self.conv1 = nn.Conv2d(1, 8, 5, padding=2, bias=False)",
        "self.norm1 = nn.BatchNorm2d(8)",
        "self.conv2 = nn.Conv2d(8, 8, (3, 4), stride=(2, 1), bias=False)",
        "self.norm2 = nn.BatchNorm2d(8)",
        "self.norm4 = nn.BatchNorm2d(9)",
        "self.classifier = nn.Linear(17, 4)",
    ]
    assert [line.strip() for line in forward.strip().splitlines()[2:]] == [
        "x1 = F.relu(self.norm1(self.conv1(images)))",
        "x2 = F.relu(self.norm2(self.conv2(F.pad(x1, (1, 2, 0, 1)))))  # 4 x 8 pixels",
        "# Every map that goes on is halved.",
        "images = F.max_pool2d(images, 2, ceil_mode=True)",
        "x2 = F.max_pool2d(x2, 2, ceil_mode=True)",
        "inputs = [images, F.pad(x2, (0, 0, 1, 1))]",
        "# 4 x 4 pixels",
        "x3 = F.avg_pool2d(torch.cat(inputs, 1), 3, 1, padding=1, count_include_pad=False)",
        "x4 = self.norm4(x3)",
        "x = torch.cat([F.pad(x2, (0, 0, 1, 1)), x4], 1)",
        "return self.classifier(x.mean((2, 3)))",
    ]
