"""Each optimizer: the published formula, torch's bits however a slice is cut, its state."""

import itertools
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ps.optimizer import (
    AdagradSettings,
    AdamSettings,
    OptimizerSettings,
    RmspropSettings,
    SgdSettings,
    SliceOptimizer,
)

NUM_STEPS = 20
BLOCK = 64  # a multiple of the elements that any processor's loops take at a time

ADAM = [
    AdamSettings(learning_rate=0.1),
    AdamSettings(learning_rate=0.1, beta1=0, beta2=0.5),
    AdamSettings(learning_rate=0.1, beta1=0.5, beta2=0),
    AdamSettings(learning_rate=0.1, epsilon=0.3),
]
SGD = [
    SgdSettings(learning_rate=0.1),
    SgdSettings(learning_rate=0.1, momentum=0),
    SgdSettings(learning_rate=0.1, momentum=0.5, nesterov=True),
    SgdSettings(learning_rate=0.03, nesterov=True),
]
ADAGRAD = [
    AdagradSettings(learning_rate=0.1),
    AdagradSettings(learning_rate=0.1, initial_accumulator=0.7),
    AdagradSettings(learning_rate=0.1, epsilon=0.3),
]
RMSPROP = [
    RmspropSettings(learning_rate=0.1),
    RmspropSettings(learning_rate=0.1, momentum=0.9),
    RmspropSettings(learning_rate=0.1, decay=0.5, momentum=0.3),
    RmspropSettings(learning_rate=0.1, decay=0.9, epsilon=0.3),
]
ALL = [*ADAM, *SGD, *ADAGRAD, *RMSPROP]


def name_of(settings):
    """The settings that are not the default, for the name of a test."""
    changed = settings.model_dump(exclude_defaults=True, exclude={"name", "learning_rate"})
    return "-".join([settings.name, *(f"{key}={value}" for key, value in changed.items())])


every_optimizer = pytest.mark.parametrize("settings", ALL, ids=name_of)


def vectors(num_parameters, num_steps=NUM_STEPS, seed=0):
    """First values (P,) and gradients (steps, P), float32, of sizes that change from step to step.

    Some gradients are zero, of either sign.
    """
    generator = np.random.default_rng(seed)
    values = generator.normal(size=num_parameters)
    gradients = generator.normal(size=(num_steps, num_parameters))
    gradients *= 2.0 ** generator.integers(-4, 4, size=(num_steps, 1))
    gradients[generator.random(gradients.shape) < 0.1] *= 0.0
    return values.astype(np.float32), gradients.astype(np.float32)


def received(gradient, offset=1):
    """The gradient as it comes out of a message: read-only, somewhere in its memory."""
    memory = bytes(offset) + gradient.tobytes()
    return np.frombuffer(memory, np.float32, len(gradient), offset)


def optimizer_of(settings, values):
    optimizer = SliceOptimizer(settings, len(values))
    optimizer.values[:] = values
    return optimizer


def bits_of(optimizer):
    return {name: array.tobytes() for name, array in optimizer.state().items()}


def adam(values, gradients, s):
    """Kingma & Ba 2015, algorithm 1."""
    m = v = np.zeros_like(values)
    for t, gradient in enumerate(gradients, start=1):
        m = s.beta1 * m + (1 - s.beta1) * gradient
        v = s.beta2 * v + (1 - s.beta2) * gradient**2
        m_hat, v_hat = m / (1 - s.beta1**t), v / (1 - s.beta2**t)
        values = values - s.learning_rate * m_hat / (np.sqrt(v_hat) + s.epsilon)
        yield values


def sgd(values, gradients, s):
    """The documentation of torch.optim.SGD, without dampening; Sutskever et al. 2013 otherwise."""
    velocity = np.zeros_like(values)
    for gradient in gradients:
        velocity = s.momentum * velocity + gradient
        ahead = gradient + s.momentum * velocity if s.nesterov else velocity
        values = values - s.learning_rate * ahead
        yield values


