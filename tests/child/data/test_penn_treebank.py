from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from child.data.errors import DataCorrupt, DataMissing
from child.data.penn_treebank import PennTreebankSettings
from child.data.tokens import join

# As the files are: a space before and after the words of every line.
TEXTS = {
    "train": " a b a \n <unk> a n't \n",
    "valid": " b c \n",
    "test": " a \n b b \n",
}


def write_words(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for part, text in TEXTS.items():
        (folder / f"ptb.{part}.txt").write_text(text)


def write_characters(folder, texts=TEXTS):
    """Write the text as Mikolov's files of characters have it; the last line has no end."""
    for part, text in texts.items():
        lines = [" ".join(line.strip().replace(" ", "_")) for line in text.splitlines()]
        (folder / f"ptb.char.{part}.txt").write_text("".join(f" {ln} \n" for ln in lines) + "  ")


def load(folder, **options):
    return PennTreebankSettings(name="penn-treebank", folder=str(folder), **options).load()


def texts(data, unit):
    streams = (data.search.train, data.search.validation, data.test)
    return [join(data.search.vocabulary.decode(stream), unit) for stream in streams]


@pytest.mark.parametrize("below", [".", "simple-examples/data"])
def test_words_are_read_with_the_ends_of_lines(tmp_path, below):
    write_words(tmp_path / below)

    data = load(tmp_path)

    assert data.search.vocabulary.tokens == ("a", "<eos>", "<unk>", "b", "n't")
    assert texts(data, "words") == ["a b a\n<unk> a n't\n", "b <unk>\n", "a\nb b\n"]
    assert [len(s) for s in (data.search.train, data.search.validation, data.test)] == [8, 3, 5]


def test_characters_are_read_from_the_files_of_words(tmp_path):
    write_words(tmp_path)

    data = load(tmp_path, unit="characters")

    assert texts(data, "characters") == ["a b a\n<unk> a n't\n", "b <unk>\n", "a\nb b\n"]
    assert set(data.search.vocabulary.tokens) == {*"ab<unk>t' \n", "<unk>"}


def test_characters_are_the_same_from_either_files(tmp_path):
    write_words(tmp_path)
    from_words = load(tmp_path, unit="characters")
    for path in tmp_path.iterdir():
        path.unlink()
    write_characters(tmp_path)

    from_characters = load(tmp_path, unit="characters")

    assert from_characters.search.vocabulary == from_words.search.vocabulary
    assert texts(from_characters, "characters") == texts(from_words, "characters")


def test_files_of_characters_are_preferred(tmp_path):
    write_words(tmp_path)
    write_characters(tmp_path, TEXTS | {"train": "zz\n"})

    assert texts(load(tmp_path, unit="characters"), "characters")[0] == "zz\n"


def test_words_are_not_read_from_files_of_characters(tmp_path):
    write_characters(tmp_path)

    with pytest.raises(DataMissing, match=r"must hold ptb\.train\.txt \(missing\)"):
        load(tmp_path)


def test_missing_files_are_named_with_who_published_them(tmp_path):
    write_characters(tmp_path)
    (tmp_path / "ptb.char.test.txt").unlink()

    with pytest.raises(DataMissing) as error:
        load(tmp_path, unit="characters")

    message = str(error.value)
    assert message.startswith(
        f"data.folder={tmp_path}: must hold ptb.char.train.txt, ptb.char.valid.txt, "
        "ptb.char.test.txt (missing), or ptb.train.txt (missing), ptb.valid.txt (missing), "
        "ptb.test.txt (missing); "
        "get simple-examples.tgz"
    )
    assert "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz" in message
    assert "https://catalog.ldc.upenn.edu/LDC99T42" in message


def test_words_in_a_file_of_characters_are_corrupt(tmp_path):
    write_characters(tmp_path)
    (tmp_path / "ptb.char.valid.txt").write_text(" a _ bc \n")

    with pytest.raises(
        DataCorrupt, match=r"ptb\.char\.valid\.txt: must have white space between .*; has 'bc'"
    ):
        load(tmp_path, unit="characters")


def test_messages_about_tokens_name_the_folder(tmp_path):
    write_words(tmp_path)

    with pytest.raises(
        DataMissing, match=f"data.num_train=9: must be at most 8, .* in data.folder={tmp_path}"
    ):
        load(tmp_path, num_train=9)


def test_folder_must_be_given():
    with pytest.raises(ValidationError, match=r"folder\n.*Field required"):
        PennTreebankSettings(name="penn-treebank")


def test_folder_means_the_same_after_the_working_folder_has_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    settings = PennTreebankSettings(name="penn-treebank", folder="ptb")

    assert Path(settings.folder) == tmp_path / "ptb"
