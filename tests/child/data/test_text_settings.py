from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from child.data.text_settings import TextSettings

READER = TypeAdapter(TextSettings)
LINES = [f" w{n % 7} is {'so' * (n % 3)} <unk> \n" for n in range(60)]


@pytest.fixture(params=["penn-treebank", "wikitext-2", "text", "pydoc"])
def settings(request, tmp_path):
    """Settings of every kind, of text that can be loaded."""
    for part in ("train", "valid", "test"):
        (tmp_path / f"ptb.{part}.txt").write_text("".join(LINES))
        (tmp_path / f"wiki.{part}.tokens").write_text("".join(LINES))
    (tmp_path / "text").write_text("".join(LINES))
    given = {
        "penn-treebank": {"folder": str(tmp_path)},
        "wikitext-2": {"folder": str(tmp_path)},
        "text": {"path": str(tmp_path / "text")},
        "pydoc": {"num_train": 3000},
    }
    return READER.validate_python(given[request.param] | {"name": request.param, "num_test": 5})


def streams(data):
    return [data.search.train, data.search.validation, data.test]


@pytest.mark.parametrize("unit", ["words", "characters"])
def test_ids_of_every_part_are_those_of_the_vocabulary(settings, unit):
    data = settings.model_copy(update={"unit": unit}).load()

    assert len(data.test) == 5
    assert set(data.search.train.tolist()) <= set(range(data.search.num_tokens))
    for stream in streams(data):
        assert stream.dtype == np.int64
        assert stream.ndim == 1
        assert not stream.flags.writeable
        assert 0 <= stream.min() <= stream.max() < data.search.num_tokens


def test_settings_loaded_twice_give_the_same_text(settings):
    one, other = settings.load(), settings.load()

    assert one.search.vocabulary == other.search.vocabulary
    assert one.search.vocabulary.digest == other.search.vocabulary.digest
    for first, second in zip(streams(one), streams(other), strict=True):
        np.testing.assert_array_equal(first, second)


def test_settings_written_down_are_read_as_they_were(settings):
    assert READER.validate_python(settings.model_dump(mode="json")) == settings
    assert READER.validate_json(settings.model_dump_json()) == settings


def test_settings_cannot_be_changed(settings):
    with pytest.raises(ValidationError, match="frozen"):
        settings.num_test = 8


def test_key_that_nobody_knows_is_refused(settings):
    with pytest.raises(ValidationError, match=r"num_tests\n.*not permitted"):
        READER.validate_python(settings.model_dump() | {"num_tests": 3})


def test_name_that_nobody_knows_is_refused_with_those_that_are_known():
    with pytest.raises(ValidationError, match="'penn-treebank', 'wikitext-2', 'text', 'pydoc'"):
        READER.validate_python({"name": "enwik8"})
