"""Named tensors to one flat vector and back, and the slices of it."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ps.layout import Layout

# A busy machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

shapes_with_parameters = st.dictionaries(
    st.text(max_size=8), st.lists(st.integers(0, 4), max_size=3).map(tuple), max_size=6
).filter(lambda shapes: any(math.prod(shape) for shape in shapes.values()))


@st.composite
def layouts(draw):
    shapes = draw(shapes_with_parameters)
    num_parameters = sum(math.prod(shape) for shape in shapes.values())
    return Layout(tuple(shapes.items()), draw(st.integers(1, num_parameters)))


@given(layouts(), st.integers(0, 2**32))
@unhurried
def test_flatten_after_unflatten_gives_the_same_bits(layout, seed):
    flat = np.random.default_rng(seed).standard_normal(layout.num_parameters).astype(np.float32)

    tensors = layout.unflatten(flat)

    assert {name: tensor.shape for name, tensor in tensors.items()} == dict(layout.shapes)
    assert layout.flatten(tensors).tobytes() == flat.tobytes()


@given(layouts(), st.integers(0, 2**32))
@unhurried
def test_unflatten_after_flatten_gives_the_same_tensors(layout, seed):
    generator = np.random.default_rng(seed)
    tensors = {
        name: generator.standard_normal(shape).astype(np.float32)
        for name, shape in reversed(layout.shapes)  # the order of the mapping does not count
    }

    returned = layout.unflatten(layout.flatten(tensors))

    assert list(returned) == [name for name, _ in layout.shapes]
    assert {name: (tensor.shape, tensor.tobytes()) for name, tensor in returned.items()} == {
        name: (tensor.shape, tensor.tobytes()) for name, tensor in tensors.items()
    }


@given(st.integers(1, 10_000), st.data())
@unhurried
def test_slices_cover_everything_once_and_differ_by_at_most_one(num_parameters, data):
    num_shards = data.draw(st.integers(1, min(num_parameters, 300)))
    layout = Layout((("weight", (num_parameters,)),), num_shards)

    slices = layout.slices

    assert len(slices) == num_shards
    assert (slices[0].start, slices[-1].stop) == (0, num_parameters)
    assert all(before.stop == after.start for before, after in pairwise(slices))
    lengths = [owned.stop - owned.start for owned in slices]
    assert min(lengths) >= 1
    assert max(lengths) - min(lengths) <= 1


def test_flat_vector_holds_tensors_in_the_order_given_and_row_major():
    layout = Layout((("weight", (2, 3)), ("scale", ()), ("empty", (0, 2)), ("bias", (2,))), 1)
    tensors = {
        "bias": np.array([8, 9], np.float32),
        "empty": np.zeros((0, 2), np.float32),
        "weight": np.asfortranarray([[1, 2, 3], [4, 5, 6]], np.float32),
        "scale": np.array(7, np.float32),
    }

    assert layout.flatten(tensors).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_flat_vector_is_a_copy_and_unflattened_tensors_are_views():
    layout = Layout((("bias", (2,)),), 1)
    bias = np.zeros(2, np.float32)

    flat = layout.flatten({"bias": bias})
    bias.fill(1)
    assert flat.tolist() == [0, 0]

    flat.fill(2)
    assert layout.unflatten(flat)["bias"].base is flat


@pytest.mark.parametrize("num_shards", [-1, 0, 6])
def test_layout_with_a_shard_that_owns_nothing_is_refused(num_shards):
    with pytest.raises(
        ValueError, match=f"num_shards={num_shards}: must be between 1 and .*parameters, 5"
    ):
        Layout((("bias", (5,)),), num_shards)


def test_layout_without_parameters_is_refused():
    with pytest.raises(ValueError, match=r"num_shards=1: must be between 1 and .*parameters, 0"):
        Layout((("empty", (0, 7)),), 1)


def test_layout_with_a_name_that_stands_twice_is_refused():
    with pytest.raises(ValueError, match=r"\['bias', 'bias'\]: .* a name of its own"):
        Layout((("bias", (2,)), ("bias", (3,))), 1)


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        ({"bias": (3,)}, r"weight: None instead of \(2, 2\)$"),
        ({"bias": (3,), "weight": (2, 2), "extra": (1,)}, r": extra: \(1,\) instead of None$"),
        ({"bias": (3,), "weight": (4,)}, r": weight: \(4,\) instead of \(2, 2\)$"),
        ({"Bias": (3,), "weight": (2, 2)}, r"Bias: \(3,\) instead of None, bias: None instead of"),
    ],
    ids=["missing", "unknown", "other shape", "other name"],
)
def test_tensors_that_do_not_fit_are_refused(tensors, complaint):
    layout = Layout((("bias", (3,)), ("weight", (2, 2))), 1)

    with pytest.raises(ValueError, match=complaint):
        layout.flatten({name: np.zeros(shape, np.float32) for name, shape in tensors.items()})


@pytest.mark.parametrize("shape", [(6,), (8,), (7, 1), ()])
def test_flat_vector_of_another_shape_is_refused(shape):
    layout = Layout((("bias", (3,)), ("weight", (2, 2))), 1)

    with pytest.raises(ValueError, match=r"flat\.shape=\(.*\): must be \(7,\)"):
        layout.unflatten(np.zeros(shape, np.float32))


KNOWN = Layout((("weight", (2, 3)), ("bias", (6,))), 2)


@pytest.mark.parametrize(
    "other",
    [
        replace(KNOWN, shapes=(("weights", (2, 3)), ("bias", (6,)))),
        replace(KNOWN, shapes=(("weight", (3, 2)), ("bias", (6,)))),
        replace(KNOWN, shapes=(("weight", (6,)), ("bias", (2, 3)))),
        replace(KNOWN, shapes=(("bias", (6,)), ("weight", (2, 3)))),
        replace(KNOWN, shapes=(("weight", (2, 3)), ("bias", (6,)), ("empty", (0,)))),
        replace(KNOWN, shapes=(("weight", (2, 3)), ("bias", (6, 1)))),
        replace(KNOWN, num_shards=3),
    ],
    ids=["name", "shape", "shapes exchanged", "order", "empty tensor", "dimension", "num_shards"],
)
def test_digest_differs_when_anything_does(other):
    assert other.sha256 != KNOWN.sha256


@given(layouts(), layouts())
@unhurried
def test_digests_are_equal_exactly_when_layouts_are(one, other):
    assert (one.sha256 == other.sha256) == (one == other)
    assert replace(one).sha256 == one.sha256


def test_digest_is_the_same_in_every_process():
    assert KNOWN.sha256.hex() == (
        "b978b335b6b4e4714b90faaa7d4cd51f2c83b77e6c59f88091654eed4b7d8216"
    )
