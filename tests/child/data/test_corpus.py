from __future__ import annotations

import pytest

from child.data.corpus import Corpus, find, read_text
from child.data.errors import DataCorrupt, DataMissing

FIRST = Corpus("a.train", "a.valid", "a.test", "unpacked/a")
SECOND = Corpus("b.train", "b.valid", "b.test", "unpacked/b")
ORIGIN = "get them from somewhere"


def lay(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("text")


def test_corpus_is_found_in_the_folder(tmp_path):
    lay(tmp_path, FIRST.files)

    assert find(tmp_path, [FIRST], ORIGIN) == (FIRST, tmp_path)


def test_corpus_is_found_as_it_was_unpacked(tmp_path):
    lay(tmp_path / "unpacked/a", FIRST.files)

    assert find(tmp_path, [FIRST], ORIGIN) == (FIRST, tmp_path / "unpacked/a")


def test_first_corpus_that_is_complete_is_found(tmp_path):
    lay(tmp_path, FIRST.files[:2] + SECOND.files)
    assert find(tmp_path, [FIRST, SECOND], ORIGIN) == (SECOND, tmp_path)

    lay(tmp_path, FIRST.files)
    assert find(tmp_path, [FIRST, SECOND], ORIGIN) == (FIRST, tmp_path)


def test_files_that_lie_apart_are_no_corpus(tmp_path):
    lay(tmp_path, FIRST.files[:1])
    lay(tmp_path / "unpacked/a", FIRST.files[1:])

    with pytest.raises(DataMissing, match=r"must hold a\.train \(missing\), a\.valid, a\.test; "):
        find(tmp_path, [FIRST], ORIGIN)


def test_missing_files_are_named_with_folder_and_origin(tmp_path):
    lay(tmp_path, ["b.valid"])

    with pytest.raises(DataMissing) as error:
        find(tmp_path, [FIRST, SECOND], ORIGIN)

    assert str(error.value) == (
        f"data.folder={tmp_path}: must hold a.train (missing), a.valid (missing), a.test "
        "(missing), or b.train (missing), b.valid, b.test (missing); get them from somewhere, and "
        "put them there"
    )


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_folder_that_is_none_is_named(tmp_path, name):
    (tmp_path / "file").write_text("text")

    with pytest.raises(
        DataMissing, match=f"data.folder={tmp_path}/{name}: must be a folder that holds"
    ):
        find(tmp_path / name, [FIRST], ORIGIN)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("naïve\n".encode(), "naïve\n"),
        (b"\xef\xbb\xbfmarked", "marked"),
        (b"a\r\nb\rc\n", "a\nb\nc\n"),
        ("a\u2028b\n".encode(), "a\u2028b\n"),
    ],
    ids=["utf-8", "byte order mark", "ends of lines", "other ends of lines"],
)
def test_text_is_read(tmp_path, content, text):
    (tmp_path / "text").write_bytes(content)

    assert read_text(tmp_path / "text") == text


def test_file_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(
        DataMissing, match=f"{tmp_path}/x: must be a file that can be read .No such file"
    ):
        read_text(tmp_path / "x")


def test_folder_is_no_file(tmp_path):
    with pytest.raises(DataMissing, match=f"{tmp_path}: must be a file .*Is a directory"):
        read_text(tmp_path)


def test_text_in_another_encoding_is_corrupt(tmp_path):
    (tmp_path / "text").write_bytes(b"abc na\xefve")

    with pytest.raises(
        DataCorrupt,
        match=f"{tmp_path}/text: must be text in UTF-8, is not at byte 6 .invalid continuation",
    ):
        read_text(tmp_path / "text")


@pytest.mark.parametrize("content", [b"", b" \n\t\n", b"\xef\xbb\xbf"])
def test_file_without_text_is_corrupt(tmp_path, content):
    (tmp_path / "text").write_bytes(content)

    with pytest.raises(
        DataCorrupt, match=rf"text: must hold text, has none in its {len(content)} bytes"
    ):
        read_text(tmp_path / "text")
