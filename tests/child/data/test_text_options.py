from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from child.data.errors import DataMissing
from child.data.text_options import TextOptions

TRAIN, VALIDATION, TEST = "abacab", "bcb", "aac"


def assemble(parts=(TRAIN, VALIDATION, TEST), **options):
    return TextOptions(**options).assemble(*parts, source="path=/x")


def decoded(data):
    """Give the three parts, each as one string with ? for unknown tokens."""
    streams = (data.search.train, data.search.validation, data.test)
    texts = ("".join(data.search.vocabulary.decode(stream)) for stream in streams)
    return [text.replace("<unk>", "?") for text in texts]


def test_parts_by_default_are_whole():
    data = assemble()

    assert decoded(data) == [TRAIN, VALIDATION, TEST]
    assert data.search.vocabulary.tokens == ("a", "b", "c")
    assert data.search.num_tokens == 3


def test_streams_are_read_only_int64():
    data = assemble()

    for stream in (data.search.train, data.search.validation, data.test):
        assert stream.dtype == np.int64
        assert not stream.flags.writeable


def test_limits_keep_the_first_tokens():
    data = assemble(num_train=4, num_validation=2, num_test=3)

    assert decoded(data) == ["abac", "bc", "aac"]


def test_vocabulary_is_that_of_the_tokens_trained_on():
    data = assemble(num_train=3)

    assert data.search.vocabulary.tokens == ("a", "b", "<unk>")
    assert decoded(data) == ["aba", "b?b", "aa?"]


@pytest.mark.parametrize("parts", [["ab", "ax", "ab"], ["ab", "ab", "ax"]], ids=["one", "other"])
def test_token_that_is_in_one_other_part_alone_is_unknown(parts):
    data = assemble(parts)

    assert decoded(data) == [part.replace("x", "?") for part in parts]
    assert data.search.vocabulary.tokens == ("a", "b", "<unk>")


def test_vocabulary_is_limited():
    data = assemble(max_vocabulary=2)

    assert data.search.vocabulary.tokens == ("a", "<unk>")
    assert decoded(data) == ["a?a?a?", "???", "aa?"]


def test_vocabulary_is_the_same_however_much_is_validated_and_tested_on():
    parts = ["abab", "aaz", "aaz"]

    whole, few = assemble(parts), assemble(parts, num_validation=2, num_test=2)

    assert decoded(few) == ["abab", "aa", "aa"]
    assert few.search.vocabulary == whole.search.vocabulary
    assert few.search.num_tokens == 3


@pytest.mark.parametrize(
    ("key", "number"), [("num_train", 6), ("num_validation", 3), ("num_test", 3)]
)
def test_more_tokens_than_there_are_are_refused(key, number):
    assemble(**{key: number})

    with pytest.raises(
        DataMissing,
        match=f"data.{key}={number + 1}: must be at most {number}, .* for it in path=/x",
    ):
        assemble(**{key: number + 1})


@pytest.mark.parametrize(
    ("place", "key"), [(0, "num_train"), (1, "num_validation"), (2, "num_test")]
)
def test_part_of_less_than_two_tokens_is_refused(place, key):
    parts = [TRAIN, VALIDATION, TEST]
    parts[place] = "a"

    with pytest.raises(
        DataMissing, match=f"path=/x: must have two tokens or more for data.{key}, .*; has 1"
    ):
        assemble(parts)


@pytest.mark.parametrize(
    "options",
    [
        {"unit": "bytes"},
        {"max_vocabulary": 1},
        {"num_train": 1},
        {"num_validation": 1},
        {"num_test": 1},
        {"num_test": 2.0},
        {"num_trains": 2},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(options):
    with pytest.raises(ValidationError, match="\n".join(options)):
        TextOptions(**options)
