from __future__ import annotations

import subprocess
import sys

import pytest

from controller import seeds

TRIALS = range(1, 51)
SEARCH_SEEDS = (0, 1, 2, 2**32, 2**40 + 1)


def first_draw(generator):
    """Give the draw that would be a child's seed, if the generator were that child's."""
    return int(generator.integers(2**63))


def draws_of_a_search(search_seed):
    """Give the first draw of every generator of a search, and what its children train with."""
    return {
        "weights": first_draw(seeds.weights_generator(search_seed)),
        **{("r", t): first_draw(seeds.rollout_generator(search_seed, t)) for t in TRIALS},
        **{("c", t): seeds.child_seed(search_seed, t) for t in TRIALS},
        **{("g", n): seeds.grid_seed(search_seed, n) for n in range(1, 51)},
        **{("f", n): seeds.final_seed(search_seed, n) for n in range(1, 51)},
    }


def test_draws_asked_for_again_in_another_order_are_the_same():
    forward = [first_draw(seeds.rollout_generator(7, trial)) for trial in TRIALS]
    child_seeds = [seeds.child_seed(7, trial) for trial in TRIALS]
    backward = [first_draw(seeds.rollout_generator(7, trial)) for trial in reversed(TRIALS)]

    assert backward[::-1] == forward
    assert [seeds.child_seed(7, trial) for trial in TRIALS] == child_seeds


def test_draws_of_a_generator_do_not_move_another_of_the_same_trial():
    expected = seeds.rollout_generator(7, 3).random(5).tolist()
    one, other = seeds.rollout_generator(7, 3), seeds.rollout_generator(7, 3)

    one.random(100)

    assert other.random(5).tolist() == expected


def test_draws_in_another_process_are_the_same():
    program = (
        "from controller import seeds;"
        "print(*seeds.weights_generator(7).bit_generator.random_raw(2),"
        "*seeds.rollout_generator(7, 3).bit_generator.random_raw(2), seeds.child_seed(7, 3))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    ).stdout

    assert [int(word) for word in printed.split()] == [
        *seeds.weights_generator(7).bit_generator.random_raw(2).tolist(),
        *seeds.rollout_generator(7, 3).bit_generator.random_raw(2).tolist(),
        seeds.child_seed(7, 3),
    ]


def test_draws_of_a_release_are_those_of_the_next():
    # A trial that is trained again, and a search that is run again, need these for ever.
    assert seeds.weights_generator(0).bit_generator.random_raw() == 259491006799949737
    assert seeds.rollout_generator(0, 1).bit_generator.random_raw() == 18077698173029956028
    assert seeds.child_seed(0, 1) == 1383342823407516650
    assert seeds.grid_seed(0, 1) == 5597858526997519049
    assert seeds.final_seed(0, 1) == 2085175476661067984


@pytest.mark.parametrize("search_seed", SEARCH_SEEDS)
def test_draws_for_every_purpose_and_trial_differ(search_seed):
    draws = draws_of_a_search(search_seed)

    assert len(draws) == 1 + 2 * len(TRIALS) + 2 * 50
    assert len(set(draws.values())) == len(draws)


def test_draws_of_searches_with_other_seeds_differ():
    draws = [draw for seed in SEARCH_SEEDS for draw in draws_of_a_search(seed).values()]

    assert len(set(draws)) == len(draws)


def test_child_seed_is_one_that_torch_and_the_ledger_can_hold():
    drawn = [seeds.child_seed(0, trial) for trial in range(1, 501)]

    assert min(drawn) >= 0
    assert max(drawn) < 2**63
    # Uniform over the whole range: each half has 250, standard deviation 11.
    assert 190 < sum(seed >= 2**62 for seed in drawn) < 310
