from __future__ import annotations

import pytest
import torch
from support.spaces import all_lists
from torch import nn

from child.convolutional.architecture import ConvolutionalArchitecture, ConvolutionalLayer
from child.convolutional.network import ConvolutionalNetwork
from child.convolutional.space import ConvolutionalSettings, ConvolutionalSpace

SMALL_SPACE = ConvolutionalSpace(
    ConvolutionalSettings(filter_heights=(1, 3), filter_widths=(5, 7), num_filters=(2, 3))
)


@pytest.fixture(autouse=True)
def _same_weights_each_time():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def architecture(*layers):
    return ConvolutionalArchitecture(tuple(ConvolutionalLayer(*layer) for layer in layers))


def images(num_images, num_channels=1, height=8, width=8):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num_images, num_channels, height, width, generator=generator)


@pytest.mark.parametrize(
    ("layers", "num_channels", "num_classes", "num_parameters"),
    [
        # height * width * in * out of each convolution, 2 * out of its batch norm, then the
        # classifier: in * out + out.
        ([(3, 3, 4)], 1, 10, (9 * 1 * 4 + 2 * 4) + (4 * 10 + 10)),
        ([(1, 7, 24)], 3, 10, (7 * 3 * 24 + 2 * 24) + (24 * 10 + 10)),
        (
            [(5, 3, 6), (7, 1, 2)],
            3,
            5,
            (15 * 3 * 6 + 2 * 6) + (7 * 6 * 2 + 2 * 2) + (2 * 5 + 5),
        ),
        (
            [(3, 3, 36), (7, 5, 48), (1, 1, 24)],
            3,
            10,
            (9 * 3 * 36 + 72) + (35 * 36 * 48 + 96) + (48 * 24 + 48) + (24 * 10 + 10),
        ),
    ],
    ids=["one layer", "color", "two layers", "three layers"],
)
def test_number_of_parameters_is_what_a_sheet_of_paper_says(
    layers, num_channels, num_classes, num_parameters
):
    network = ConvolutionalNetwork(architecture(*layers), num_channels, num_classes)

    assert sum(p.numel() for p in network.parameters()) == num_parameters


@pytest.mark.parametrize("choices", list(all_lists(SMALL_SPACE, depth=2)), ids=str)
def test_network_of_every_architecture_learns_through_all_its_weights(choices):
    network = ConvolutionalNetwork(SMALL_SPACE.decode(choices, depth=2), 1, 10)

    logits = network(images(5))
    nn.functional.cross_entropy(logits, torch.tensor([0, 9, 2, 3, 3])).backward()

    assert logits.shape == (5, 10)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 9), (2, 1)])
def test_layers_keep_the_size_of_the_image(height, width):
    network = ConvolutionalNetwork(architecture((7, 1, 3), (3, 5, 2)), 2, 4)

    assert network.layers(images(3, 2, height, width)).shape == (3, 2, height, width)
    assert network(images(3, 2, height, width)).shape == (3, 4)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_layer_with_an_even_filter_keeps_the_size_of_the_image():
    network = ConvolutionalNetwork(architecture((2, 4, 3)), 1, 4)

    assert network.layers(images(3)).shape == (3, 3, 8, 8)


def test_filter_height_runs_down_the_image_and_filter_width_across():
    network = ConvolutionalNetwork(architecture((3, 1, 1)), 1, 2)
    image = torch.zeros(1, 1, 7, 7)
    image[0, 0, 3, 3] = 1.0

    met = network.layers[0](image)[0, 0] != 0

    assert met.nonzero().tolist() == [[2, 3], [3, 3], [4, 3]]


def test_features_of_a_layer_are_normalized_over_the_batch_and_rectified():
    network = ConvolutionalNetwork(architecture((3, 3, 6)), 1, 2)
    x = images(64)

    convolved = nn.functional.conv2d(x, network.layers[0].weight, padding=1)
    mean = convolved.mean(dim=(0, 2, 3), keepdim=True)
    variance = convolved.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
    expected = ((convolved - mean) / (variance + 1e-5).sqrt()).clamp(min=0)

    torch.testing.assert_close(network.layers(x), expected, atol=1e-5, rtol=0)


def test_logits_are_a_linear_map_of_the_features_averaged_over_the_image():
    network = ConvolutionalNetwork(architecture((3, 3, 6), (1, 3, 4)), 1, 5).eval()
    x = images(3)

    features = network.layers(x).flatten(start_dim=2).mean(dim=2)  # (3, 4)
    expected = features @ network.classifier.weight.T + network.classifier.bias

    torch.testing.assert_close(network(x), expected)


def test_logits_in_evaluation_do_not_depend_on_the_rest_of_the_batch():
    network = ConvolutionalNetwork(architecture((3, 3, 6), (1, 3, 4)), 1, 5)
    for _ in range(3):
        network(images(32))  # moves the running statistics away from where they start
    network.eval()
    x = images(20)

    with torch.no_grad():
        together = network(x)
        alone = torch.cat([network(image.unsqueeze(0)) for image in x])
        backwards = network(x.flip(0)).flip(0)

    torch.testing.assert_close(alone, together, atol=1e-6, rtol=0)
    torch.testing.assert_close(backwards, together, atol=1e-6, rtol=0)
