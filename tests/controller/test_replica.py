"""A replica with everything real but the children: ledger in a file, shards on loopback."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.children import FakeChildren, completed, infeasible
from support.searches import (
    IMPATIENT,
    NUM_SHARDS,
    SEARCH_SEED,
    Overflowing,
    Shards,
    assert_complete,
    make_reinforce,
    make_replica,
    mean_choice,
    run_search,
)
from support.spaces import ChainSpace, ConditionalSpace

from child.result import MAX_REWARD
from controller import seeds
from controller.errors import Superseded
from controller.ledger import Ledger
from controller.random_search import RandomSearch
from controller.replica import ControllerReplica
from controller.rollout import Rollout
from controller.schedule import ScheduleSettings
from ps.plan import ShardPlan, UpdateSettings
from ps.server import ServerSettings, ShardServer


def infeasible_of_type_0(architecture):
    is_type_0 = architecture.layers[0][0] == ("type", 0)
    return infeasible() if is_type_0 else mean_choice(architecture)


def mean_choice_after_meeting(barrier):
    """Reward as mean_choice does, but wait in the first round until every replica is in it."""
    meetings = iter([barrier])

    def result_of(architecture):
        for meeting in meetings:
            meeting.wait(timeout=10)
        return mean_choice(architecture)

    return result_of


# --- A search without faults.


@pytest.mark.parametrize(
    ("num_trials", "num_workers", "num_pushes"),
    [(12, 4, 3), (10, 4, 3), (3, 8, 1), (5, 1, 5)],
    ids=["full rounds", "last round short", "one short round", "one child"],
)
def test_search_of_n_trials_ends_with_n_recorded_each_in_one_closed_push(
    create_ledger, serve, num_trials, num_workers, num_pushes
):
    space = ConditionalSpace()
    ledger, reinforce = create_ledger(num_trials), make_reinforce(space)
    shards, children = serve(reinforce), FakeChildren(mean_choice, num_workers)

    run_search(ledger, shards, space, reinforce, children)

    assert_complete(ledger, shards, num_trials)
    assert len(ledger.pushes()) == num_pushes
    assert sorted(child.trial for child in children.trained) == list(range(1, num_trials + 1))


def test_search_with_infeasible_children_counts_them(create_ledger, serve):
    space = ConditionalSpace()
    ledger, reinforce = create_ledger(12), make_reinforce(space)
    shards = serve(reinforce)
    children = FakeChildren(infeasible_of_type_0, 4)

    run_search(ledger, shards, space, reinforce, children)

    assert_complete(ledger, shards, 12)
    assert 0 < ledger.progress().num_infeasible < 12


def test_depth_of_each_network_is_that_of_the_schedule(create_ledger, serve):
    space = ConditionalSpace()
    schedule = ScheduleSettings(num_layers=1, increase=2, increase_every=3)
    ledger, reinforce = create_ledger(10, schedule), make_reinforce(space)
    children = FakeChildren(mean_choice, 4)

    run_search(ledger, serve(reinforce), space, reinforce, children)

    depths = [1, 1, 1, 3, 3, 3, 5, 5, 5, 7]
    assert [len(child.architecture.layers) for child in children.trained] == depths
    assert [trial.depth for trial in ledger.trials()] == depths
    assert [len(trial.architecture["layers"]) for trial in ledger.trials()] == depths


def test_row_of_a_trial_has_all_that_its_child_was_trained_from(create_ledger, serve):
    space = ConditionalSpace()
    ledger = create_ledger(12, ScheduleSettings(num_layers=1, increase=1, increase_every=5))
    reinforce, children = make_reinforce(space), FakeChildren(mean_choice, 4)

    run_search(ledger, serve(reinforce), space, reinforce, children)

    trained = {child.trial: child for child in children.trained}
    for trial in ledger.trials():
        choices = [choice for _, choice in trial.decisions]
        kinds = [space.next_decision(choices[:i], trial.depth).kind for i in range(len(choices))]
        assert [kind for kind, _ in trial.decisions] == kinds
        architecture = space.decode(choices, trial.depth)
        assert trained[trial.trial].architecture == architecture
        assert trial.architecture == architecture.to_json()
        assert trial.seed == trained[trial.trial].seed
        assert trial.seed == seeds.child_seed(SEARCH_SEED, trial.trial)
        assert len(trial.log_probs) == len(choices)
        assert trial.reward == mean_choice(architecture).reward
        # The only replica: each round begins at the version that the one before left.
        assert trial.versions == [(trial.trial - 1) // 4] * NUM_SHARDS
    for number, push in enumerate(ledger.pushes()):
        assert push.base_versions == [number] * NUM_SHARDS
        assert push.versions == [number + 1] * NUM_SHARDS
        assert push.sample_versions == push.base_versions
        assert push.staleness == push.sample_staleness == [0] * NUM_SHARDS


def test_trials_are_in_the_ledger_as_started_before_their_children_train(create_ledger, serve):
    space = ConditionalSpace()
    ledger, reinforce = create_ledger(6), make_reinforce(space)
    seen = []

    def look(architecture):
        seen.append([trial.state for trial in ledger.trials()])
        return completed(0.5)

    run_search(ledger, serve(reinforce), space, reinforce, FakeChildren(look, 3))

    # The last child of a round ends first; each result is recorded before the next is awaited.
    first = [["started"] * 3, ["started"] * 2 + ["completed"], ["started"] + ["completed"] * 2]
    assert seen == first + [["completed"] * 3 + states for states in first]


class GradientKeepingLedger(Ledger):
    """Keeps every gradient, which the ledger itself lets go when its push is closed."""

    def __init__(self, url, clock):
        super().__init__(url, clock)
        self.gradients = []

    def open_push(self, owner, trials, base_versions, sample_versions, gradient):
        self.gradients.append(np.frombuffer(gradient, np.float32))
        return super().open_push(owner, trials, base_versions, sample_versions, gradient)


def test_gradient_of_a_round_is_that_of_its_rewards_less_their_stamped_baselines(
    create_ledger, serve, url, clock
):
    space = ConditionalSpace()
    create_ledger(8)
    reinforce, fresh = make_reinforce(space), make_reinforce(space)
    shards = serve(reinforce)
    values = []

    def look(architecture):
        values.append(shards.client().pull().values)
        return mean_choice(architecture)

    with contextlib.closing(GradientKeepingLedger(url, clock)) as ledger:
        run_search(ledger, shards, space, reinforce, FakeChildren(look, 4))
        trials, gradients = ledger.trials(), ledger.gradients

    assert len({trial.baseline for trial in trials}) > 4
    for start, gradient in zip((0, 4), gradients, strict=True):
        fresh.load(values[start])
        part = trials[start : start + 4]
        rollouts = [
            Rollout(tuple(choice for _, choice in t.decisions), tuple(t.log_probs)) for t in part
        ]
        advantages = [trial.reward - trial.baseline for trial in part]
        expected = fresh.gradient([trial.depth for trial in part], rollouts, advantages)
        assert np.abs(expected).max() > 1e-4
        np.testing.assert_allclose(gradient, expected, atol=1e-7)


def rows_and_values(create_ledger, serve, file, seed):
    space = ConditionalSpace()
    ledger, reinforce = create_ledger(16, file=file), make_reinforce(space, seed)
    shards = serve(reinforce)
    run_search(ledger, shards, space, reinforce, FakeChildren(mean_choice, 4), seed=seed)
    rows = [(t.decisions, t.log_probs, t.seed, t.reward, t.baseline) for t in ledger.trials()]
    return rows, shards.client().pull().values


def test_search_with_the_same_seed_is_the_same_bit_for_bit(create_ledger, serve):
    rows, values = rows_and_values(create_ledger, serve, "one.sqlite", seed=3)
    same_rows, same_values = rows_and_values(create_ledger, serve, "same.sqlite", seed=3)
    other_rows, _ = rows_and_values(create_ledger, serve, "other.sqlite", seed=4)

    assert same_rows == rows
    np.testing.assert_array_equal(same_values, values)
    assert all(other != row for other, row in zip(other_rows, rows, strict=True))


@pytest.mark.parametrize("num_workers", [1, 4])
def test_trial_is_drawn_from_the_search_seed_and_its_number_however_many_train_at_once(
    create_ledger, serve, num_workers
):
    space, ledger = ConditionalSpace(), create_ledger(12)
    shards = serve(make_reinforce(space))
    strategy = RandomSearch(space, shards.layout.num_parameters)

    run_search(ledger, shards, space, strategy, FakeChildren(mean_choice, num_workers))

    for trial in ledger.trials():
        generator = seeds.rollout_generator(SEARCH_SEED, trial.trial)
        [expected] = strategy.sample([trial.depth], [generator])
        assert tuple(choice for _, choice in trial.decisions) == expected.choices


# --- Several replicas, and several lives of one.


def test_replicas_side_by_side_spend_the_budget_exactly(create_ledger, serve, open_ledger):
    space, num_trials = ConditionalSpace(), 50
    ledgers = [create_ledger(num_trials), open_ledger()]
    shards, barrier = serve(make_reinforce(space)), threading.Barrier(2)
    replicas = [
        make_replica(
            ledger,
            space,
            make_reinforce(space),
            FakeChildren(mean_choice_after_meeting(barrier), 3),
            replica=number,
        )
        for number, ledger in enumerate(ledgers)
    ]
    clients = [shards.client() for _ in replicas]

    with ThreadPoolExecutor(len(replicas)) as threads:
        list(threads.map(ControllerReplica.run, replicas, clients))

    assert_complete(ledgers[0], shards, num_trials)
    pushes = ledgers[0].pushes()
    assert {push.replica for push in pushes} == {0, 1}
    for shard in range(NUM_SHARDS):
        assert {push.versions[shard] for push in pushes} == set(range(1, len(pushes) + 1))
        # Both replicas pulled before either pushed: one of the two was stale.
        assert max(push.staleness[shard] for push in pushes) >= 1
        for push in pushes:
            since = push.versions[shard] - 1 - push.base_versions[shard]
            assert push.staleness[shard] == push.sample_staleness[shard] == since


def test_replica_whose_number_was_given_to_another_takes_nothing_more(
    create_ledger, serve, contents
):
    space = ConditionalSpace()
    ledger, reinforce = create_ledger(6), make_reinforce(space)
    shards = serve(reinforce)
    children = FakeChildren(mean_choice, 3)
    past = make_replica(ledger, space, reinforce, children)
    make_replica(ledger, space, reinforce, children)
    before = contents()

    with pytest.raises(Superseded, match=r"^replica 0, incarnation 1: must be the newest, 2"):
        past.run(shards.client())

    assert contents() == before
    assert children.trained == []
    assert shards.versions == [0, 0]


def test_new_life_of_a_replica_goes_on_with_the_sequence_and_the_policy(create_ledger, serve):
    space = ConditionalSpace()
    ledger, reinforce = create_ledger(6), make_reinforce(space)
    shards = serve(reinforce)
    children = DrainingChildren(3)
    children.replica = make_replica(ledger, space, reinforce, children)
    children.replica.run(shards.client())
    assert len(ledger.trials()) == 3

    fresh = make_reinforce(space, seed=99)
    run_search(ledger, shards, space, fresh, FakeChildren(mean_choice, 3))

    assert_complete(ledger, shards, 6)
    assert [(push.sequence, push.incarnation) for push in ledger.pushes()] == [(1, 1), (2, 2)]
    assert [trial.versions for trial in ledger.trials()] == [[0, 0]] * 3 + [[1, 1]] * 3


# --- Ends.


class DrainingChildren(FakeChildren):
    """Children that have their replica drained while the first of them trains."""

    def __init__(self, num_workers):
        super().__init__(self._drain, num_workers)
        self.replica = None

    def _drain(self, architecture):
        self.replica.drain()
        return mean_choice(architecture)


def test_replica_drained_finishes_its_round_and_takes_nothing_new(create_ledger, serve):
    space = ConditionalSpace()
    ledger, reinforce = create_ledger(100), make_reinforce(space)
    shards, children = serve(reinforce), DrainingChildren(4)
    children.replica = make_replica(ledger, space, reinforce, children)

    children.replica.run(shards.client())

    assert_complete(ledger, shards, 4)
    assert len(children.trained) == 4


def test_replica_drained_before_it_runs_takes_nothing(create_ledger, serve):
    space = ConditionalSpace()
    ledger, reinforce = create_ledger(100), make_reinforce(space)
    shards, children = serve(reinforce), FakeChildren(mean_choice, 4)
    replica = make_replica(ledger, space, reinforce, children)

    replica.drain()
    replica.run(shards.client())

    assert ledger.trials() == []
    assert children.trained == []


def test_replica_that_meets_a_spent_budget_asks_nothing_of_the_shards(create_ledger, serve):
    space = ConditionalSpace()
    ledger, reinforce = create_ledger(4), make_reinforce(space)
    shards = serve(reinforce)
    run_search(ledger, shards, space, reinforce, FakeChildren(mean_choice, 4))
    for server in shards.servers:
        server.close()

    late = make_replica(ledger, space, reinforce, FakeChildren(mean_choice, 4), replica=1)
    late.run(shards.client(IMPATIENT))

    assert_complete(ledger, shards, 4)


# --- Rewards that have no finite gradient.


@pytest.mark.parametrize("rounds", [{}, {"dispatch": "continuous"}, {"correction": "clip"}])
def test_search_with_rewards_that_have_no_finite_gradient_goes_on_without_them(
    create_ledger, serve, caplog, rounds
):
    space, num_trials = ConditionalSpace(), 24
    ledger, reinforce = create_ledger(num_trials), Overflowing.at_first(space, num_lost=6)
    shards, before = serve(reinforce), reinforce.values
    client, seen = shards.client(), set()

    def reward_and_look(architecture):
        has_learned = bool((client.pull().values != before).any())
        seen.add((shards.versions[0], has_learned))
        return mean_choice(architecture)

    replica = make_replica(ledger, space, reinforce, FakeChildren(reward_and_look, 3), **rounds)
    replica.run(shards.client())

    assert_complete(ledger, shards, num_trials)
    num_lost = replica.metrics.registry.get_sample_value(
        "nasrl_replica_lost_rewards_total", {"replica": "0"}
    )
    assert num_lost == 6
    assert "count for nothing, and the search goes on" in caplog.text
    assert np.isfinite(client.pull().values).all()
    # Two pushes were of nothing; later rewards count again.
    assert {has_learned for num_pushes, has_learned in seen if num_pushes <= 2} == {False}
    assert {has_learned for num_pushes, has_learned in seen if num_pushes > 2} == {True}


def test_life_that_takes_over_such_rewards_pushes_them_and_goes_on(create_ledger, serve):
    space = ConditionalSpace()
    ledger, reinforce = create_ledger(6), make_reinforce(space)
    shards = serve(reinforce)
    past = make_replica(ledger, space, reinforce, FakeChildren(mean_choice, 3))
    client = shards.client()
    past.advance(client, ())
    # It dies with two of its three rewards recorded.
    for _ in range(2):
        past.advance(client, past._children.ended())
    assert [trial.push_sequence for trial in ledger.trials()] == [None] * 3

    late = Overflowing.at_first(space, num_lost=3)
    run_search(ledger, shards, space, late, FakeChildren(mean_choice, 3))

    assert late.num_left == 0
    assert_complete(ledger, shards, 6)


@pytest.mark.parametrize("rounds", [{}, {"correction": "clip"}])
def test_greatest_reward_that_may_be_has_a_gradient_that_shards_take(create_ledger, serve, rounds):
    space = ConditionalSpace()
    ledger, reinforce = create_ledger(12), make_reinforce(space)
    shards, rewards = serve(reinforce), itertools.cycle([0.0, MAX_REWARD, 0.5])
    children = FakeChildren(lambda _: completed(next(rewards)), 3)

    replica = make_replica(ledger, space, reinforce, children, **rounds)
    replica.run(shards.client())

    assert_complete(ledger, shards, 12)
    lost = "nasrl_replica_lost_rewards_total"
    assert replica.metrics.registry.get_sample_value(lost, {"replica": "0"}) == 0
    assert np.isfinite(shards.client().pull().values).all()


# --- What is learned.


def quarters(ledger):
    """Give the mean reward of the first and of the last quarter of a search's trials."""
    rewards = np.array([trial.reward for trial in ledger.trials()])
    length = len(rewards) // 4
    return rewards[:length].mean(), rewards[-length:].mean()