def adagrad(values, gradients, s):
    """Duchi, Hazan & Singer 2011, figure 1, with diagonal matrices."""
    squares = np.full_like(values, s.initial_accumulator)
    for gradient in gradients:
        squares = squares + gradient**2
        values = values - s.learning_rate * gradient / (np.sqrt(squares) + s.epsilon)
        yield values


def rmsprop(values, gradients, s):
    """Tieleman & Hinton 2012, slide 29; momentum as the documentation of torch.optim.RMSprop."""
    squares = buffer = np.zeros_like(values)
    for gradient in gradients:
        squares = s.decay * squares + (1 - s.decay) * gradient**2
        buffer = s.momentum * buffer + gradient / (np.sqrt(squares) + s.epsilon)
        values = values - s.learning_rate * buffer
        yield values


@pytest.mark.parametrize(
    ("published", "settings"),
    [(adam, s) for s in ADAM]
    + [(sgd, s) for s in SGD]
    + [(adagrad, s) for s in ADAGRAD]
    + [(rmsprop, s) for s in RMSPROP],
    ids=[name_of(s) for s in ALL],
)
def test_steps_are_those_that_were_published(published, settings):
    values, gradients = vectors(83)
    optimizer = optimizer_of(settings, values)
    trajectory = published(values.astype(np.float64), gradients.astype(np.float64), settings)

    for step, (gradient, expected) in enumerate(zip(gradients, trajectory, strict=True), start=1):
        optimizer.step(received(gradient))
        np.testing.assert_allclose(
            optimizer.values, expected, rtol=1e-5, atol=1e-5, err_msg=f"after step {step}"
        )


def torch_optimizer(parameter, s):
    """The class of torch that the settings name."""
    common: dict[str, Any] = {"params": [parameter], "lr": s.learning_rate}
    match s:
        case AdamSettings():
            betas = (s.beta1, s.beta2)
            return torch.optim.Adam(**common, betas=betas, eps=s.epsilon, fused=True)
        case SgdSettings():
            return torch.optim.SGD(**common, momentum=s.momentum, nesterov=s.nesterov, fused=True)
        case AdagradSettings():
            initial = s.initial_accumulator
            return torch.optim.Adagrad(
                **common, eps=s.epsilon, initial_accumulator_value=initial, fused=True
            )
    return torch.optim.RMSprop(
        **common, alpha=s.decay, momentum=s.momentum, eps=s.epsilon, foreach=False
    )


def stepped_by_torch(settings, values, gradients):
    """Values after each gradient, by torch's class on one tensor that fills whole blocks."""
    length = len(values)
    parameter = torch.zeros(math.ceil(length / BLOCK) * BLOCK, requires_grad=True)
    parameter.grad = torch.zeros_like(parameter)
    parameter.data[:length] = torch.from_numpy(values)
    optimizer = torch_optimizer(parameter, settings)
    for gradient in gradients:
        parameter.grad[:length] = torch.from_numpy(gradient)
        optimizer.step()
        yield parameter.detach().numpy()[:length].copy()


@pytest.mark.parametrize("num_parameters", [1, 15, 16, 31, 32, 33, 64, 83, 1000])
@every_optimizer
def test_steps_are_to_the_bit_those_of_torchs_class(settings, num_parameters):
    values, gradients = vectors(num_parameters)
    optimizer = optimizer_of(settings, values)

    trajectory = stepped_by_torch(settings, values, gradients)
    for step, (gradient, expected) in enumerate(zip(gradients, trajectory, strict=True), start=1):
        optimizer.step(received(gradient))
        assert optimizer.values.tobytes() == expected.tobytes(), f"after step {step}"


