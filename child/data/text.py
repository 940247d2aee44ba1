"""A text as numbers, split for training, validation and one test, and its vocabulary."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

UNKNOWN = "<unk>"


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that a language model knows; the id of each is its place."""

    tokens: tuple[str, ...]

    @classmethod
    def build(
        cls,
        train: Sequence[str],
        *,
        max_size: int | None = None,
        others: Iterable[Collection[str]] = (),
    ) -> Self:
        """Collect the tokens to train on, the most frequent first, ties as `sorted` orders them.

        `<unk>`, which stands for all tokens that are not in the vocabulary, is part of it only
        where there are such tokens. If it occurs in the text, as in Penn Treebank's, it is a token
        like any other; otherwise it comes last. The model then never sees it while it trains,
        unless `max_size` leaves tokens out.

        Args:
            max_size: >= 2, with `<unk>`; what is left out are the rarest tokens.
            others: the tokens to validate and to test on. All that is learnt from them is whether
                one is not in the vocabulary.
        """
        counts = Counter(train)
        ranked = sorted(counts, key=lambda token: (-counts[token], token))
        max_size = max_size or len(ranked) + 1
        kept = ranked[:max_size]
        known = set(kept)
        has_all = len(kept) == len(ranked) and all(known.issuperset(part) for part in others)
        if not has_all and UNKNOWN not in known:
            kept = [*ranked[: max_size - 1], UNKNOWN]
        return cls(tuple(kept))

    @property
    def num_tokens(self) -> int:
        return len(self.tokens)

    @property
    def digest(self) -> str:
        """Tell this vocabulary from others: the SHA-256 of its tokens in their order."""
        return hashlib.sha256(json.dumps(self.tokens).encode()).hexdigest()

    def encode(self, tokens: Sequence[str]) -> NDArray[np.int64]:
        """Give the ids of N tokens, (N,) int64, read-only; `<unk>`'s for those not known.

        Raises:
            ValueError: one is not known, and there is no `<unk>`.
        """
        unknown = self._ids.get(UNKNOWN, -1)
        ids = np.fromiter(
            (self._ids.get(token, unknown) for token in tokens), np.int64, count=len(tokens)
        )
        if unknown < 0 and (ids < 0).any():
            place = int(ids.argmin())
            raise ValueError(
                f"tokens[{place}]={tokens[place]!r}: must be one of the {self.num_tokens} tokens "
                f"of a vocabulary without {UNKNOWN}"
            )
        ids.setflags(write=False)
        return ids

    def decode(self, ids: NDArray[np.int64]) -> list[str]:
        """Give the tokens of (N,) ids."""
        return [self.tokens[index] for index in ids.tolist()]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.tokens)}


@dataclass(frozen=True)
class TextTrainingData:
    """All that a child may see during a search: the text to train on and to validate on.

    train, validation: ids, (N,) int64 with N >= 2, read-only, in the order of the text; what
        follows on what is what there is to learn. `torch.tensor` copies them without a warning.
    vocabulary: of the text to train on alone.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    vocabulary: Vocabulary

    @property
    def num_tokens(self) -> int:
        """The number of different tokens: ids are below it."""
        return self.vocabulary.num_tokens

    def with_validation(self) -> Self:
        """Give data whose text to train on is all of this, that to validate on at its end.

        The vocabulary stays that of the text to train on.
        """
        train = np.concatenate([self.train, self.validation])
        train.setflags(write=False)
        return replace(self, train=train)


@dataclass(frozen=True)
class TextData:
    """A text: what a search may see, and apart from it what the winner is tested on, once.

    test: ids, as those in `search`.
    """

    search: TextTrainingData
    test: NDArray[np.int64]
