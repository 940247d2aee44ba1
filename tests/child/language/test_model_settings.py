from __future__ import annotations

import pytest
from pydantic import ValidationError

from child.language.model_settings import DropoutSettings, LanguageModelSettings


def test_settings_by_default_are_two_layers_of_the_size_of_the_medium_model():
    assert LanguageModelSettings().model_dump() == {
        "num_layers": 2,
        "num_parameters": 20_000_000,
        "hidden_size": None,
        "embedding_size": None,
        "is_tied": False,
        "init_range": 0.05,
        "dropout": {
            "embedding": 0.2,
            "input": 0.5,
            "recurrent": 0.2,
            "output": 0.5,
            "is_variational": True,
        },
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"hidden_size": 650},
            "num_parameters=20000000 and hidden_size=650: one must be set to null",
        ),
        (
            {"num_parameters": None},
            "num_parameters=null and hidden_size=null: one must be given",
        ),
        (
            {"is_tied": True, "embedding_size": 128},
            "is_tied=true and embedding_size=128: must be null, .* as wide as a layer",
        ),
        ({"num_layers": 0}, "num_layers"),
        ({"num_layers": 101}, "num_layers"),
        ({"num_parameters": 0}, "num_parameters"),
        ({"num_parameters": None, "hidden_size": 0}, "hidden_size"),
        ({"embedding_size": 0}, "embedding_size"),
        ({"init_range": 0}, "init_range"),
        ({"init_range": float("inf")}, "init_range"),
        ({"dropout": {"outputs": 0.5}}, "outputs\n.*not permitted"),
        ({"tied": True}, "tied\n.*not permitted"),
    ],
)
def test_model_that_cannot_be_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        LanguageModelSettings(**given)


@pytest.mark.parametrize("name", ["embedding", "input", "recurrent", "output"])
@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_dropout_that_leaves_nothing_or_is_no_fraction_is_refused(name, rate):
    with pytest.raises(ValidationError, match=name):
        DropoutSettings(**{name: rate})


def test_model_of_a_given_width_may_have_another_embedding():
    given = LanguageModelSettings(num_parameters=None, hidden_size=800, embedding_size=128)

    assert (given.hidden_size, given.embedding_size) == (800, 128)
