from __future__ import annotations

import pytest
from pydantic import ValidationError

from child.images.training_settings import ImageTrainingSettings


def test_settings_by_default_are_those_of_the_paper():
    assert ImageTrainingSettings().model_dump() == {
        "num_epochs": 50,
        "batch_size": 64,
        "learning_rate": 0.1,
        "schedule": {
            "kind": "step",
            "milestones": (0.5, 0.75),
            "factor": 0.1,
            "constant_epochs": 6,
        },
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 1e-4,
        "augmentation": {"crop": "upsample", "margin": 4, "flip": True},
        "reward_epochs": 5,
        "reward_exponent": 3.0,
        "precision": "auto",
        "is_channels_last": True,
        "is_deterministic": False,
        "time_limit_s": None,
        "max_parameters": None,
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"momentum": 0}, "nesterov=true and momentum=0: Nesterov's rule needs momentum > 0"),
        ({"num_epochs": 0}, "num_epochs"),
        ({"batch_size": 1}, "batch_size"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"momentum": 1}, "momentum"),
        ({"weight_decay": -1e-4}, "weight_decay"),
        ({"reward_epochs": 0}, "reward_epochs"),
        ({"reward_exponent": 0}, "reward_exponent"),
        ({"precision": "double"}, "precision"),
        ({"time_limit_s": 0}, "time_limit_s"),
        ({"max_parameters": 0}, "max_parameters"),
        ({"lr": 0.1}, "lr\n.*not permitted"),
        ({"augmentation": {"flips": True}}, "flips\n.*not permitted"),
        ({"schedule": {"gamma": 0.1}}, "gamma\n.*not permitted"),
    ],
)
def test_settings_that_train_nothing_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        ImageTrainingSettings(**settings)


def test_settings_without_nesterov_and_momentum_are_taken():
    assert not ImageTrainingSettings(nesterov=False, momentum=0).nesterov
