"""The settings that all texts have in common."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from child.data.errors import DataMissing
from child.data.text import TextData, TextTrainingData, Vocabulary
from child.data.tokens import Unit


class TextOptions(BaseModel):
    """What a token is, and how many there may be. Numbers are of tokens.

    What is not read of a part is its end: `num_train: 20000` trains on the first 20,000 tokens,
    which makes a small search of a large text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    unit: Unit = Field("words", description="What a token is: a word, or a character.")
    max_vocabulary: int | None = Field(
        None,
        ge=2,
        description="Tokens that are told apart: the most frequent ones and <unk>, which stands "
        "for the others; null: all of the text to train on.",
    )
    num_train: int | None = Field(
        None, ge=2, description="Tokens to train on, the first so many of them; null: all."
    )
    num_validation: int | None = Field(
        None, ge=2, description="Tokens that rewards are measured on, likewise."
    )
    num_test: int | None = Field(
        None, ge=2, description="Tokens that the best cell is tested on, once, likewise."
    )

    def assemble(
        self, train: Sequence[str], validation: Sequence[str], test: Sequence[str], source: str
    ) -> TextData:
        """Number the tokens of the three parts, or of so much of them as the settings ask for.

        The vocabulary depends on the tokens to train on, and on whether all others are among them;
        not on how much is validated or tested on: the winner of a search that was tested on little
        can be tested on all.

        Args:
            source: how messages name what the tokens came from.

        Raises:
            DataMissing: a part has fewer tokens than asked for, or fewer than two.
        """
        train = _first(train, self.num_train, "num_train", source)
        vocabulary = Vocabulary.build(
            train, max_size=self.max_vocabulary, others=[validation, test]
        )
        few_validation = _first(validation, self.num_validation, "num_validation", source)
        few_test = _first(test, self.num_test, "num_test", source)
        search = TextTrainingData(
            vocabulary.encode(train), vocabulary.encode(few_validation), vocabulary
        )
        return TextData(search, vocabulary.encode(few_test))


def _first(tokens: Sequence[str], limit: int | None, key: str, source: str) -> Sequence[str]:
    if limit is not None and limit > len(tokens):
        raise DataMissing(
            f"data.{key}={limit}: must be at most {len(tokens)}, the tokens that are there for it "
            f"in {source}"
        )
    if len(tokens) < 2:
        raise DataMissing(
            f"{source}: must have two tokens or more for data.{key}, one to read and the next to "
            f"predict; has {len(tokens)}"
        )
    return tokens[:limit]
