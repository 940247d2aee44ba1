"""A text of one's own: one file, or one for each part."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from child.data.corpus import read_text
from child.data.location import FolderPath as AbsolutePath
from child.data.prose import ProseOptions
from child.data.text import TextData


class HeldOutFiles(BaseModel):
    """The files of the parts that are not trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    validation: AbsolutePath = Field(description="The file of the text to validate on.")
    test: AbsolutePath = Field(description="The file of the text to test on.")


class TextFileSettings(ProseOptions):
    """Which files, and how they become tokens.

    The file at `path` is split, or all of it is trained on where others are held out. Files are
    text in UTF-8. Nothing is looked at before it is loaded: settings can be read where the files
    are not.
    """

    name: Literal["text"]
    path: AbsolutePath = Field(description="The file of the text.")
    held_out: HeldOutFiles | None = Field(
        None, description="Files to validate and test on; null: the text at `path` is split."
    )

    def load(self) -> TextData:
        """Read the files, and split the text if it is one.

        Raises:
            DataMissing: a file is not there, or a part has too few tokens.
            DataCorrupt: a file is not UTF-8, or holds no text.
        """
        train = read_text(Path(self.path))
        if self.held_out is None:
            return self.split(train, f"data.path={self.path}")
        return self.assemble(
            self.tokens(train),
            self.tokens(read_text(Path(self.held_out.validation))),
            self.tokens(read_text(Path(self.held_out.test))),
            f"data.path={self.path} and data.held_out={self.held_out.validation}, "
            f"{self.held_out.test}",
        )

    @model_validator(mode="after")
    def _parts_are_files_or_fractions(self) -> Self:
        if self.held_out is None:
            return self
        for key in ("validation_fraction", "test_fraction"):
            if getattr(self, key) is not None:
                raise ValueError(
                    f"{key}={getattr(self, key)}: must not be given beside held_out; nothing is "
                    "split"
                )
        paths = [self.path, self.held_out.validation, self.held_out.test]
        if len(set(paths)) < len(paths):
            raise ValueError(
                f"path={paths[0]}, held_out.validation={paths[1]} and held_out.test={paths[2]}: "
                "must be three files; what is in two parts is known by heart before it is tested on"
            )
        return self
