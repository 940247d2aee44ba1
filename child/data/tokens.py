"""Tokens: what a text is cut into, words or characters, and how it is put together again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Unit = Literal["words", "characters"]

END_OF_LINE = "<eos>"

# Letters, digits and underscores, with apostrophes between them; or any other character alone.
_WORD_OR_MARK = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


def words(text: str, *, split_punctuation: bool = False) -> list[str]:
    r"""Cut a text at white space, with `<eos>` for the end of every line.

    Lines end with "\n" alone. An empty one is an `<eos>`, too; words behind the last "\n" are a
    line all the same. Counted like this Penn Treebank and WikiText-2 have the numbers of tokens
    that their users report.

    Args:
        split_punctuation: cut off, too, every character that is no letter, digit or underscore; an
            apostrophe within a word is part of it.

    Source: Mikolov et al. 2010 and Zaremba et al. 2014 for Penn Treebank, Merity et al. 2017 for
    WikiText-2. How punctuation is cut off is ours.

    >>> words("it's late , he said.\n\nreally?\n")
    ["it's", 'late', ',', 'he', 'said.', '<eos>', '<eos>', 'really?', '<eos>']
    >>> words("it's late, he said.", split_punctuation=True)
    ["it's", 'late', ',', 'he', 'said', '.', '<eos>']
    """
    *lines, rest = text.split("\n")
    if rest.strip():
        lines.append(rest)
    tokens: list[str] = []
    for line in lines:
        tokens += _WORD_OR_MARK.findall(line) if split_punctuation else line.split()
        tokens.append(END_OF_LINE)
    return tokens


def characters(text: str) -> list[str]:
    """Cut a text into its characters, white space and the ends of lines included."""
    return list(text)


def words_or_characters(text: str, unit: Unit) -> list[str]:
    """Cut a text whose words somebody has cut already, with white space between them.

    The characters are those of its words, with one space between two of them, and the ends of its
    lines: white space of which the authors of the text were careless is nothing to learn.
    """
    tokens = words(text)
    return tokens if unit == "words" else characters(join(tokens, "words"))


def join(tokens: Sequence[str], unit: Unit) -> str:
    r"""Put tokens together to a text: characters give the one they came from.

    Words have one space between them, and "\n" for `<eos>`.

    >>> join(["so", "it", "ends", "<eos>", "<eos>", "or"], "words")
    'so it ends\n\nor'
    """
    if unit == "characters":
        return "".join(tokens)
    lines: list[list[str]] = [[]]
    for token in tokens:
        if token == END_OF_LINE:
            lines.append([])
        else:
            lines[-1].append(token)
    return "\n".join(" ".join(line) for line in lines)
