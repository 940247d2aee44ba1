from __future__ import annotations

from typing import get_args

import pytest
import torch

from child.recurrent.node import Activation, Combination
from child.recurrent.operations import activate, combine

ONE, OTHER = torch.tensor([-2.0, 0.5, 3.0]), torch.tensor([4.0, 0.5, -1.0])


@pytest.mark.parametrize(
    ("combination", "expected"),
    [("add", [2.0, 1.0, 2.0]), ("elem_mult", [-8.0, 0.25, -3.0]), ("max", [4.0, 0.5, 3.0])],
)
def test_combination_is_element_by_element(combination, expected):
    assert combine(combination, ONE, OTHER).tolist() == expected


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("identity", [-2.0, 0.5, 3.0]),
        ("tanh", [-0.96402758, 0.46211716, 0.99505475]),
        ("sigmoid", [0.11920292, 0.62245933, 0.95257413]),
        ("relu", [0.0, 0.5, 3.0]),
        ("sin", [-0.90929743, 0.47942554, 0.14112001]),
    ],
)
def test_activation_is_element_by_element(activation, expected):
    torch.testing.assert_close(activate(activation, ONE), torch.tensor(expected))


def test_every_name_can_be_computed():
    for combination in get_args(Combination):
        for activation in get_args(Activation):
            value = activate(activation, combine(combination, ONE, OTHER))
            assert value.shape == ONE.shape, (combination, activation)
