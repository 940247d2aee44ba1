"""Drawings as files."""

from __future__ import annotations

import matplotlib
import pytest
from PIL import Image

from child.language.layers import LSTM
from child.zoo import FIGURE_7, NAS_CELL
from deploy.drawings import drawing
from deploy.drawings.drawing import Drawing


@pytest.mark.parametrize("architecture", [FIGURE_7, NAS_CELL], ids=["network", "cell"])
@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_same_architecture_gives_the_same_bytes(architecture, suffix, tmp_path):
    one, other = tmp_path / f"one{suffix}", tmp_path / f"other{suffix}"
    Drawing(architecture).write(one)
    with matplotlib.rc_context({"font.size": 20, "svg.fonttype": "none", "figure.dpi": 50}):
        Drawing(architecture).write(other)

    assert one.read_bytes() == other.read_bytes()


def test_settings_of_others_are_left_as_they_were(tmp_path):
    with matplotlib.rc_context({"svg.hashsalt": "mine", "font.size": 20}):
        Drawing(NAS_CELL).write(tmp_path / "cell.svg")
        assert matplotlib.rcParams["svg.hashsalt"] == "mine"
        assert matplotlib.rcParams["font.size"] == 20


def test_background_is_white_also_on_a_dark_page(tmp_path):
    Drawing(NAS_CELL).write(tmp_path / "cell.png")
    with Image.open(tmp_path / "cell.png") as image:
        width, height = image.size
        corners = [(x, y) for x in (0, width - 1) for y in (0, height - 1)]
        assert {image.convert("RGBA").getpixel(corner) for corner in corners} == {(255,) * 4}


def test_nothing_is_cut_off(tmp_path):
    for name, architecture in (("network", FIGURE_7), ("cell", NAS_CELL)):
        Drawing(architecture).write(tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as image:
            grey = image.convert("L")
            width, height = grey.size
            for box in (
                (0, 0, width, 20),
                (0, height - 20, width, height),
                (0, 0, 20, height),
                (width - 20, 0, width, height),
            ):
                assert grey.crop(box).getextrema() == (255, 255), (name, box)


def test_deep_network_has_fewer_dots_to_the_inch_rather_than_none(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "MAX_PNG_SIZE", 500)
    Drawing(FIGURE_7).write(tmp_path / "deep.png")
    with Image.open(tmp_path / "deep.png") as image:
        assert 490 <= image.height <= 500


def test_file_is_not_written_over(tmp_path):
    path = tmp_path / "mine.svg"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        Drawing(NAS_CELL).write(path)
    assert path.read_text() == "mine"


def test_what_has_no_drawing_is_refused_without_a_file(tmp_path):
    with pytest.raises(TypeError, match="lstm: has no drawing"):
        Drawing(LSTM).write(tmp_path / "lstm.svg")
    assert not (tmp_path / "lstm.svg").exists()
