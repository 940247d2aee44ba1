from __future__ import annotations

import pytest
from pydantic import ValidationError

from child.language.training_settings import LanguageTrainingSettings


def test_settings_by_default_are_those_of_the_paper_and_of_zaremba_s_medium_model():
    given = LanguageTrainingSettings().model_dump()

    assert given.pop("schedule") | {"milestones": ()} == {
        "kind": "exponential",
        "milestones": (),
        "factor": 0.8,
        "constant_epochs": 6,
    }
    assert given == {
        "num_epochs": 35,
        "batch_size": 20,
        "num_steps": 35,
        "optimizer": "sgd",
        "learning_rate": 1.0,
        "max_gradient_norm": 5.0,
        "weight_decay": 0.0,
        "evaluation_batch_size": 20,
        "reward_epochs": 5,
        "reward_scale": 80.0,
        "precision": "float32",
        "is_deterministic": False,
        "time_limit_s": None,
        "max_parameters": None,
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_epochs": 0}, "num_epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"num_steps": 0}, "num_steps"),
        ({"evaluation_batch_size": 0}, "evaluation_batch_size"),
        ({"optimizer": "rmsprop"}, "optimizer"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"max_gradient_norm": 0}, "max_gradient_norm"),
        ({"weight_decay": -1e-4}, "weight_decay"),
        ({"reward_scale": 0}, "reward_scale"),
        ({"reward_scale": float("inf")}, "reward_scale"),
        # The reward of a perplexity of 1, the least.
        ({"reward_scale": 1.1e9}, "reward_scale"),
        ({"schedule": {"factor": 1.1}}, "factor"),
        ({"clip": 5.0}, "clip\n.*not permitted"),
    ],
)
def test_settings_that_train_nothing_are_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        LanguageTrainingSettings(**given)
