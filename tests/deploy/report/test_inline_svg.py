"""SVGs that stand in a page."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from child.zoo import FIGURE_7
from deploy.drawings.drawing import Drawing
from deploy.report.chart import COLORS, INK, SERIES, WIDE, chart, labels_beside, spread
from deploy.report.inline_svg import inline_svg


def draw(axes, _):
    axes.plot([1, 2, 3], [1, 3, 2], "o", color=SERIES[0], label="$one$ & <other>")
    axes.fill_between([1, 3], [0, 0], [1, 1], color=SERIES[1])
    labels_beside(axes, [0.1, 0.1], ["low", "also low"], [SERIES[2], INK])
    axes.legend()


def ids(svg):
    return re.findall(r'\bid="([^"]*)"', svg)


def test_ids_of_two_charts_differ_and_what_is_referred_to_is_there():
    one, other = chart("one", "", WIDE, draw), chart("other", "", WIDE, draw)
    assert not set(ids(one)) & set(ids(other))
    for svg in (one, other):
        assert len(set(ids(svg))) == len(ids(svg))
        used = re.findall(r'(?:href="#|url\(#)([^")]*)', svg)
        assert used
        assert set(used) <= set(ids(svg))


def test_colors_of_a_chart_are_those_of_the_page():
    svg = chart("one", "", WIDE, draw)
    assert re.findall(r"#[0-9a-f]{6}\b", svg) == []
    assert "fill: var(--series-1)" in svg
    assert "var(--ink)" in svg
    assert len(set(COLORS.values())) == len(COLORS)


def test_letters_of_a_chart_are_letters():
    svg = chart("one", "", WIDE, draw)
    texts = ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter("text")]
    assert "$one$ & <other>" in texts
    assert "also low" in texts


def test_drawing_keeps_its_colors_and_gets_a_label():
    svg = inline_svg(Drawing(FIGURE_7).svg(), "best", 'the "best" & <only>', {})
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == 'the "best" & <only>'
    assert root.get("role") == "img"
    assert "best-layer-3" in ids(svg)
    assert "#333333" in svg
    for foreign in ("<?xml", "<!DOCTYPE", "metadata", "xmlns"):
        assert foreign not in svg


@pytest.mark.parametrize(
    "heights", [[0.0, 0.0, 0.0], [0.95, 1.0, 1.0], [0.1, 0.12, 0.5], [0.5], []]
)
def test_labels_are_moved_apart_within_the_chart(heights):
    placed = spread(heights, 0.1)
    assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(placed))
    assert all(-1e-9 <= height <= 1 for height in placed)
    assert len(placed) == len(heights)
