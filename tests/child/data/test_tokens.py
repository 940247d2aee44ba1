from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from child.data.tokens import characters, join, words, words_or_characters


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("\n", ["<eos>"]),
        ("a b\n", ["a", "b", "<eos>"]),
        (" a  b \n", ["a", "b", "<eos>"]),
        ("a b", ["a", "b", "<eos>"]),
        ("a\nb", ["a", "<eos>", "b", "<eos>"]),
        ("a\n\n \nb\n", ["a", "<eos>", "<eos>", "<eos>", "b", "<eos>"]),
        ("a\n ", ["a", "<eos>"]),
        ("a\u2028b\x0cc\rd\u00a0e\n", ["a", "b", "c", "d", "e", "<eos>"]),
        ("it's said: a-b.\n", ["it's", "said:", "a-b.", "<eos>"]),
        ("a <unk> <eos>\n", ["a", "<unk>", "<eos>", "<eos>"]),
    ],
)
def test_words_are_cut_at_white_space_and_every_line_ends(text, tokens):
    assert words(text) == tokens


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("Well, yes.", ["Well", ",", "yes", "."]),
        ("it's the dogs' 'own'", ["it's", "the", "dogs", "'", "'", "own", "'"]),
        ("l’eau d'une", ["l’eau", "d'une"]),
        ("a-b --c", ["a", "-", "b", "-", "-", "c"]),
        ("__init__() 3.14", ["__init__", "(", ")", "3", ".", "14"]),
        ("naïve Ελλάδα 東京", ["naïve", "Ελλάδα", "東京"]),
        ("  ", []),
    ],
)
def test_punctuation_marks_that_are_cut_off_are_tokens(line, tokens):
    assert words(f"{line}\n", split_punctuation=True) == [*tokens, "<eos>"]


@given(st.text())
def test_cutting_punctuation_off_loses_no_character_but_white_space(text):
    tokens = words(text, split_punctuation=True)

    kept = "".join(token for token in tokens if token != "<eos>")
    assert kept == "".join(text.split())


@given(st.lists(st.lists(st.sampled_from(["so", "it", "ends", "<unk>"]))))
def test_words_put_together_are_the_text_with_single_spaces(lines):
    text = "".join(" ".join(line) + "\n" for line in lines)

    assert join(words(text), "words") == text
    assert join(words(text.replace(" ", "  ")), "words") == text


def test_words_behind_the_last_end_of_a_line_are_put_together_too():
    assert join(["a", "<eos>", "<eos>", "b", "c"], "words") == "a\n\nb c"


@given(st.text())
def test_characters_put_together_are_the_text(text):
    tokens = characters(text)

    assert join(tokens, "characters") == text
    assert all(len(token) == 1 for token in tokens)


def test_characters_of_text_that_is_cut_already_are_those_of_its_words():
    text = " aa  b \n\n c"

    assert words_or_characters(text, "words") == ["aa", "b", "<eos>", "<eos>", "c", "<eos>"]
    assert words_or_characters(text, "characters") == list("aa b\n\nc\n")
