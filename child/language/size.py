"""How many parameters a language model has, and how many units make it as large as is wanted."""

from __future__ import annotations

from dataclasses import dataclass

from child.language.model_settings import LanguageModelSettings


@dataclass(frozen=True)
class ModelSize:
    """The sizes of a language model.

    num_blocks: the matrices of one layer in each direction, I -> U and U -> U: the leaves of a
        cell, 4 for an LSTM.
    """

    num_tokens: int
    num_blocks: int
    num_layers: int
    hidden_size: int
    embedding_size: int
    is_tied: bool

    @property
    def num_parameters(self) -> int:
        """All weights: embedding, layers without biases, and the softmax with one for each token.

        >>> ModelSize(10_000, 4, 2, 650, 650, is_tied=False).num_parameters  # Zaremba's "medium"
        19770000
        """
        embedding = self.num_tokens * self.embedding_size
        inputs = self.embedding_size + (self.num_layers - 1) * self.hidden_size
        recurrent = self.num_layers * self.hidden_size
        layers = self.num_blocks * self.hidden_size * (inputs + recurrent)
        softmax = self.num_tokens * (1 if self.is_tied else self.hidden_size + 1)
        return embedding + layers + softmax

    @classmethod
    def of(
        cls, settings: LanguageModelSettings, num_tokens: int, num_blocks: int
    ) -> ModelSize | None:
        """Give the sizes that the settings ask for, the largest within `num_parameters`.

        None: even one unit in each layer makes more parameters than that.
        """

        def sized(hidden_size: int) -> ModelSize:
            return cls(
                num_tokens,
                num_blocks,
                settings.num_layers,
                hidden_size,
                settings.embedding_size or hidden_size,
                settings.is_tied,
            )

        if settings.hidden_size is not None:
            return sized(settings.hidden_size)
        budget = settings.num_parameters
        assert budget is not None, "the settings have one of the two"
        fits, too_large = 0, 1
        while sized(too_large).num_parameters <= budget:
            fits, too_large = too_large, 2 * too_large
        while too_large - fits > 1:
            middle = (fits + too_large) // 2
            if sized(middle).num_parameters <= budget:
                fits = middle
            else:
                too_large = middle
        return sized(fits) if fits else None
