"""Every random draw of a search, as a function of the search's seed and nothing that came before.

No generator's state needs saving: trial t draws from a counter-based generator keyed
(search seed, t), whoever runs it, whenever, and however often.
"""

from __future__ import annotations

import numpy as np

# What a generator is for; the same key never serves two purposes.
_WEIGHTS, _ROLLOUT, _CHILD, _GRID, _FINAL = range(5)


def weights_generator(search_seed: int) -> np.random.Generator:
    """Give the generator of the policy's first weights."""
    return _generator(search_seed, _WEIGHTS, 0)


def rollout_generator(search_seed: int, trial: int) -> np.random.Generator:
    """Give the generator that a trial's choices are drawn with."""
    return _generator(search_seed, _ROLLOUT, trial)


def child_seed(search_seed: int, trial: int) -> int:
    """Give the seed that a trial's child trains with, in [0, 2**63)."""
    return int(_generator(search_seed, _CHILD, trial).integers(2**63))


def grid_seed(search_seed: int, number: int) -> int:
    """Give one of the seeds of a grid after the search, the same for all its points.

    It is not that of the trial: with that one the trial is among the best, by luck, too.

    Args:
        number: from 1.
    """
    return int(_generator(search_seed, _GRID, number).integers(2**63))


def final_seed(search_seed: int, number: int) -> int:
    """Give one of the seeds that the network is trained with that the grid has chosen.

    Args:
        number: from 1.
    """
    return int(_generator(search_seed, _FINAL, number).integers(2**63))


def _generator(search_seed: int, purpose: int, trial: int) -> np.random.Generator:
    # SeedSequence fills up with zeros: a purpose that is numbered is so from 1, or that of a search
    # with a seed of 2**32 could be one of another search.
    return np.random.Generator(
        np.random.Philox(np.random.SeedSequence((search_seed, purpose, trial)))
    )
