"""The settings that plain texts have in common: how words are told apart, and what is tested on."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from child.data.text import TextData
from child.data.text_options import TextOptions
from child.data.tokens import characters, words

DEFAULT_FRACTION = 0.1


class ProseOptions(TextOptions):
    """How a text as people write it becomes tokens, and which of them go where.

    The first part of the text is trained on, the next validated on, the last tested on, each in one
    piece. Lines drawn at random would leak: what stands next to a line in the same passage, with
    its names and turns of phrase, would be trained on; and a text in pieces has no order to learn.
    """

    lowercase: bool = Field(
        False, description="Whether all letters are turned into small ones first."
    )
    split_punctuation: bool = Field(
        True,
        description="Of words: each punctuation mark is a token. false: cut at white space alone, "
        "for texts whose words are told apart already.",
    )
    validation_fraction: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Of the tokens of a text that is split: its part before the last; null: 0.1.",
    )
    test_fraction: float | None = Field(
        None, gt=0, lt=1, description="Likewise, its last part; null: 0.1."
    )

    def tokens(self, text: str) -> list[str]:
        """Cut a text into tokens, as the settings say."""
        text = text.lower() if self.lowercase else text
        if self.unit == "characters":
            return characters(text)
        return words(text, split_punctuation=self.split_punctuation)

    def split(self, text: str, source: str) -> TextData:
        """Cut a text into tokens, and these into the parts to train, validate and test on.

        Raises:
            DataMissing: a part has too few tokens.
        """
        tokens = self.tokens(text)
        num_validation, num_test = (round(part * len(tokens)) for part in self._fractions)
        begin_test = len(tokens) - num_test
        begin_validation = begin_test - num_validation
        return self.assemble(
            tokens[:begin_validation],
            tokens[begin_validation:begin_test],
            tokens[begin_test:],
            source,
        )

    @property
    def _fractions(self) -> tuple[float, float]:
        return (
            self.validation_fraction or DEFAULT_FRACTION,
            self.test_fraction or DEFAULT_FRACTION,
        )

    @model_validator(mode="after")
    def _fractions_leave_some_to_train(self) -> Self:
        validation, test = self._fractions
        if validation + test >= 1:
            raise ValueError(
                f"validation_fraction={validation} and test_fraction={test}: must add up to less "
                "than 1; what is left is trained on"
            )
        return self
