from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from child.data.errors import DataMissing
from child.data.prose import ProseOptions
from child.data.tokens import join

TEXT = "It IS so.\n"


def parts(data):
    """Give the tokens of the three parts."""
    streams = (data.search.train, data.search.validation, data.test)
    return [data.search.vocabulary.decode(stream) for stream in streams]


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({}, ["It", "IS", "so", ".", "<eos>"]),
        ({"split_punctuation": False}, ["It", "IS", "so.", "<eos>"]),
        ({"lowercase": True}, ["it", "is", "so", ".", "<eos>"]),
        ({"unit": "characters"}, list(TEXT)),
        ({"unit": "characters", "lowercase": True}, list("it is so.\n")),
    ],
    ids=str,
)
def test_text_becomes_tokens_as_the_settings_say(options, tokens):
    assert ProseOptions(**options).tokens(TEXT) == tokens


def test_text_is_split_in_its_order():
    text = "abcdefghijklmnopqrst"
    options = ProseOptions(unit="characters", validation_fraction=0.2, test_fraction=0.25)

    train, validation, test = parts(options.split(text * 2, "a text"))

    assert [len(train), len(validation), len(test)] == [22, 8, 10]
    assert "".join(train + validation + test) == text * 2


def test_a_tenth_each_is_validated_and_tested_on_by_default():
    data = ProseOptions(unit="characters").split("ab" * 50, "a text")

    assert [len(part) for part in parts(data)] == [80, 10, 10]


@given(st.text(min_size=40))
def test_characters_of_any_text_decode_to_it(text):
    # Often enough that all of it is trained on, and no character is unknown.
    data = ProseOptions(unit="characters").split(text * 5, "a text")

    assert "".join(join(part, "characters") for part in parts(data)) == text * 5


def test_split_is_the_same_however_little_is_trained_on():
    whole, few = (
        ProseOptions(unit="characters", num_train=number).split("ab" * 50, "a text")
        for number in (None, 2)
    )

    assert len(few.search.train) == 2
    assert parts(few)[1:] == parts(whole)[1:]


def test_text_too_short_to_be_split_is_refused():
    with pytest.raises(DataMissing, match=r"a text: must have two tokens or more for data\.num_v"):
        ProseOptions().split("so it is", "a text")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"validation_fraction": 0.5, "test_fraction": 0.5},
            "validation_fraction=0.5 and test_fraction=0.5: must add up to less than 1",
        ),
        ({"test_fraction": 0.95}, "validation_fraction=0.1 and test_fraction=0.95: must add up"),
        ({"validation_fraction": 0.0}, "validation_fraction\n"),
        ({"test_fraction": 1.0}, "test_fraction\n"),
        ({"lowercase": 1}, "lowercase\n"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        ProseOptions(**options)
