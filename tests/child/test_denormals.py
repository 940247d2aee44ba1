from __future__ import annotations

import pytest
import torch

from child.denormals import without_denormals


def is_flushed():
    """Tell whether a product that is no normal number becomes zero."""
    product = torch.full((8,), 1e-30) * 1e-10
    return not product.view(torch.int32).any()


def test_numbers_near_zero_are_zero_and_afterwards_no_longer():
    assert not is_flushed()
    with without_denormals():
        assert is_flushed()
    assert not is_flushed()


def test_they_are_themselves_again_after_an_error():
    with pytest.raises(KeyError), without_denormals():
        raise KeyError
    assert not is_flushed()


def test_who_had_them_flushed_has_them_flushed_afterwards():
    torch.set_flush_denormal(True)
    try:
        with without_denormals():
            assert is_flushed()
        assert is_flushed()
    finally:
        torch.set_flush_denormal(False)


def test_nothing_is_changed_for_several_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with without_denormals():
            assert not is_flushed()
    finally:
        torch.set_num_threads(before)


def test_gradients_are_flushed_in_the_way_back():
    weight = torch.ones(8, requires_grad=True)
    with without_denormals():
        (weight * 1e-30).mul(1e-10).sum().backward()
    assert not weight.grad.view(torch.int32).any()
