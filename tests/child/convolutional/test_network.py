from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support import convolutions
from support.spaces import all_lists
from torch import nn

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import BatchNorm, ContrastNorm, Convolution, Layer, Pooling
from child.convolutional.network import ConvolutionalNetwork
from child.convolutional.network_settings import NetworkSettings
from child.convolutional.plan import NetworkPlan
from child.convolutional.space import ConvolutionalSpace
from child.convolutional.space_settings import ConvolutionalSettings
from child.data.images import ImageShape

TYPES = ("convolution", "max_pooling", "average_pooling", "batch_norm", "contrast_norm")
SMALL_SPACES = {
    "skips and strides": ConvolutionalSettings(
        filter_heights=(1, 3), filter_widths=(2,), num_filters=(3,), stride_heights=(1, 2)
    ),
    "types": ConvolutionalSettings(
        filter_heights=(3,), filter_widths=(3,), num_filters=(2,), layer_types=TYPES
    ),
    "blocks": ConvolutionalSettings(
        filter_heights=(1, 3), filter_widths=(3,), num_filters=(2,), block_size=3, pooled_after=(2,)
    ),
}
ORDERS = ("convolution-norm-relu", "convolution-relu-norm", "norm-relu-convolution")


@pytest.fixture(autouse=True)
def _same_weights_each_time():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def chain(*operations):
    inputs = [(), *((n,) for n in range(1, len(operations)))]
    return ConvolutionalArchitecture(tuple(map(Layer, operations, inputs)))


def images(num_images, shape=(1, 8, 8)):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num_images, *shape, generator=generator)


def build(architecture, shape=(1, 8, 8), num_classes=10, **settings):
    return ConvolutionalNetwork(
        architecture, ImageShape(*shape), num_classes, NetworkSettings(**settings)
    )


def assert_agrees_with_the_pixels(architecture, shape, num_images=3):
    network = build(architecture, shape, num_classes=5).double()
    x = images(num_images, shape).double()

    expected = convolutions.forward(network, architecture, x.numpy())

    np.testing.assert_allclose(network(x).detach().numpy(), expected, atol=1e-9)


def assert_plan_agrees(network, architecture, shape, num_classes, network_settings):
    """Compare what was said before the network was built with what it has and does."""
    plan = NetworkPlan.of(architecture, ImageShape(*shape), num_classes, network_settings)
    multiply_adds = []

    def count(module, inputs, output):
        pixels = output[0, 0].numel() if output.ndim == 4 else 1
        multiply_adds.append(pixels * module.weight.numel())

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    network(images(2, shape))
    assert plan.num_parameters == sum(p.numel() for p in network.parameters())
    assert plan.num_weights == sum(p.numel() for p in network.parameters() if p.ndim > 1)
    assert plan.multiply_adds == sum(multiply_adds)


# --- What the network computes.


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 9), (2, 2, 1)], ids=str)
@pytest.mark.parametrize(
    "architecture",
    [
        chain(Convolution(3, 3, 4)),
        chain(Convolution(7, 1, 3), Convolution(3, 5, 2)),
        chain(Convolution(2, 4, 3), Convolution(3, 3, 2, 2, 1), Convolution(5, 1, 2, 3, 3)),
        chain(Pooling("max_pooling", 3, 2, 2, 1), Convolution(1, 1, 4)),
        chain(Convolution(1, 1, 4), Pooling("average_pooling", 2, 3, 1, 2)),
        chain(Convolution(3, 3, 4), BatchNorm(), Convolution(1, 1, 3)),
    ],
    ids=str,
)
def test_logits_of_a_chain_are_those_computed_pixel_by_pixel(architecture, shape):
    assert_agrees_with_the_pixels(architecture, shape)


def test_logits_with_contrast_norm_are_those_computed_pixel_by_pixel():
    architecture = chain(Convolution(3, 3, 4), ContrastNorm(), Convolution(1, 1, 3))

    assert_agrees_with_the_pixels(architecture, (2, 7, 12))


