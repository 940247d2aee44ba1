"""Aging evolution, against the distribution of its children written out by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError
from support.children import FakeChildren, completed, infeasible
from support.searches import assert_complete, make_reinforce, make_replica, mean_choice, run_search
from support.spaces import ChainSpace, ConditionalSpace

from child.convolutional.space import ConvolutionalSpace
from child.convolutional.space_settings import ConvolutionalSettings
from child.space import Decision
from controller.evolution import Evolution, EvolutionSettings
from controller.population import Individual
from controller.random_search import RandomSearch
from controller.schedule import ScheduleSettings

PAIRS = ChainSpace({"color": 2, "shape": 3})
CONDITIONAL = ConditionalSpace()
SKIPS = ConvolutionalSpace(
    ConvolutionalSettings(filter_heights=(1, 3), filter_widths=(5,), num_filters=(2,))
)


class Fixed:
    """A population that stays as it is, and notes how often, and for how many, it was asked."""

    def __init__(self, *individuals):
        self.individuals = individuals
        self.asked = []

    def newest(self, number):
        self.asked.append(number)
        return self.individuals[:number]


def evolution(space, *individuals, population_size=None, tournament_size=1):
    settings = EvolutionSettings(
        population_size=population_size or len(individuals), tournament_size=tournament_size
    )
    return Evolution(space, 5, settings, Fixed(*individuals))


def all_like(choices, depth=1, reward=0.5):
    """Give a population of two that are the same."""
    return [Individual(depth, choices, reward)] * 2


def generators(number, start=0):
    return [np.random.default_rng((11, start + i)) for i in range(number)]


def children(strategy, depth=1, number=6000):
    return Counter(r.choices for r in strategy.sample([depth] * number, generators(number)))


def assert_distributed(found, probabilities):
    """Compare counts with probabilities by the chi-square statistic."""
    assert sum(probabilities.values()) == pytest.approx(1)
    assert set(found) <= set(probabilities), "something has the probability 0"
    number = found.total()
    statistic = sum(
        (found[each] - number * p) ** 2 / (number * p) for each, p in probabilities.items()
    )
    freedom = len(probabilities) - 1
    assert statistic < freedom + 4.5 * np.sqrt(2 * freedom)


def test_settings_by_default_are_those_of_real_et_al():
    assert EvolutionSettings() == EvolutionSettings(population_size=100, tournament_size=25)


@pytest.mark.parametrize("wrong", [{"population_size": 1}, {"tournament_size": 0}, {"size": 3}])
def test_settings_that_make_no_evolution_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        EvolutionSettings(**wrong)


def test_tournament_of_more_than_the_population_is_refused_and_of_all_of_it_is_not():
    with pytest.raises(
        ValidationError, match="tournament_size=25: must be at most population_size=9"
    ):
        EvolutionSettings(population_size=9)
    assert EvolutionSettings(population_size=9, tournament_size=9).tournament_size == 9


# --- Mutations.


def test_child_differs_in_one_choice_any_decision_and_any_other_choice():
    found = children(evolution(PAIRS, *all_like((1, 2))))

    assert_distributed(found, {(0, 2): 1 / 2, (1, 0): 1 / 4, (1, 1): 1 / 4})


def test_child_of_a_conditional_list_keeps_what_still_stands_and_draws_what_is_new():
    found = children(evolution(CONDITIONAL, *all_like((1, 2))))

    # The type, or the size, changes. Type 0 has a size, which is kept, and a new color.
    of_type = {(0, 2, 0): 1 / 8, (0, 2, 1): 1 / 8, (2,): 1 / 4}
    assert_distributed(found, of_type | {(1, 0): 1 / 4, (1, 1): 1 / 4})


def test_what_follows_a_shorter_or_longer_layer_is_kept_though_it_stands_elsewhere():
    # Type 0, size 1, color 1; then type 2; then type 1, size 2.
    parent = (0, 1, 1, 2, 1, 2)
    found = children(evolution(CONDITIONAL, *all_like(parent, depth=3)), depth=3, number=12_000)

    mutated = 1 / 6
    expected = {
        # The first type: without its color, or its size either; the later size is the first then.
        (1, 1, 2, 1, 2): mutated / 2,
        (2, 2, 1, 1): mutated / 2,
        **{(0, size, 1, 2, 1, 2): mutated / 2 for size in (0, 2)},
        (0, 1, 0, 2, 1, 2): mutated,
        # The second type: its size is the second of the parent, and the third is new.
        **{(0, 1, 1, 1, 2, 1, size): mutated / 2 / 3 for size in range(3)},
        **{
            (0, 1, 1, 0, 2, color, 1, size): mutated / 2 / 6
            for size in range(3)
            for color in range(2)
        },
        # The third type: its size is kept where it has one, its color is new.
        (0, 1, 1, 2, 2): mutated / 2,
        **{(0, 1, 1, 2, 0, 2, color): mutated / 2 / 2 for color in range(2)},
        **{(0, 1, 1, 2, 1, size): mutated / 2 for size in (0, 1)},
    }
    assert_distributed(found, expected)


def test_decision_of_the_same_kind_with_another_number_of_choices_is_drawn_anew():
    class Growing(ChainSpace):
        """The second decision has one choice more than the first was."""

        def next_decision(self, choices, depth):
            if len(choices) == 2:
                return None
            return Decision("size", 2 if not choices else choices[0] + 2)

    found = children(evolution(Growing({"size": 3}), *all_like((0, 1))))

    # Of the first: then the second has three choices, and none is kept.
    expected = {(0, 0): 1 / 2, **{(1, size): 1 / 6 for size in range(3)}}
    assert_distributed(found, expected)


def test_one_bit_of_an_anchor_point_flips():
    # Filter height, anchor point; for each of three layers. Other decisions have one choice.
    kinds, parent = [], []
    while (decision := SKIPS.next_decision(parent, 3)) is not None:
        kinds.append(decision)
        parent.append(0b10 if decision.num_choices == 4 else decision.num_choices - 1)
    steps = [i for i, decision in enumerate(kinds) if decision.num_choices > 1]
    assert [kinds[i].num_choices for i in steps] == [2, 2, 2, 2, 4]
    *heights_and_first, last = steps

    found = children(evolution(SKIPS, *all_like(tuple(parent), depth=3)), depth=3)

    def changed(step, choice):
        return (*parent[:step], choice, *parent[step + 1 :])

    expected = {changed(step, parent[step] ^ 1): 1 / 5 for step in heights_and_first}
    # One bit, not any other choice: 0b01 differs in two.
    expected |= {changed(last, 0b11): 1 / 10, changed(last, 0b00): 1 / 10}
    assert_distributed(found, expected)


def test_anchor_point_with_more_bits_than_a_machine_word_is_mutated():
    skips = ConvolutionalSpace(
        ConvolutionalSettings(filter_heights=(3,), filter_widths=(3,), num_filters=(4,))
    )
    [parent] = RandomSearch(skips, 5).sample([80], generators(1))

    rollouts = evolution(skips, *all_like(parent.choices, depth=80)).sample(
        [80] * 20, generators(20)
    )

    for rollout in rollouts:
        differences = [a ^ b for a, b in zip(rollout.choices, parent.choices, strict=True) if a ^ b]
        assert [each.bit_count() for each in differences] == [1]


def test_list_in_which_nothing_can_be_decided_is_repeated():
    space = ChainSpace({"color": 1})

    assert children(evolution(space, *all_like((0, 0), depth=2)), depth=2, number=3) == {(0, 0): 3}


@pytest.mark.parametrize("space", [PAIRS, CONDITIONAL, SKIPS])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_children_are_complete_lists_of_their_depth_whatever_that_of_their_parents(space, depth):
    rollouts = RandomSearch(space, 5).sample([1, 2, 3, 4], generators(4))
    parents = [Individual(d, r.choices, 0.5) for d, r in zip((1, 2, 3, 4), rollouts, strict=True)]

    found = children(evolution(space, *parents), depth, number=50)

    for choices in found:
        assert len(space.decode(choices, depth).layers) == depth


def test_parent_of_fewer_layers_gets_new_ones_beside_its_mutation():
    found = children(evolution(PAIRS, *all_like((1, 2))), depth=2, number=12_000)

    # The new layer is one of six, uniformly; then one of the four decisions changes.
    layers = [(color, shape) for color in range(2) for shape in range(3)]
    expected = Counter()
    for color, shape in layers:
        expected[0, 2, color, shape] += 1 / 6 / 4
        for other in (0, 1):
            expected[1, other, color, shape] += 1 / 6 / 4 / 2
        expected[1, 2, 1 - color, shape] += 1 / 6 / 4
        for other in {0, 1, 2} - {shape}:
            expected[1, 2, color, other] += 1 / 6 / 4 / 2
    assert_distributed(found, expected)


def test_parent_of_more_layers_loses_the_last_ones():
    found = children(evolution(PAIRS, *all_like((1, 2, 0, 0), depth=2)), depth=1)

    assert_distributed(found, {(0, 2): 1 / 2, (1, 0): 1 / 4, (1, 1): 1 / 4})


# --- Parents.


@pytest.mark.parametrize("size", [1, 2, 3])
def test_parent_is_the_best_of_so_many_drawn_from_the_population_with_replacement(size):
    space = ChainSpace({"color": 2, "shape": 4, "size": 1})
    rewards = [0.3, 0.9, 0.0, 0.6]
    individuals = [Individual(1, (0, shape, 0), r) for shape, r in enumerate(rewards)]
    strategy = evolution(space, *individuals, tournament_size=size)

    # The parent of those that kept their shape; of the others it cannot be told.
    found = Counter(
        choices[1] for choices in children(strategy, number=12_000).elements() if choices[0] == 1
    )

    # At most the k-th best: all draws are among it and the worse ones.
    order = sorted(range(4), key=lambda shape: rewards[shape])
    below = [((rank + 1) / 4) ** size for rank in range(4)]
    expected = dict(zip(order, np.diff([0.0, *below]).tolist(), strict=True))
    assert_distributed(found, expected)


def test_parents_of_equal_reward_are_equally_likely():
    space = ChainSpace({"color": 2, "shape": 4})
    individuals = [Individual(1, (0, shape), 0.5) for shape in range(4)]
    strategy = evolution(space, *individuals, tournament_size=3)

    found = Counter(
        choices[1] for choices in children(strategy, number=12_000).elements() if choices[0] == 1
    )

    assert_distributed(found, dict.fromkeys(range(4), 1 / 4))


def test_oldest_are_no_parents_even_if_they_are_the_best():
    newest = [Individual(1, (0, 0), 0.1)] * 4
    old = [Individual(1, (1, 2), 1.0)] * 4
    strategy = evolution(PAIRS, *newest, *old, population_size=4, tournament_size=4)

    found = children(strategy)

    assert_distributed(found, {(1, 0): 1 / 2, (0, 1): 1 / 4, (0, 2): 1 / 4})


def test_population_is_asked_for_once_for_all_that_is_sampled_together():
    strategy = evolution(PAIRS, *all_like((1, 2)))

    strategy.sample([1] * 8, generators(8))
    strategy.sample([1], generators(1))

    assert strategy._population.asked == [2, 2]


def test_fewer_than_the_population_are_no_parents_and_the_search_is_random():
    strategy = evolution(CONDITIONAL, *all_like((1, 2)), population_size=3)

    rollouts = strategy.sample([1, 2, 3], generators(3))

    assert rollouts == RandomSearch(CONDITIONAL, 5).sample([1, 2, 3], generators(3))


# --- As a strategy.


def test_rollout_is_a_function_of_its_generator_and_the_population_alone():
    individuals = [
        Individual(2, r.choices, r.choices[0] / 3)
        for r in RandomSearch(CONDITIONAL, 5).sample([2] * 9, generators(9))
    ]
    strategy, depths = evolution(CONDITIONAL, *individuals, tournament_size=2), [2] * 20

    together = strategy.sample(depths, generators(20))
    backwards = strategy.sample(depths, generators(20)[::-1])[::-1]
    strategy.load(np.ones(5, np.float32))
    again = strategy.sample(depths, generators(20))
    others = strategy.sample(depths, generators(20, start=20))

    assert together == backwards == again
    assert others != together
    assert len(set(together)) > 8


def test_log_probs_of_a_mutation_are_not_known():
    [rollout] = evolution(PAIRS, *all_like((1, 2))).sample([1], generators(1))

    assert rollout.log_probs == ()


def test_gradient_is_zero_and_of_the_length_of_the_parameters():
    strategy = evolution(PAIRS, *all_like((1, 2)))
    rollouts = strategy.sample([1, 1], generators(2))

    gradient = strategy.gradient([1, 1], rollouts, [1.0, -0.5], is_reweighted=True)

    assert (gradient.dtype, gradient.shape) == (np.float32, (5,))
    assert not gradient.any()


# --- In a search.

FOUR = ChainSpace({"color": 4, "shape": 4, "size": 4, "weight": 4})


def run(create_ledger, serve, strategy_of, num_trials, reward=mean_choice, file="one", **options):
    """Run a search of one replica with the strategy for its ledger, and give the ledger."""
    space = options.pop("space", FOUR)
    ledger = create_ledger(num_trials, options.pop("schedule", None), file=file)
    shards = serve(make_reinforce(space))
    strategy = strategy_of(space, shards.layout.num_parameters, ledger)
    run_search(ledger, shards, space, strategy, FakeChildren(reward, 4), **options)
    assert_complete(ledger, shards, num_trials)
    return ledger.trials()


def small(space, num_parameters, ledger):
    settings = EvolutionSettings(population_size=12, tournament_size=4)
    return Evolution(space, num_parameters, settings, ledger)


def rewards_of(trials):
    return [trial.reward for trial in trials]


def test_evolution_beats_random_search_from_its_population_on(create_ledger, serve):
    bred = run(create_ledger, serve, small, 100)
    drawn = run(create_ledger, serve, lambda s, n, _: RandomSearch(s, n), 100, file="random")

    # Until the population is full both are the same; the mean of random choices is 1/2.
    assert [t.decisions for t in bred[:12]] == [t.decisions for t in drawn[:12]]
    assert [t.log_probs for t in bred[:12]] == [t.log_probs for t in drawn[:12]]
    assert all(trial.log_probs == [] for trial in bred[12:])
    # A mutation of the very best has 5/6 in the mean; 50 random ones have the deviation 0.026.
    assert 5 / 6 > np.mean(rewards_of(bred[-50:])) > 0.68
    assert np.mean(rewards_of(drawn[-50:])) == pytest.approx(0.5, abs=0.09)


def test_every_trial_is_a_mutation_of_one_of_the_newest_at_its_sampling(create_ledger, serve):
    trials = run(create_ledger, serve, small, 40)

    by_number = sorted(trials, key=lambda trial: trial.record_number)
    for trial in trials[12:]:
        # Rounds are of four, and all before are recorded.
        before = (trial.trial - 1) // 4 * 4
        assert {t.trial for t in by_number[:before]} == set(range(1, before + 1))
        population = by_number[before - 12 : before]
        distances = [
            sum(a != b for a, b in zip(trial.decisions, other.decisions, strict=True))
            for other in population
        ]
        assert min(distances) <= 1


def test_infeasible_trials_are_of_the_population_with_reward_0(create_ledger, serve):
    def of_color_0(architecture):
        return infeasible() if architecture.layers[0][0] == ("color", 0) else completed(0.5)

    trials = run(create_ledger, serve, small, 60, of_color_0)

    is_infeasible = [trial.state == "infeasible" for trial in trials]
    assert sum(is_infeasible[:12]) > 0
    assert np.mean(is_infeasible[-30:]) < 0.25


def test_search_goes_on_where_depths_grow(create_ledger, serve):
    schedule = ScheduleSettings(num_layers=1, increase=1, increase_every=16)

    trials = run(create_ledger, serve, small, 48, space=CONDITIONAL, schedule=schedule)

    assert [trial.depth for trial in trials] == [1] * 16 + [2] * 16 + [3] * 16
    assert [len(trial.architecture["layers"]) for trial in trials] == [t.depth for t in trials]


def test_search_goes_on_in_another_life_with_the_population_it_had(create_ledger, serve):
    whole = run(create_ledger, serve, small, 32)

    ledger = create_ledger(32, file="again")
    shards = serve(make_reinforce(FOUR))
    while not ledger.progress().is_complete:
        strategy = small(FOUR, shards.layout.num_parameters, ledger)
        children = FakeChildren(mean_choice, 4)
        replica, client = make_replica(ledger, FOUR, strategy, children), shards.client()
        replica.advance(client, ())
        # Four results, a push, and the next round begun; then it is gone.
        for _ in range(4):
            replica.advance(client, children.ended())

    assert [trial.decisions for trial in ledger.trials()] == [trial.decisions for trial in whole]
    assert ledger.trials()[-1].incarnation > 6
