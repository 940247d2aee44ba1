"""The settings of a text, of whichever kind."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from child.data.penn_treebank import PennTreebankSettings
from child.data.pydoc_topics import PydocSettings
from child.data.text_file import TextFileSettings
from child.data.wikitext import WikiTextSettings

# Each kind can `load()` its text. None tells before how many tokens that will be: only the text
# itself can.
TextSettings = Annotated[
    PennTreebankSettings | WikiTextSettings | TextFileSettings | PydocSettings,
    Field(discriminator="name"),
]
