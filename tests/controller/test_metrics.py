"""What Prometheus is told of a replica."""

from itertools import count

from support.children import FakeChildren, completed, infeasible
from support.clock import FakeClock
from support.searches import IMPATIENT, Overflowing, make_reinforce, make_replica
from support.spaces import ChainSpace, ConditionalSpace

from controller.metrics import ReplicaMetrics
from ps.plan import UpdateSettings
from ps.push import PushAnswer


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(f"nasrl_replica_{name}", {"replica": "4", **labels})


def third_is_infeasible():
    number = count(1)
    return lambda _: completed(0.5) if next(number) % 3 else infeasible()


def test_replica_counts_its_trials_and_pushes(create_ledger, serve):
    space = ConditionalSpace()
    ledger, reinforce = create_ledger(6), make_reinforce(space)
    children = FakeChildren(third_is_infeasible(), 2)
    replica = make_replica(ledger, space, reinforce, children, replica=4)
    replica.run(serve(reinforce).client())
    assert value(replica.metrics, "incarnation") == 1
    assert value(replica.metrics, "trials_total", result="completed") == 4
    assert value(replica.metrics, "trials_total", result="infeasible") == 2
    assert value(replica.metrics, "child_seconds_sum") == 6 * 0.5
    assert value(replica.metrics, "pushes_total") == 3
    assert value(replica.metrics, "gradient_seconds_count") == 3
    assert value(replica.metrics, "reward") == 0.25  # of the fifth, and of the sixth


def test_replica_counts_rewards_that_were_known(create_ledger, serve):
    space = ChainSpace({"color": 2})
    ledger, reinforce = create_ledger(5), make_reinforce(space)
    children = FakeChildren(lambda _: completed(0.5), 1)
    replica = make_replica(ledger, space, reinforce, children, replica=4, reuse=True)
    replica.run(serve(reinforce).client())
    trained = value(replica.metrics, "trials_total", result="completed")
    assert value(replica.metrics, "trials_total", result="reused") == 5 - trained > 0


def test_replica_counts_gradients_that_were_too_stale(create_ledger, serve):
    space = ConditionalSpace()
    ledger, reinforce = create_ledger(2), make_reinforce(space)
    shards = serve(reinforce, updates=UpdateSettings(staleness="refuse", max_staleness=0))

    def push_meanwhile(_):
        other = shards.client()
        other.push(9, 1, 1, other.pull().versions, reinforce.values)
        return completed(0.5)

    replica = make_replica(ledger, space, reinforce, FakeChildren(push_meanwhile, 2), replica=4)
    replica.run(shards.client())
    assert value(replica.metrics, "refused_pushes_total") == 1
    assert value(replica.metrics, "gradient_seconds_count") == 2


def test_replica_counts_calls_that_no_attempt_was_answered_of(create_ledger, serve, tmp_path):
    space = ConditionalSpace()
    ledger, reinforce = create_ledger(1), make_reinforce(space)
    shards = serve(reinforce, folder=tmp_path)
    renew = ledger.renew
    shards.servers[0].close()
    ledger.renew = lambda owner: (shards.revive(0), renew(owner))  # while it waits
    children = FakeChildren(lambda _: completed(0.5), 1)
    replica = make_replica(ledger, space, reinforce, children, replica=4)
    replica.run(shards.client(IMPATIENT))
    assert value(replica.metrics, "unanswered_calls_total") == 1


def test_replica_counts_rewards_that_have_no_finite_gradient(create_ledger, serve):
    space = ConditionalSpace()
    ledger, reinforce = create_ledger(8), Overflowing.at_first(space, num_lost=6)
    replica = make_replica(
        ledger, space, reinforce, FakeChildren(lambda _: completed(0.5), 2), replica=4
    )
    replica.run(serve(reinforce).client())
    assert value(replica.metrics, "lost_rewards_total") == 6
    assert value(replica.metrics, "pushes_total") == 4


def test_push_is_told_by_its_mean_reward_and_its_greatest_staleness():
    metrics = ReplicaMetrics(4)
    metrics.pushed([0.25, 0.75], [PushAnswer(9, 9, 3, 5), PushAnswer(9, 9, 4, 4)])
    assert value(metrics, "pushes_total") == 1
    assert value(metrics, "reward") == 0.5
    assert value(metrics, "staleness_pushes_sum") == 4
    assert value(metrics, "sample_staleness_pushes_sum") == 5


def test_resends_are_the_attempts_after_the_first():
    metrics = ReplicaMetrics(4)
    metrics.called("Push", 0.5, 1)
    metrics.called("Push", 2.5, 3)
    assert value(metrics, "resends_total", method="Push") == 2
    assert value(metrics, "resends_total", method="Pull") == 0
    assert value(metrics, "call_seconds_sum", method="Push") == 3.0


def test_gradient_takes_as_long_as_the_clock_says():
    clock = FakeClock()
    metrics = ReplicaMetrics(4, clock)
    with metrics.computing():
        clock.advance(1.5)
    assert value(metrics, "gradient_seconds_sum") == 1.5


def test_counts_are_there_before_anything_happens():
    metrics = ReplicaMetrics(4)
    for result in ("completed", "infeasible", "reused"):
        assert value(metrics, "trials_total", result=result) == 0
    names = ("pushes_total", "refused_pushes_total", "lost_rewards_total", "unanswered_calls_total")
    for name in names:
        assert value(metrics, name) == 0


def test_child_workers_are_counted_when_somebody_looks():
    metrics, workers = ReplicaMetrics(4), {"ready": 1}
    metrics.watch_workers(lambda: workers, lambda: 7)
    assert value(metrics, "child_workers", state="ready") == 1
    workers["ready"] = 2
    assert value(metrics, "child_workers", state="ready") == 2
    assert value(metrics, "child_worker_deaths_total") == 7
