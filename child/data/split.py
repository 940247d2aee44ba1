"""Which images of a data set go where."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

SplitSeed = Annotated[int, Field(ge=0, lt=2**63, description="Which images go where.")]


def draw(total: int, sizes: Sequence[int], seed: int) -> list[NDArray[np.int64]]:
    """Draw sets of the given sizes, of which no two overlap, out of the numbers below total.

    A set is the same whatever the sizes of those behind it; the first numbers of a set are those
    of a smaller one in its place.

    Raises:
        ValueError: the sizes add up to more than total.

    >>> [part.tolist() for part in draw(7, [2, 3], seed=0)]
    [[2, 4], [3, 6, 5]]
    """
    bounds = [0, *accumulate(sizes)]
    if bounds[-1] > total:
        raise ValueError(f"sizes={list(sizes)}: must add up to at most {total}")
    order = np.random.Generator(np.random.PCG64(seed)).permutation(total)
    return [order[start:stop] for start, stop in pairwise(bounds)]
