"""Penn Treebank, as Mikolov et al. prepared it: the text that the paper's cells are searched on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from child.data.corpus import Corpus, find, read_text
from child.data.errors import DataCorrupt
from child.data.location import FolderPath
from child.data.text import TextData
from child.data.text_options import TextOptions
from child.data.tokens import END_OF_LINE, characters, words, words_or_characters

WORDS = Corpus("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt", "simple-examples/data")
CHARACTERS = Corpus(
    "ptb.char.train.txt", "ptb.char.valid.txt", "ptb.char.test.txt", "simple-examples/data"
)
SPACE = "_"
ORIGIN = (
    "get simple-examples.tgz, which Mikolov published as "
    "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz (the text itself is LDC99T42 of "
    "the Linguistic Data Consortium, https://catalog.ldc.upenn.edu/LDC99T42)"
)


class PennTreebankSettings(TextOptions):
    """Where the files are, and which of their tokens are read.

    Words: 929,589 to train on, 73,760 to validate on, 82,430 to test on, 10,000 different ones with
    `<eos>` at the ends of lines and the text's own `<unk>`; s4.2 of Zoph & Le 2017.

    Characters: 5,017,482, 393,042 and 442,423, 50 different ones with space and the ends of lines;
    the paper's transfer task, in bits per character (Mikolov et al. 2012). They are read from
    `ptb.char.*.txt`, which are words, as it were, of one character each, and `_` for a space, or
    else from the words' files: what is read is the same.
    """

    name: Literal["penn-treebank"]
    folder: FolderPath = Field(description="Where ptb.train.txt and the other files are.")

    def load(self) -> TextData:
        """Read the files.

        Raises:
            DataMissing: they are not there, or have fewer tokens than asked for.
            DataCorrupt: one is no text, or is not what its name says.
        """
        corpora = [WORDS] if self.unit == "words" else [CHARACTERS, WORDS]
        corpus, folder = find(Path(self.folder), corpora, ORIGIN)
        train, validation, test = (self._read(corpus, folder / name) for name in corpus.files)
        return self.assemble(train, validation, test, f"data.folder={self.folder}")

    def _read(self, corpus: Corpus, path: Path) -> list[str]:
        text = read_text(path)
        if corpus == CHARACTERS:
            return characters("".join(_character(token, path) for token in words(text)))
        return words_or_characters(text, self.unit)


def _character(token: str, path: Path) -> str:
    if token == END_OF_LINE:
        return "\n"
    if len(token) > 1:
        raise DataCorrupt(
            f"{path}: must have white space between any two characters, and {SPACE} for a space; "
            f"has {token!r}"
        )
    return " " if token == SPACE else token
