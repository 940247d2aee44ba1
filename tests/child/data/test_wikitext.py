from __future__ import annotations

import pytest

from child.data.errors import DataMissing
from child.data.tokens import join
from child.data.wikitext import WikiTextSettings

# As the files are: an empty line before and after every heading.
TEXTS = {
    "train": " \n = <unk> = \n \n The café @-@ 1 . \n",
    "valid": " \n = Café = \n",
    "test": " \n The = \n \n",
}


@pytest.fixture(params=[".", "wikitext-2"])
def folder(request, tmp_path):
    (tmp_path / request.param).mkdir(exist_ok=True)
    for part, text in TEXTS.items():
        (tmp_path / request.param / f"wiki.{part}.tokens").write_text(text, encoding="utf-8")
    return str(tmp_path)


def texts(data, unit):
    streams = (data.search.train, data.search.validation, data.test)
    return [join(data.search.vocabulary.decode(stream), unit) for stream in streams]


def test_words_are_read_with_the_ends_of_lines_empty_ones_included(folder):
    data = WikiTextSettings(name="wikitext-2", folder=folder).load()

    assert texts(data, "words") == [
        "\n= <unk> =\n\nThe café @-@ 1 .\n",
        "\n= <unk> =\n",
        "\nThe =\n\n",
    ]
    assert data.search.vocabulary.tokens[:2] == ("<eos>", "=")
    assert [len(s) for s in (data.search.train, data.search.validation, data.test)] == [12, 5, 5]


def test_characters_are_those_of_the_words(folder):
    data = WikiTextSettings(name="wikitext-2", folder=folder, unit="characters").load()

    assert texts(data, "characters") == [
        "\n= <unk> =\n\nThe café @-@ 1 .\n",
        "\n= <unk>afé =\n",
        "\nThe =\n\n",
    ]


def test_missing_files_are_named_with_who_published_them(tmp_path):
    with pytest.raises(
        DataMissing,
        match=rf"data.folder={tmp_path}: must hold wiki\.train\.tokens \(missing\), .*; get "
        r"wikitext-2-v1\.zip from https://wikitext\.smerity\.com",
    ):
        WikiTextSettings(name="wikitext-2", folder=str(tmp_path)).load()