def test_search_that_learns_has_better_rewards_at_its_end(create_ledger, serve):
    space = ChainSpace({"color": 4, "shape": 4, "size": 4, "weight": 4})
    ledger, reinforce = create_ledger(240), make_reinforce(space)
    shards, before = serve(reinforce, learning_rate=0.05), reinforce.values

    run_search(ledger, shards, space, reinforce, FakeChildren(mean_choice, 6))

    first, last = quarters(ledger)
    # Uniform choices have the mean 1/2.
    assert first < 0.7
    assert last > 0.85
    assert np.abs(shards.client().pull().values - before).max() > 0.05


def test_search_at_random_learns_nothing(create_ledger, serve):
    space = ChainSpace({"color": 4, "shape": 4, "size": 4, "weight": 4})
    ledger, reinforce = create_ledger(240), make_reinforce(space)
    shards, before = serve(reinforce, learning_rate=0.05), reinforce.values
    strategy = RandomSearch(space, len(before))

    run_search(ledger, shards, space, strategy, FakeChildren(mean_choice, 6))

    # The mean of 60 uniform trials has the standard deviation 0.024.
    assert quarters(ledger) == pytest.approx((0.5, 0.5), abs=0.1)
    assert_complete(ledger, shards, 240)
    np.testing.assert_array_equal(shards.client().pull().values, before)


