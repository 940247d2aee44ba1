"""What a training function may give back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from child.custom.outcome import Outcome, OutcomeError


@pytest.mark.parametrize("number", [0.5, np.float32(0.5), torch.tensor(0.5), np.array(0.5)])
def test_a_number_is_the_reward_and_the_validation_figure(number):
    assert Outcome.of(number) == Outcome(0.5, 0.5, 0, {})


def test_figures_become_plain_numbers():
    given = Outcome(
        1, validation=np.float64(0.25), num_parameters=7, metrics={"loss": torch.tensor(2.0)}
    )

    outcome = Outcome.of(given)

    assert outcome == Outcome(1.0, 0.25, 7, {"loss": 2.0})
    assert type(outcome.metrics["loss"]) is float


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "reward=None: must be a number, or, to say more, a nasrl.Outcome"),
        ({"reward": 1}, "reward={'reward': 1}: must be a number"),
        (float("nan"), "reward=nan: must be finite"),
        (float("inf"), "reward=inf: must be finite"),
        (-0.1, "reward=-0.1: must be at least 0"),
        ("0.93", "reward='0.93': must be a number"),
        (True, "reward=True: must be a number"),
        (Outcome(1.0, num_parameters=2**63), "num_parameters=9.22337e+18: must be at least 0, and"),
        (Outcome(1.0, num_parameters=-1), "num_parameters=-1: must be at least 0, and"),
        (1e10, "reward=1e+10: must be at most 1e+09"),
        (torch.ones(2), "reward=tensor([1., 1.]): must be a number"),
        (Outcome(1.0, validation=float("nan")), "validation=nan: must be finite"),
        (Outcome(1.0, metrics={"loss": "low"}), "loss='low': must be a number"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(returned, said):
    with pytest.raises(OutcomeError) as refusal:
        Outcome.of(returned)
    assert said in str(refusal.value)
