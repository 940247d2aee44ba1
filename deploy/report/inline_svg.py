"""SVGs of matplotlib made to stand in a page: with ids of their own, in the page's colours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from markupsafe import Markup

_METADATA = "{http://www.w3.org/2000/svg}metadata"


def inline_svg(svg: bytes, name: str, label: str, colors: Mapping[str, str]) -> Markup:
    """Give the svg element of a file that we have drawn, for the body of a page.

    Args:
        name: what its ids begin with, so that several can stand in a page.
        label: what is read out in its place.
        colors: what stands in styles in place of colours such as #0a0b0c.
    """
    # It is our own, so that nobody can have put entities into it.
    root = ElementTree.fromstring(svg)  # noqa: S314
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == _METADATA:
                parent.remove(child)
    for element in root.iter():
        element.tag = _plain(element.tag)
        element.text = element.text and (element.text.strip() or None)
        element.tail = None
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            key = _plain(key)
            element.attrib[key] = _linked(_colored(value, colors), key, name)
    width, height = root.attrib["width"], root.attrib["height"]
    root.attrib |= {
        "role": "img",
        "aria-label": label,
        "style": f"--width:{width};--height:{height}",
    }
    for ignored in ("version", "width", "height"):
        root.attrib.pop(ignored, None)
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704


def width_of(svg: bytes) -> float:
    """Give the width of a file that we have drawn, in points."""
    return float(ElementTree.fromstring(svg).attrib["width"].removesuffix("pt"))  # noqa: S314


def _plain(qualified: str) -> str:
    # In a page neither svg nor href has a prefix.
    return qualified.rpartition("}")[2]


def _colored(value: str, colors: Mapping[str, str]) -> str:
    return re.sub(r"#[0-9a-f]{6}\b", lambda found: colors.get(found[0], found[0]), value)


def _linked(value: str, key: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-")
    return value.replace("url(#", f"url(#{name}-")
