from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from child.precision import Precision
from child.seeded import seeded


@contextmanager
def threads(number):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def passes():
    cpu = torch.device("cpu")
    return SimpleNamespace(
        device=cpu,
        settings=SimpleNamespace(is_deterministic=False),
        precision=Precision("float32", cpu),
    )


def gradient_near_zero():
    """Give a gradient whose value, 1e-40, is no normal float32."""
    weight = torch.ones(3, requires_grad=True)
    (weight * 1e-30).mul(1e-10).sum().backward()
    return weight.grad.view(torch.int32)


def test_child_on_one_thread_has_no_gradients_that_are_no_normal_numbers(passes):
    with threads(1), seeded(passes, 0):
        assert not gradient_near_zero().any()
    assert gradient_near_zero().all()


def test_child_on_several_threads_has_them_in_all(passes):
    with threads(2), seeded(passes, 0):
        assert gradient_near_zero().all()