@every_optimizer
def test_negative_zeros_are_to_the_bit_those_of_torchs_class(settings):
    values = np.array([0.0, -0.0, 0.0, -0.0] * 20, np.float32)
    gradients = np.array([[0.0, 0.0, -0.0, -0.0] * 20] * 3, np.float32)
    optimizer = optimizer_of(settings, values)

    for gradient, expected in zip(
        gradients, stepped_by_torch(settings, values, gradients), strict=True
    ):
        optimizer.step(received(gradient))
        assert optimizer.values.tobytes() == expected.tobytes()


@every_optimizer
def test_bits_do_not_depend_on_where_the_vector_is_cut(settings):
    length = 100
    values, gradients = vectors(length, num_steps=4)
    whole = optimizer_of(settings, values)
    for gradient in gradients:
        whole.step(gradient)
    expected = whole.state()

    for cut in range(1, length):
        parts = [optimizer_of(settings, part) for part in (values[:cut], values[cut:])]
        for gradient in gradients:
            for part, piece in zip(parts, (gradient[:cut], gradient[cut:]), strict=True):
                part.step(received(piece))
        for name in whole.vector_names:
            joined = np.concatenate([part.state()[name] for part in parts])
            assert joined.tobytes() == expected[name].tobytes(), f"{name}, cut at {cut}"


@hypothesis_settings(deadline=None)
@given(
    settings=st.sampled_from(ALL),
    length=st.integers(1, 400),
    num_shards=st.integers(1, 9),
    offset=st.integers(0, 70),
    seed=st.integers(0, 1000),
)
def test_bits_do_not_depend_on_number_of_shards(settings, length, num_shards, offset, seed):
    values, gradients = vectors(length, num_steps=3, seed=seed)
    whole = optimizer_of(settings, values)
    shards = [optimizer_of(settings, v) for v in np.array_split(values, min(num_shards, length))]

    for gradient in gradients:
        whole.step(gradient)
        for shard, piece in zip(shards, np.array_split(gradient, len(shards)), strict=True):
            shard.step(received(piece, offset))

    assert np.concatenate([shard.values for shard in shards]).tobytes() == whole.values.tobytes()


@pytest.mark.parametrize("num_parameters", [1, 7, 32, 83, 1000])
@every_optimizer
def test_bits_do_not_depend_on_alignment_of_the_gradient(settings, num_parameters):
    values, gradients = vectors(num_parameters, num_steps=3)
    aligned = optimizer_of(settings, values)
    for gradient in gradients:
        aligned.step(gradient)

    for offset in (*range(1, 9), 16, 31, 32, 48, 63):
        optimizer = optimizer_of(settings, values)
        for gradient in gradients:
            optimizer.step(received(gradient, offset))
        assert bits_of(optimizer) == bits_of(aligned), f"{offset} bytes off"


@pytest.mark.parametrize("num_parameters", [300_000, 300_017])
@every_optimizer
def test_bits_do_not_depend_on_number_of_threads(settings, num_parameters):
    values, gradients = vectors(num_parameters, num_steps=2)
    found = set()

    for num_threads in (3, 2, 1):
        torch.set_num_threads(num_threads)
        optimizer = optimizer_of(settings, values)
        for gradient in gradients:
            optimizer.step(received(gradient))
        found.add(optimizer.values.tobytes())

    assert len(found) == 1


@every_optimizer
def test_load_continues_to_the_bit_after_any_step(settings):
    values, gradients = vectors(83)
    optimizer = optimizer_of(settings, values)
    states = [optimizer.state()]
    for gradient in gradients:
        optimizer.step(gradient)
        states.append(optimizer.state())

    for step, state in enumerate(states):
        again = optimizer_of(settings, -values)
        again.step(gradients[0])  # whose traces must go
        again.load(state)
        for gradient in gradients[step:]:
            again.step(gradient)
        assert bits_of(again) == bits_of(optimizer), f"after step {step}"


