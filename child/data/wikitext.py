"""WikiText-2: articles of Wikipedia, twice as much text as Penn Treebank."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from child.data.corpus import Corpus, find, read_text
from child.data.location import FolderPath
from child.data.text import TextData
from child.data.text_options import TextOptions
from child.data.tokens import words_or_characters

CORPUS = Corpus("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens", "wikitext-2")
ORIGIN = "get wikitext-2-v1.zip from https://wikitext.smerity.com, the site of one of its authors"


class WikiTextSettings(TextOptions):
    """Where the files are, and which of their tokens are read.

    Words: 2,088,628 to train on, 217,646 to validate on, 245,569 to test on, 33,278 different ones
    with the text's own `<unk>` and `<eos>` at the ends of lines, empty ones included: so count its
    authors (Merity et al. 2017, Pointer Sentinel Mixture Models).
    """

    name: Literal["wikitext-2"]
    folder: FolderPath = Field(description="Where wiki.train.tokens and the other two files are.")

    def load(self) -> TextData:
        """Read the files.

        Raises:
            DataMissing: they are not there, or have fewer tokens than asked for.
            DataCorrupt: one is no text.
        """
        corpus, folder = find(Path(self.folder), [CORPUS], ORIGIN)
        train, validation, test = (
            words_or_characters(read_text(folder / name), self.unit) for name in corpus.files
        )
        return self.assemble(train, validation, test, f"data.folder={self.folder}")
