from __future__ import annotations

import sys
from types import ModuleType

import pytest

from child.data.errors import DataMissing
from child.data.pydoc_topics import PydocSettings, pydoc_text

STATEMENT = """The "so" statement
******************

The statement "so" does
   what it is told to.

   so_stmt ::= "so" expression [","
               expression] and so on and on.

>>> so and so and so and so and so.

   Too short for prose.

   a long line of code that ends as no sentence

(See also what stands under other topics.)

+---+------------------------------------------------------+
| A | B is one of the things that nobody has ever heard of |
+---+------------------------------------------------------+

--- --- --- --- --- --- --- so it goes.
"""


@pytest.fixture
def topics(monkeypatch):
    """Have Python's help consist of these topics."""
    module = ModuleType("pydoc_data.topics")
    module.topics = {}
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", module)
    return module.topics


def test_paragraphs_of_prose_are_lines(topics):
    topics["so"] = STATEMENT

    assert pydoc_text() == (
        'The statement "so" does what it is told to.\n(See also what stands under other topics.)\n'
    )


def test_topics_come_in_the_order_of_their_names(topics):
    topics["b"] = "Here comes the second of them."
    topics["a"] = "Here comes the first of them."

    assert pydoc_text() == "Here comes the first of them.\nHere comes the second of them.\n"


def test_paragraph_that_comes_again_is_left_out(topics):
    topics["a"] = "This is said once and again.\n\nThis is said only once, here."
    topics["b"] = "   This is said\n   once and again."

    assert pydoc_text() == "This is said once and again.\nThis is said only once, here.\n"


def test_python_without_help_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)

    with pytest.raises(DataMissing, match=r"pydoc_data\.topics: must be part of Python's library"):
        PydocSettings(name="pydoc").load()


@pytest.mark.parametrize(
    ("options", "num_tokens"),
    [
        ({}, range(2000, 6000)),
        ({"lowercase": True, "max_vocabulary": 1000}, range(1000, 1001)),
        ({"unit": "characters"}, range(60, 200)),
    ],
    ids=str,
)
def test_help_of_this_python_is_text_to_search_with(options, num_tokens):
    data = PydocSettings(name="pydoc", **options).load()

    assert data.search.num_tokens in num_tokens
    assert len(data.search.train) > 30_000
    assert len(data.search.validation) > 3000
    assert len(data.test) > 3000


def test_text_does_not_come_in_two_parts():
    lines = pydoc_text().splitlines()

    assert len(set(lines)) == len(lines) > 500


def test_too_few_tokens_are_told_with_where_they_come_from():
    with pytest.raises(
        DataMissing, match=r"num_train=10000000: must be at most \d+, .* text of Python's help"
    ):
        PydocSettings(name="pydoc", num_train=10_000_000).load()
