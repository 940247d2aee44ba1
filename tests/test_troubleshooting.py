"""Every message that docs/troubleshooting.md quotes is still said somewhere."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("ps", "child", "controller", "workers", "deploy", "nasrl")
DIFFERS = "…"
QUOTED = {ord("r"): f"'{DIFFERS}'"}  # with !r a text stands in quotation marks
MIN_LENGTH = 8  # of a constant part that can be told from any other text

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = [found for found in re.findall(r"^\| `([^`]+)` \|", PAGE, re.M) if found != "message"]


def constant_parts(message):
    return [part for part in message.split(DIFFERS) if len(part.strip()) >= MIN_LENGTH]


def text_of(part):
    if isinstance(part, ast.Constant):
        return part.value
    return QUOTED.get(part.conversion, DIFFERS)


def texts(tree):
    """Give the constant text of every string; what an f-string puts in is between them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(map(text_of, node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@cache
def said():
    sources = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    parsed = [text for path in sources for text in texts(ast.parse(path.read_text("utf-8")))]
    return "\n".join([*parsed, (ROOT / "Makefile").read_text("utf-8")])


def test_page_quotes_messages():
    assert len(MESSAGES) > 40


@pytest.mark.parametrize("message", MESSAGES)
def test_quoted_message_is_in_the_sources(message):
    parts = constant_parts(message)
    assert parts, f"{message!r}: has no part that could be looked for"
    missing = [part for part in parts if part not in said()]
    assert not missing, f"{message!r}: nothing in the sources says {missing}"
