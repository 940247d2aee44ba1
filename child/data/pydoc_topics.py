"""The text of Python's own help, which is there wherever Python is."""

from __future__ import annotations

import re
from typing import Literal

from child.data.errors import DataMissing
from child.data.prose import ProseOptions
from child.data.text import TextData

MIN_WORDS = 5
MIN_LETTERS_FRACTION = 0.75  # and spaces, of all characters


class PydocSettings(ProseOptions):
    """How the text of `help("topics")` becomes tokens.

    It is English prose about Python, some 60,000 words and punctuation marks, in the order of the
    names of its topics. It differs between versions of Python, and so do results on it: the
    vocabulary's digest tells which one was read. It is there for trying things out and for tests;
    nobody publishes figures on it.
    """

    name: Literal["pydoc"]

    def load(self) -> TextData:
        """Collect the text, and split it.

        Raises:
            DataMissing: Python was installed without it, or a part has fewer tokens than asked for.
        """
        return self.split(pydoc_text(), "the text of Python's help")


def pydoc_text() -> str:
    """Give the prose of Python's help, one paragraph a line.

    A paragraph is prose if it has five words or more, ends as a sentence does, and consists of
    letters and spaces for the most part: headings, tables, grammar and most examples are left out.
    One that is there again, as many are under several topics, is left out, too: otherwise one would
    be tested on what was trained on.

    Raises:
        DataMissing: Python was installed without it.
    """
    try:
        from pydoc_data.topics import topics  # half a megabyte that hardly any process needs
    except ImportError as error:
        raise DataMissing(
            f"pydoc_data.topics: must be part of Python's library, is not here ({error}); install "
            "the whole of it, or take another text"
        ) from error
    paragraphs = (
        " ".join(paragraph.split())
        for _, topic in sorted(topics.items())
        for paragraph in re.split(r"\n\s*\n", topic)
    )
    return "".join(f"{prose}\n" for prose in dict.fromkeys(filter(_is_prose, paragraphs)))


def _is_prose(paragraph: str) -> bool:
    num_letters = sum(character.isalpha() or character == " " for character in paragraph)
    return (
        len(paragraph.split()) >= MIN_WORDS
        and paragraph.endswith((".", ":", ".)"))
        and num_letters >= MIN_LETTERS_FRACTION * len(paragraph)
        and ">>>" not in paragraph
        and "::=" not in paragraph
    )
