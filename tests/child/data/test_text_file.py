from __future__ import annotations

import pytest
from pydantic import ValidationError

from child.data.errors import DataCorrupt, DataMissing
from child.data.text_file import TextFileSettings


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        (tmp_path / name).write_text(content, encoding="utf-8")
        return str(tmp_path / name)

    return write


def parts(data):
    streams = (data.search.train, data.search.validation, data.test)
    return [" ".join(data.search.vocabulary.decode(stream)) for stream in streams]


def test_one_file_is_split_in_its_order(write):
    path = write("text", "a b c a b c\nb c\nc a\n")

    data = TextFileSettings(
        name="text", path=path, validation_fraction=0.25, test_fraction=0.25
    ).load()

    assert parts(data) == ["a b c a b c <eos>", "b c <eos>", "c a <eos>"]


def test_held_out_files_leave_the_first_one_whole_to_train_on(write):
    held_out = {"validation": write("two", "so bad"), "test": write("three", "So.")}

    data = TextFileSettings(name="text", path=write("one", "So so."), held_out=held_out).load()

    assert parts(data) == ["So so . <eos>", "so <unk> <eos>", "So . <eos>"]


def test_held_out_files_become_tokens_as_the_first_one_does(write):
    held_out = {"validation": write("two", "So."), "test": write("three", "so.")}

    data = TextFileSettings(
        name="text",
        path=write("one", "sO."),
        held_out=held_out,
        lowercase=True,
        split_punctuation=False,
    ).load()

    assert parts(data) == ["so. <eos>"] * 3


def test_settings_are_read_where_the_files_are_not(tmp_path):
    settings = TextFileSettings(name="text", path=str(tmp_path / "x"))

    with pytest.raises(DataMissing, match=f"{tmp_path}/x: must be a file"):
        settings.load()


@pytest.mark.parametrize("place", ["validation", "test"])
def test_held_out_file_that_is_no_text_is_named(write, tmp_path, place):
    held_out = {"validation": write("two", "so bad"), "test": write("three", "so good")}
    held_out[place] = write("empty", "")

    with pytest.raises(DataCorrupt, match=f"{tmp_path}/empty: must hold text"):
        TextFileSettings(name="text", path=write("one", "so so"), held_out=held_out).load()


def test_messages_about_tokens_name_the_file(write, tmp_path):
    with pytest.raises(
        DataMissing, match=f"num_train=999: must be .* in data.path={tmp_path}/text"
    ):
        TextFileSettings(name="text", path=write("text", "a\n" * 50), num_train=999).load()


def test_relative_paths_mean_the_same_after_the_working_folder_has_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    settings = TextFileSettings(name="text", path="a", held_out={"validation": "b", "test": "c"})

    assert settings.path == f"{tmp_path}/a"
    assert settings.held_out.validation == f"{tmp_path}/b"


HELD_OUT = {"validation": "/b", "test": "/c"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"held_out": HELD_OUT, "test_fraction": 0.2},
            "test_fraction=0.2: must not be given beside held_out",
        ),
        (
            {"held_out": HELD_OUT, "validation_fraction": 0.1},
            "validation_fraction=0.1: must not be given beside held_out",
        ),
        (
            {"held_out": {"validation": "/b", "test": "/a"}},
            "path=/a, held_out.validation=/b and held_out.test=/a: must be three files",
        ),
        ({"held_out": {"validation": "/b", "test": "/b"}}, "must be three files"),
        ({"held_out": {"validation": "/b"}}, r"held_out\.test\n.*Field required"),
        ({"path": ""}, "path\n"),
        ({"folder": "/"}, "folder\n.*not permitted"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        TextFileSettings(**{"name": "text", "path": "/a"} | settings)