# --- Staleness.


class PushesInBetween(FakeChildren):
    """Children beside whose training another replica pushes, so that this one's push is stale."""

    def __init__(self, shards, num_pushes):
        super().__init__(self._push_and_reward, 3)
        self._shards = shards
        self._sequences = iter(range(1, num_pushes + 1))

    def _push_and_reward(self, architecture):
        for sequence in self._sequences:
            client = self._shards.client()
            versions = client.pull().versions
            gradient = np.full(self._shards.layout.num_parameters, 0.01, np.float32)
            client.push(7, 1, sequence, versions, gradient, versions)
        return mean_choice(architecture)


@pytest.mark.parametrize("num_between", [2, 3])
def test_push_that_a_shard_finds_too_stale_is_computed_again_under_its_name(
    create_ledger, serve, num_between
):
    space = ConditionalSpace()
    ledger, reinforce = create_ledger(3), make_reinforce(space)
    shards = serve(reinforce, updates=UpdateSettings(staleness="refuse", max_staleness=2))
    children = PushesInBetween(shards, num_between)

    run_search(ledger, shards, space, reinforce, children)

    [push] = ledger.pushes()
    is_refused = num_between > 2
    assert push.sequence == 1
    assert push.base_versions == [num_between * is_refused] * NUM_SHARDS
    assert push.staleness == [num_between * (not is_refused)] * NUM_SHARDS
    # Whatever became of it, its trials were sampled before the pushes in between.
    assert push.sample_versions == [0] * NUM_SHARDS
    assert push.sample_staleness == [num_between] * NUM_SHARDS
    assert push.versions == shards.versions == [num_between + 1] * NUM_SHARDS
    assert push.closed_at is not None
    assert [shard.describe().num_refused for shard in shards.servers] == [is_refused] * NUM_SHARDS
    assert shards.client().pull().values.tobytes() != reinforce.values.tobytes()