def test_logits_with_skips_strides_and_pooling_are_those_computed_pixel_by_pixel():
    architecture = ConvolutionalArchitecture(
        (
            Layer(Convolution(3, 3, 2, 2, 3)),  # its map is padded wherever it goes
            Layer(Convolution(3, 3, 3)),  # takes the image, and goes to the classifier
            Layer(Convolution(1, 3, 4), (1,)),
            Layer(Convolution(5, 3, 2), (1, 3)),
            Layer(Pooling("max_pooling", 2, 2, 2, 2), (3, 4)),
            Layer(Convolution(3, 3, 3)),
            Layer(Convolution(1, 1, 2), (0, 1, 4, 5, 6)),
        ),
        pooled_after=(2, 5),
        also_classified=(3, 5),
    )

    assert_agrees_with_the_pixels(architecture, (3, 11, 9))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.0, 1e-4, 1.0, 300.0])
def test_contrast_norm_in_16_bits_is_that_of_32(dtype, scale):
    norm = build(chain(ContrastNorm())).layers[0]
    maps = (scale * images(3, (2, 12, 12))).to(dtype).requires_grad_()

    with torch.autocast("cpu", dtype=dtype):
        normed = norm(maps)
    normed.sum().backward()

    torch.testing.assert_close(normed, norm(maps.detach().float()))
    assert maps.grad.isfinite().all()


def test_filter_height_runs_down_the_image_and_filter_width_across():
    network = build(chain(Convolution(3, 1, 1)), (1, 7, 7))
    image = torch.zeros(1, 1, 7, 7)
    image[0, 0, 3, 3] = 1.0

    met = network.layers[0](image)[0, 0] != 0

    assert met.nonzero().tolist() == [[2, 3], [3, 3], [4, 3]]


def test_network_keeps_no_map_that_is_of_no_more_use():
    architecture = chain(*[Convolution(3, 3, 2)] * 6)
    network = build(architecture).eval()
    made, num_alive = [], []

    def watch(_, __, output):
        made.append(weakref.ref(output))
        num_alive.append(sum(map_() is not None for map_ in made))

    for layer in network.layers:
        layer.register_forward_hook(watch)
    with torch.no_grad():
        network(images(1))

    assert max(num_alive) == 2


@pytest.mark.parametrize("order", ORDERS)
def test_order_of_norm_and_relu_is_as_set(order):
    network = build(chain(Convolution(3, 3, 4)), order=order)
    x = images(6)

    def norm(y):
        mean, variance = (
            y.mean(dim=(0, 2, 3), keepdim=True),
            y.var(dim=(0, 2, 3), keepdim=True, unbiased=False),
        )
        return (y - mean) / (variance + 1e-5).sqrt()

    steps = {
        "norm": norm,
        "relu": lambda y: y.clamp(min=0),
        "convolution": lambda y: nn.functional.conv2d(
            y, next(p for p in network.parameters() if p.ndim == 4), padding=1
        ),
    }
    expected = x
    for step in order.split("-") + ["norm", "relu"] * (order == ORDERS[2]):
        expected = steps[step](expected)
    expected = network.classifier(expected.mean(dim=(2, 3)))

    torch.testing.assert_close(network(x), expected, atol=1e-5, rtol=0)


def test_classifier_sees_every_pixel_where_features_are_flattened():
    network = build(chain(Convolution(3, 3, 4, 2, 1)), (1, 7, 5), features="flatten")
    x = images(3, (1, 7, 5))

    assert network.classifier.in_features == 4 * 4 * 5
    torch.testing.assert_close(network(x), network.classifier(network.layers[0](x).flatten(1)))


def test_weights_by_he_have_their_variance_and_those_of_torch_its_own():
    wide = chain(Convolution(5, 3, 400))
    he = build(wide, (3, 8, 8)).layers[0][0].weight
    torch.manual_seed(0)
    own = build(wide, (3, 8, 8), initialization="torch").layers[0][0].weight
    torch.manual_seed(0)
    expected = nn.Conv2d(3, 400, (5, 3)).weight

    assert he.var().item() == pytest.approx(2 / (5 * 3 * 400), rel=0.05)
    assert torch.equal(own, expected)