@every_optimizer
def test_state_and_load_copy(settings):
    values, gradients = vectors(83)
    optimizer = optimizer_of(settings, values)
    optimizer.step(gradients[0])
    state, before = optimizer.state(), bits_of(optimizer)

    for array in state.values():
        array.fill(7)
    assert bits_of(optimizer) == before, "through a state that was given"

    optimizer.load(state)
    loaded = bits_of(optimizer)
    for array in state.values():
        array.fill(8)
    assert bits_of(optimizer) == loaded, "through a state that was taken"


@every_optimizer
def test_state_holds_vectors_of_a_parameter_each_and_one_number(settings):
    optimizer = SliceOptimizer(settings, 83)
    state = optimizer.state()

    assert {state[name].shape for name in optimizer.vector_names} == {(83,)}
    assert {array.dtype for array in state.values()} == {np.dtype(np.float32)}
    assert optimizer.vector_names[0] == "values"
    rest = {name: state[name].shape for name in state.keys() - set(optimizer.vector_names)}
    assert rest == {"step": (1,)}


@every_optimizer
def test_gradient_is_neither_changed_nor_kept(settings):
    values, gradients = vectors(83)
    optimizer = optimizer_of(settings, values)
    gradient = gradients[0].copy()

    optimizer.step(gradient)
    assert gradient.tobytes() == gradients[0].tobytes()

    after = bits_of(optimizer)
    gradient.fill(np.nan)
    assert bits_of(optimizer) == after
    again = optimizer_of(settings, values)
    again.step(gradients[0])
    for other in (optimizer, again):
        other.step(gradients[1])
    assert bits_of(optimizer) == bits_of(again)


@every_optimizer
def test_step_copies_no_more_of_the_gradient_than_its_last_elements(settings):
    values, gradients = vectors(100_003, num_steps=1)
    gradient = received(gradients[0])
    optimizer = optimizer_of(settings, values)
    optimizer.step(gradient)

    tracemalloc.start()  # numpy tells it of every array
    try:
        optimizer.step(gradient)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 0 < peak < gradient.nbytes / 10


def test_values_are_a_view_that_follows_the_steps():
    optimizer = SliceOptimizer(SgdSettings(learning_rate=1, momentum=0), 33)
    values = optimizer.values

    optimizer.step(np.arange(33, dtype=np.float32))

    assert values.tolist() == (-np.arange(33)).tolist()
    values[32] = 7
    assert optimizer.state()["values"][32] == 7


@pytest.mark.parametrize(
    "gradient",
    [
        np.zeros(32, np.float32),
        np.zeros(65, np.float32),
        np.zeros((64, 1), np.float32),
        np.zeros(64),
        np.zeros(64, ">f4"),
        np.zeros(128, np.float32)[::2],
    ],
    ids=["short", "long", "matrix", "float64", "of the other byte order", "with gaps"],
)
@pytest.mark.parametrize("settings", [ADAM[0], SGD[0], ADAGRAD[0], RMSPROP[0]], ids=name_of)
def test_gradient_that_the_kernels_would_misread_is_refused(settings, gradient):
    optimizer = SliceOptimizer(settings, 64)
    before = bits_of(optimizer)

    with pytest.raises(ValueError, match=r"must be float32 of shape \(64,\), contiguous"):
        optimizer.step(gradient)

    assert bits_of(optimizer) == before


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"exp_avg": None}, r"state\['exp_avg'\] is absent: must be float32 of shape \(83,\)"),
        ({"step": None}, r"state\['step'\] is absent: must be float32 of shape \(1,\)"),
        ({"sum": np.zeros(83, np.float32)}, r"state\['sum'\] is .* \(83,\): must be absent"),
        ({"values": np.zeros(82, np.float32)}, r"state\['values'\] is float32 of shape \(82,\)"),
        ({"values": np.zeros(1, np.float32)}, r"state\['values'\] is float32 of shape \(1,\)"),
        ({"exp_avg_sq": np.zeros(83)}, r"state\['exp_avg_sq'\] is float64 .*: must be float32"),
        ({"step": np.zeros((), np.float32)}, r"state\['step'\] is float32 of shape \(\)"),
    ],
    ids=["no moment", "no step", "unknown", "short", "of one", "float64", "step without shape"],
)
def test_wrong_state_is_refused_by_name_and_changes_nothing(change, complaint):
    values, gradients = vectors(83)
    optimizer = optimizer_of(AdamSettings(), values)
    optimizer.step(gradients[0])
    before = bits_of(optimizer)
    changed = {name: array + 1 for name, array in optimizer.state().items()} | change
    wrong = {name: array for name, array in changed.items() if array is not None}

    with pytest.raises(ValueError, match=complaint):
        optimizer.load(wrong)

    assert bits_of(optimizer) == before


