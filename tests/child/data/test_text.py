from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from child.data.text import Vocabulary

WORDS = st.sampled_from(["<unk>", "a", "b", "c", "d", "e", "f"])
TEXTS = st.lists(WORDS, max_size=30)


def test_tokens_are_ordered_by_falling_frequency_and_then_sorted():
    vocabulary = Vocabulary.build(["b", "z", "a", "z", "é", "B"])

    assert vocabulary.tokens == ("z", "B", "a", "b", "é")
    assert vocabulary.num_tokens == 5


def test_order_in_the_text_changes_nothing():
    tokens = list("sphinx of black quartz, judge my vow")
    shuffled = random.Random(0).sample(tokens, len(tokens))

    assert Vocabulary.build(tokens).tokens == Vocabulary.build(shuffled).tokens


def test_text_without_unknown_tokens_has_no_token_for_them():
    assert Vocabulary.build(["a", "b", "a"], others=[["b"], ["a"]]).tokens == ("a", "b")


@pytest.mark.parametrize("others", [[["c"], ["a"]], [["a"], ["b", "c"]]], ids=["one", "other"])
def test_token_that_is_not_trained_on_is_unknown(others):
    vocabulary = Vocabulary.build(["a", "b", "a"], others=others)

    assert vocabulary.tokens == ("a", "b", "<unk>")
    assert vocabulary.decode(vocabulary.encode(["c", "b"])) == ["<unk>", "b"]


def test_others_are_not_counted():
    assert Vocabulary.build(["a", "b", "a"], others=[["b"] * 9]).tokens == ("a", "b")


def test_unknown_of_the_text_is_a_token_like_any_other():
    train = ["a", "<unk>", "<unk>", "b", "a", "a"]

    vocabulary = Vocabulary.build(train, others=[["c"]])

    assert vocabulary.tokens == ("a", "<unk>", "b")
    assert vocabulary.encode(["c", "<unk>"]).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("train", "max_size", "tokens"),
    [
        ("aaabbc", 3, ("a", "b", "c")),
        ("aaabbc", 2, ("a", "<unk>")),
        ("aaabbcd", 3, ("a", "b", "<unk>")),
        (["a", "a", "a", "<unk>", "<unk>", "b"], 2, ("a", "<unk>")),
        (["a", "a", "a", "b", "b", "<unk>"], 2, ("a", "<unk>")),
        (["<unk>", "<unk>", "a", "b"], 2, ("<unk>", "a")),
    ],
)
def test_vocabulary_that_is_limited_keeps_the_most_frequent_tokens(train, max_size, tokens):
    assert Vocabulary.build(train, max_size=max_size).tokens == tokens


def test_limit_that_is_just_reached_leaves_room_for_unknown_tokens():
    vocabulary = Vocabulary.build("aaabbc", max_size=3, others=["d"])

    assert vocabulary.tokens == ("a", "b", "<unk>")


@given(TEXTS, TEXTS, st.none() | st.integers(2, 8))
def test_every_text_can_be_encoded_within_the_limit(train, other, max_size):
    vocabulary = Vocabulary.build(train, max_size=max_size, others=[other])

    assert len(set(vocabulary.tokens)) == vocabulary.num_tokens <= (max_size or 8)
    assert ("<unk>" in train) <= ("<unk>" in vocabulary.tokens)
    for text in (train, other):
        known = [token if token in vocabulary.tokens else "<unk>" for token in text]
        assert vocabulary.decode(vocabulary.encode(text)) == known


def test_ids_are_read_only_int64():
    ids = Vocabulary(("a", "b")).encode(["b", "a", "b"])

    assert ids.dtype == np.int64
    assert ids.tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 0


def test_no_tokens_are_no_ids():
    assert Vocabulary(("a",)).encode([]).shape == (0,)


def test_unknown_token_of_a_vocabulary_without_one_is_refused():
    with pytest.raises(
        ValueError,
        match=r"tokens\[2\]='x': must be one of the 2 tokens of a vocabulary without <unk>",
    ):
        Vocabulary(("a", "b")).encode(["a", "b", "x", "y"])


def test_digest_tells_vocabularies_apart():
    vocabularies = [("a", "b"), ("b", "a"), ("a,b",), ('a", "b',), ("a", "b", "c"), ("ab",)]

    assert len({Vocabulary(tokens).digest for tokens in vocabularies}) == len(vocabularies)


def test_digest_stays_what_it_was():
    assert Vocabulary(("the", "é")).digest == (
        "069ed8607b88ce5a405027b1bba7f05e8cd5afb95cbb131f672b299f5538bfa0"
    )


def test_vocabulary_that_travelled_is_the_same():
    vocabulary = Vocabulary(("a", "b"))
    vocabulary.encode(["a"])

    arrived = pickle.loads(pickle.dumps(vocabulary))

    assert arrived == vocabulary
    assert arrived.encode(["b"]).tolist() == [1]