class ForgetfulShards(Shards):
    """Shards that keep checkpoints alone, so that they can go back."""

    def _serve(self, shard, address="127.0.0.1:0"):
        server = ShardServer(
            ShardPlan(self.layout, shard, self._optimizer, self._updates),
            ServerSettings(durability="checkpoint", drain_timeout_s=0.1),
            self._folder / str(shard),
            address,
        )
        return self._open.enter_context(server)

    def keep(self, shard):
        """Keep what a shard has on disk, for `go_back`."""
        shutil.copytree(self._folder / str(shard), self._folder / f"kept-{shard}")

    def go_back(self, shard):
        """Let a shard begin again with what was kept of it."""
        self.servers[shard].close()
        shutil.rmtree(self._folder / str(shard))
        shutil.copytree(self._folder / f"kept-{shard}", self._folder / str(shard))
        self.revive(shard)


class ClientOfShardThatGoesBack:
    """A client whose second pull finds that shard 0 has gone back since the push before it."""

    def __init__(self, shards):
        self._shards = shards
        self._client = shards.client()
        self._num_pulls = 0
        self.sent = []

    def pull(self):
        self._num_pulls += 1
        if self._num_pulls == 2:
            self._shards.go_back(0)
        return self._client.pull()

    def push(self, replica, incarnation, sequence, versions, gradient, sample_versions):
        self.sent.append((tuple(versions), tuple(sample_versions)))
        return self._client.push(
            replica, incarnation, sequence, versions, gradient, sample_versions
        )


def test_push_computed_again_at_a_shard_that_has_gone_back_is_as_old_as_that(
    create_ledger, tmp_path
):
    """Nothing is sampled later than its gradient: with its old sample versions it is refused."""
    space = ConditionalSpace()
    ledger, reinforce = create_ledger(3), make_reinforce(space)
    updates = UpdateSettings(staleness="refuse", max_staleness=2)
    with contextlib.closing(
        ForgetfulShards(reinforce.layout, reinforce.values, 0.05, updates, tmp_path / "shards")
    ) as shards:
        shards.keep(0)
        zeros = np.zeros(shards.layout.num_parameters, np.float32)
        shards.client().push(8, 1, 1, [0] * NUM_SHARDS, zeros)
        client = ClientOfShardThatGoesBack(shards)

        make_replica(ledger, space, reinforce, PushesInBetween(shards, 3)).run(client)

        assert client.sent == [((1, 1), (1, 1)), ((0, 4), (0, 1))]
        assert shards.versions == [1, 5]
    [push] = ledger.pushes()
    assert (push.base_versions, push.sample_versions) == ([0, 4], [0, 1])
    assert push.sample_staleness == [0, 3]
