"""A store in memory: the laws, its arithmetic, and mistakes that no message could carry."""

import threading
from functools import partial

import numpy as np
import pytest

from ps.errors import InvalidRequest
from ps.layout import Layout
from ps.push import Push
from ps.store import OptimizerSettings, Store

from .conformance import (
    INITIAL,
    LAYOUT,
    OPTIMIZER,
    StoreLaws,
    gradient_of,
    push_of,
    state_of,
    values_after,
)


class StoreInMemory(Store):
    """A store that is told the layout and not its digest."""

    def initialize(self, layout, values):
        return super().initialize(layout.sha256, values)


class TestStoreInMemory(StoreLaws):
    @pytest.fixture
    def store(self):
        return StoreInMemory(LAYOUT, 0, OPTIMIZER)

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"gradient": INITIAL.astype(np.float64)}, "gradient of type float64"),
            ({"gradient": INITIAL[:0]}, r"shape \(0,\)"),
            ({"gradient": INITIAL.reshape(17, 1)}, r"shape \(17, 1\)"),
            ({"base_version": -1}, "base_version=-1: must be between 0"),
            ({"incarnation": -1}, "incarnation=-1: must be >= 1"),
        ],
        ids=["float64", "empty", "matrix", "negative base_version", "negative incarnation"],
    )
    def test_push_that_no_message_could_carry_is_refused(self, pushed, change, complaint):
        before = state_of(pushed)

        with pytest.raises(InvalidRequest, match=complaint):
            pushed.push(push_of(3, **change))

        assert state_of(pushed) == before


class CrowdedLock:
    """A lock that others take right before and right after its next user does."""

    def __init__(self, before, after):
        self._lock = threading.Lock()
        self._others = [after, before]
        self._other_is_in = False

    def __enter__(self):
        self._let_other_in()
        self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()
        self._let_other_in()

    def _let_other_in(self):
        if not self._other_is_in:
            self._other_is_in = True
            self._others.pop()()
            self._other_is_in = False


def test_pull_gives_one_version_when_pushes_come_right_before_and_after(monkeypatch):
    store = Store(LAYOUT, 0, OPTIMIZER)
    store.initialize(LAYOUT.sha256, INITIAL)

    with monkeypatch.context() as patch:
        crowded = CrowdedLock(partial(store.push, push_of(1)), partial(store.push, push_of(2)))
        patch.setattr(store, "_lock", crowded)
        version, values = store.pull()

    assert store.describe().version == 2, "the others did not push"
    assert (version, values.tobytes()) == (1, values_after(push_of(1)).tobytes())


def adam(initial, gradients, *, learning_rate, beta1, beta2, epsilon):
    """Values after each gradient, in float64: Kingma & Ba 2015, algorithm 1."""
    values, m, v = initial.astype(np.float64), 0.0, 0.0
    for step, gradient in enumerate(gradients.astype(np.float64), start=1):
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        m_hat = m / (1 - beta1**step)
        v_hat = v / (1 - beta2**step)
        values = values - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)
        yield values


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 0.1, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
        {"learning_rate": 0.1, "beta1": 0.0, "beta2": 0.5, "epsilon": 1e-8},
        {"learning_rate": 0.1, "beta1": 0.5, "beta2": 0.0, "epsilon": 1e-8},
        {"learning_rate": 0.1, "beta1": 0.9, "beta2": 0.999, "epsilon": 0.3},
    ],
    ids=["usual", "no momentum", "no memory of squares", "large epsilon"],
)
def test_pushes_are_applied_as_adam_was_published(settings):
    gradients = np.stack([gradient_of(0, s) * 2.0 ** (s % 5) for s in range(1, 21)])
    store = Store(LAYOUT, 0, OptimizerSettings(**settings))
    store.initialize(LAYOUT.sha256, INITIAL)

    for step, expected in enumerate(adam(INITIAL, gradients, **settings), start=1):
        store.push(Push(0, step, 1, step - 1, gradients[step - 1]))
        np.testing.assert_allclose(
            store.pull()[1], expected, rtol=1e-5, atol=2e-6, err_msg=f"after push {step}"
        )


def test_first_push_moves_against_the_gradient_by_the_learning_rate():
    gradient = np.where(np.arange(17) % 2, 3, -3).astype(np.float32)
    store = Store(LAYOUT, 0, OptimizerSettings(learning_rate=0.25))
    store.initialize(LAYOUT.sha256, INITIAL)

    store.push(push_of(1, gradient=gradient))

    np.testing.assert_allclose(store.pull()[1], INITIAL - 0.25 * np.sign(gradient), rtol=1e-6)


def test_default_learning_rate_is_the_papers():
    assert OptimizerSettings().learning_rate == 0.0006


@pytest.mark.parametrize(("shard", "length"), [(0, 4), (1, 3), (2, 3)])
def test_store_owns_the_slice_of_its_shard(shard, length):
    layout = Layout((("weight", (2, 5)),), num_shards=3)
    store = Store(layout, shard, OPTIMIZER)
    store.initialize(layout.sha256, INITIAL[:length])

    assert store.pull()[1].tobytes() == INITIAL[:length].tobytes()
    description = store.describe()
    assert (description.shard, description.num_shards) == (shard, 3)
    assert description.num_parameters == length
    with pytest.raises(
        InvalidRequest, match=rf"shard {shard} of 3 owns float32 of shape \({length},\)"
    ):
        store.push(push_of(1, gradient=INITIAL[: length + 1]))
