from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from child.convergence import Convergence

LOSSES = st.lists(st.just(0.0) | st.floats(0.01, 100), max_size=12)


@given(LOSSES, st.integers(1, 5), st.floats(0.001, 0.9))
def test_training_goes_on_as_long_as_its_lowest_loss_falls_enough(losses, patience, fraction):
    convergence = Convergence(patience=patience, min_improvement=fraction)

    lowest = [min(losses[:epoch]) for epoch in range(1, len(losses) + 1)]
    has_time = len(losses) <= patience
    falls = has_time or min(losses[-patience:]) < (1 - fraction) * lowest[-1 - patience]
    assert convergence.is_reached(losses) == (not falls)


def test_training_that_rises_has_converged():
    assert Convergence(patience=2).is_reached([1.0, 1.5, 1.2])


@pytest.mark.parametrize(
    "wrong", [{"patience": 0}, {"min_improvement": 0.0}, {"min_improvement": 1.0}]
)
def test_settings_by_which_nothing_converges_are_refused(wrong):
    with pytest.raises(ValidationError):
        Convergence(**wrong)