@pytest.mark.parametrize(
    ("one", "other"),
    list(itertools.permutations([ADAM[0], SGD[0], SGD[1], ADAGRAD[0], RMSPROP[0], RMSPROP[1]], 2)),
    ids=name_of,
)
def test_state_of_another_optimizer_is_refused(one, other):
    with pytest.raises(ValueError, match="is it of another optimizer"):
        SliceOptimizer(one, 83).load(SliceOptimizer(other, 83).state())


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    optimizer: OptimizerSettings = AdamSettings()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, AdamSettings()),
        ({"optimizer": {}}, AdamSettings()),
        ({"optimizer": {"learning_rate": 0.1}}, AdamSettings(learning_rate=0.1)),
        ({"optimizer": {"name": "adam", "beta1": 0.5}}, AdamSettings(beta1=0.5)),
        ({"optimizer": {"name": "sgd", "nesterov": True}}, SgdSettings(nesterov=True)),
        ({"optimizer": {"name": "adagrad"}}, AdagradSettings()),
        ({"optimizer": {"name": "rmsprop", "decay": 0.5}}, RmspropSettings(decay=0.5)),
        ({"optimizer": SgdSettings()}, SgdSettings()),
    ],
    ids=str,
)
def test_settings_are_adams_unless_they_name_another(given, expected):
    settings = Outer.model_validate(given)

    assert settings.optimizer == expected
    assert Outer.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"name": "lion"}, "'lion'.*'adam', 'sgd', 'adagrad', 'rmsprop'"),
        ({"name": None}, "union_tag"),
        ({"momentum": 0.9}, "momentum\n.*not permitted"),
        ({"name": "sgd", "beta1": 0.9}, "beta1\n.*not permitted"),
        ({"learning_rate": 0}, "learning_rate\n.*greater than 0"),
        ({"learning_rate": math.inf}, "learning_rate\n.*finite"),
        ({"learning_rate": "0.1"}, "learning_rate\n.*valid number"),
        ({"beta1": 1}, "beta1\n.*less than 1"),
        ({"beta2": 1}, "beta2\n.*less than 1"),
        ({"epsilon": 0}, "epsilon\n.*greater than or equal to 0.0+1"),
        ({"name": "sgd", "momentum": 1}, "momentum\n.*less than 1"),
        ({"name": "sgd", "momentum": -0.1}, "momentum\n.*greater than or equal to 0"),
        ({"name": "sgd", "momentum": 0, "nesterov": True}, "nesterov=True.*momentum must be"),
        ({"name": "adagrad", "initial_accumulator": -1}, "initial_accumulator\n.*equal to 0"),
        ({"name": "rmsprop", "decay": 1}, "decay\n.*less than 1"),
        ({"name": "rmsprop", "momentum": 1}, "momentum\n.*less than 1"),
        ([], "dictionary"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(given, complaint):
    with pytest.raises(ValidationError, match=complaint):
        TypeAdapter(OptimizerSettings).validate_python(given)


def test_default_learning_rate_is_the_papers():
    assert AdamSettings().learning_rate == 0.0006
