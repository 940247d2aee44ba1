from __future__ import annotations

import numpy as np
import pytest

from child.data.split import draw


def test_sets_that_are_drawn_have_their_sizes_and_nothing_twice():
    parts = draw(20, [5, 0, 12], seed=3)

    assert [len(part) for part in parts] == [5, 0, 12]
    together = np.concatenate(parts)
    assert len(set(together.tolist())) == 17
    assert set(together.tolist()) <= set(range(20))


def test_sizes_behind_a_set_do_not_change_it():
    first, _ = draw(20, [5, 3], seed=3)
    again, longer = draw(20, [5, 9], seed=3)

    assert first.tolist() == again.tolist()
    assert longer[:3].tolist() == draw(20, [5, 3], seed=3)[1].tolist()


def test_other_seed_draws_other_sets():
    assert draw(50, [25], seed=0)[0].tolist() != draw(50, [25], seed=1)[0].tolist()


def test_more_than_there_is_is_not_drawn():
    with pytest.raises(ValueError, match=r"sizes=\[11, 10\]: must add up to at most 20"):
        draw(20, [11, 10], seed=0)