def test_norm_epsilon_is_that_of_every_batch_norm():
    network = build(chain(Convolution(3, 3, 4), BatchNorm()), norm_epsilon=0.25)

    assert [m.eps for m in network.modules() if isinstance(m, nn.BatchNorm2d)] == [0.25, 0.25]


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"order": "relu"}, "order"),
        ({"features": "max"}, "features"),
        ({"norm_epsilon": 0}, "norm_epsilon"),
        ({"initialization": "zeros"}, "initialization"),
    ],
)
def test_settings_that_make_no_network_are_refused(given_, message):
    with pytest.raises(ValidationError, match=message):
        NetworkSettings(**given_)


def test_logits_in_evaluation_do_not_depend_on_the_rest_of_the_batch():
    network = build(chain(Convolution(3, 3, 6), ContrastNorm(), Convolution(1, 3, 4)))
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


# --- What is said before it is built, and that everything can be built.


@pytest.mark.parametrize(
    ("operations", "channels", "num_classes", "num_parameters"),
    [
        # height * width * in * out of each convolution, 2 * out of its batch norm, then the
        # classifier: in * out + out.
        ([Convolution(3, 3, 4)], 1, 10, (9 * 1 * 4 + 2 * 4) + (4 * 10 + 10)),
        ([Convolution(1, 7, 24)], 3, 10, (7 * 3 * 24 + 2 * 24) + (24 * 10 + 10)),
        (
            [Convolution(5, 3, 6), BatchNorm(), Convolution(7, 1, 2)],
            3,
            5,
            (15 * 3 * 6 + 2 * 6) + 2 * 6 + (7 * 6 * 2 + 2 * 2) + (2 * 5 + 5),
        ),
    ],
    ids=["one layer", "color", "three layers"],
)
def test_number_of_parameters_is_what_a_sheet_of_paper_says(
    operations, channels, num_classes, num_parameters
):
    network = build(chain(*operations), (channels, 8, 8), num_classes)

    assert sum(p.numel() for p in network.parameters()) == num_parameters


@pytest.mark.parametrize("name", SMALL_SPACES)
@pytest.mark.parametrize("order", ORDERS)
def test_every_network_of_a_small_space_is_as_planned_and_learns(name, order):
    space = ConvolutionalSpace(SMALL_SPACES[name])
    labels = torch.tensor([0, 9, 2, 3, 3])
    for choices in all_lists(space, depth=2):
        architecture = space.decode(choices, depth=2)
        network = build(architecture, (2, 5, 4), order=order)
        assert_plan_agrees(network, architecture, (2, 5, 4), 10, NetworkSettings(order=order))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        loss = nn.functional.cross_entropy(network(images(5, (2, 5, 4))), labels)
        loss.backward()
        gradients = [p.grad for p in network.parameters()]
        assert all(g is not None and g.isfinite().all() for g in gradients), str(architecture)
        optimizer.step()
        logits = network.eval()(images(5, (2, 5, 4)))
        assert logits.shape == (5, 10), str(architecture)
        assert logits.isfinite().all(), str(architecture)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_network_of_any_size_is_as_planned_and_classifies(data):
    space = ConvolutionalSpace(
        ConvolutionalSettings(
            filter_heights=(1, 2, 3, 7),
            filter_widths=(1, 3, 5),
            num_filters=(2, 5),
            stride_heights=(1, 2, 3),
            stride_widths=(1, 2, 3),
            layer_types=TYPES,
            pool_sizes=(2, 3, 5),
            pool_strides=(1, 2, 3),
            pooled_after=data.draw(st.sampled_from([(), (2,), (1, 4)])),
            is_chained=data.draw(st.booleans()),
        )
    )
    depth = data.draw(st.integers(1, 8))
    choices = []
    while (decision := space.next_decision(choices, depth)) is not None:
        choices.append(data.draw(st.integers(0, decision.num_choices - 1)))
    architecture = space.decode(choices, depth)
    shape = (data.draw(st.integers(1, 3)), *data.draw(st.tuples(*[st.integers(1, 17)] * 2)))
    network_settings = NetworkSettings(
        order=data.draw(st.sampled_from(ORDERS)),
        features=data.draw(st.sampled_from(["average", "flatten"])),
    )

    network = ConvolutionalNetwork(architecture, ImageShape(*shape), 4, network_settings)

    assert ConvolutionalArchitecture.from_json(architecture.to_json()) == architecture
    assert_plan_agrees(network, architecture, shape, 4, network_settings)
    assert network.eval()(images(2, shape)).shape == (2, 4)
