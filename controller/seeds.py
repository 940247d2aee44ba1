"""Every random draw of a search, as a function of the search's seed and nothing that came before.

No generator's state needs saving: trial t draws from a counter-based generator keyed
(search seed, t), whoever runs it, whenever, and however often.
"""

from __future__ import annotations

import numpy as np

# What a generator is for; the same key never serves two purposes.
_WEIGHTS, _ROLLOUT, _CHILD = range(3)


def weights_generator(search_seed: int) -> np.random.Generator:
    """Give the generator of the policy's first weights."""
    return _generator(search_seed, _WEIGHTS, 0)


def rollout_generator(search_seed: int, trial: int) -> np.random.Generator:
    """Give the generator that a trial's choices are drawn with."""
    return _generator(search_seed, _ROLLOUT, trial)


def child_seed(search_seed: int, trial: int) -> int:
    """Give the seed that a trial's child trains with, in [0, 2**63)."""
    return int(_generator(search_seed, _CHILD, trial).integers(2**63))


def _generator(search_seed: int, purpose: int, trial: int) -> np.random.Generator:
    return np.random.Generator(
        np.random.Philox(np.random.SeedSequence((search_seed, purpose, trial)))
    )
