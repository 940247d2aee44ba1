"""How a search runs its course: why it ends, who is told, and what happens when nobody answers."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
from support.children import completed
from support.clock import FakeClock
from support.rounds import GRADIENT, begin, record

from child.metric import ACCURACY
from controller.baseline import Baseline
from controller.errors import LedgerUnavailable, Superseded
from controller.ledger import Ledger
from controller.records import ChildAtWork, SearchRecord
from controller.schedule import ScheduleSettings
from deploy import course as course_module
from deploy.course import PATIENCE_S, POLL_S, Course
from deploy.run import Run, RunError
from deploy.search_metrics import SearchMetrics
from deploy.settings_file import load_settings
from ps.client import ClientSettings, ShardClient
from ps.errors import ShardUnavailable
from ps.plan import ShardPlan
from ps.server import ServerSettings, ShardServer
from workers.replica_set import Workforce

NUM_TRIALS = 4
MAX_POLLS = 5000


class Replicas:
    """Take the place of a replica set: note what they are told; they return when a test says."""

    def __init__(self):
        self.told = []
        self.has_returned = False
        self.metrics_addresses = {}

    def work(self):
        self.told.append("work")
        self.has_returned = False

    def finish(self, replica):
        self.told.append(f"finish {replica}")

    def drain(self):
        self.told.append("drain")

    def scale(self, children, num_replicas):
        self.told.append((children.per_gpu_node, num_replicas))

    def rebalance(self):
        pass

    demand = ({"CPU": 2.0, "GPU": 0.5}, 2)
    workforce = Workforce(2, 1, {"wanted": 4, "ready": 3})
    children = (ChildAtWork(0, 3, "here: cpu", 2.0),)


class Room:
    """Takes the place of what the autoscaler is asked for."""

    def __init__(self):
        self.asked = []

    def ask(self, bundle, number):
        self.asked.append((bundle, number))

    def withdraw(self):
        self.asked.append("withdrawn")


class Stage:
    """A search of four trials whose ledger is real, and where a test says what happens when."""

    def __init__(self, run, ledger, clock):
        self.run, self.ledger, self.clock = run, ledger, clock
        self.life = ledger.begin_life("here", 7)
        self.owner = ledger.enlist(0, self.life).owner
        self.replicas = Replicas()
        self.room = Room()
        self.said, self.shown = [], []
        self.metrics, self.deaths = SearchMetrics(run.path, clock), {"shard 1": 2}
        self.is_stopping = self.is_over = False
        self.num_forgiven = self.num_polls = 0
        self._events = {}

    def at(self, poll, event):
        """Let something happen at the poll of that number, from 1."""
        self._events[poll] = event

    def record(self, *rewards):
        """Record trials and push them."""
        trials = record(self.ledger, self.owner, [completed(reward) for reward in rewards])
        sequence = self.ledger.open_push(self.owner, trials, (0, 0), (0, 0), GRADIENT)
        self.ledger.close_push(self.owner, sequence, (sequence,) * 2, (0, 0), (0, 0))

    def return_replicas(self):
        self.replicas.has_returned = True

    def course(self, **changes):
        settings = load_settings(overrides=[f"{key}={value}" for key, value in changes.items()])
        watcher = SimpleNamespace(say=self.said.append, show=self.shown.append)
        return Course(
            settings,
            self.run,
            self.ledger,
            SimpleNamespace(check=self._check_life, life=self.life),  # for the heartbeat
            self,  # for the supervisor
            watcher,
            lambda: self.is_stopping,
            self.metrics,
            {"search": "127.0.0.1:9"},
            self.clock,
        )

    def follow(self, **changes):
        return self.course(**changes).follow(self.replicas, self.room)

    def _check_life(self):
        if self.is_over:
            raise Superseded("the search was resumed elsewhere")

    def check(self, wait_s):
        self.clock.advance(wait_s)
        self.num_polls += 1
        assert self.num_polls < MAX_POLLS, "the search does not end"
        self._events.pop(self.num_polls, lambda: None)()

    def forgive(self):
        self.num_forgiven += 1


@pytest.fixture
def stage(tmp_path):
    run = Run.create(tmp_path / "run", load_settings())
    clock = FakeClock()
    search = SearchRecord(NUM_TRIALS, Baseline(0.9), ScheduleSettings(), ACCURACY, {}, {})
    with Ledger.create(run.ledger_url, search, clock) as ledger:
        yield Stage(run, ledger, clock)


def test_search_whose_budget_is_pushed_is_finished_when_its_replicas_have_returned(stage):
    stage.at(2, lambda: stage.record(0.1, 0.2, 0.3, 0.4))
    stage.at(5, stage.return_replicas)

    assert stage.follow() == ("finished", "")

    assert stage.num_polls == 5
    assert stage.replicas.told == ["work", "drain"]
    assert [status.progress.num_recorded for status in stage.shown] == [0, 4, 4, 4, 4]
    assert stage.said == []


def stop_by_signal(stage):
    stage.is_stopping = True


def stop_by_command(stage):
    stage.ledger.request_stop()


def let_time_pass(stage):
    stage.clock.advance(60)
    stage.ledger.beat(stage.life)


def record_a_good_one(stage):
    stage.record(0.7)


@pytest.mark.parametrize(
    ("happens", "state", "reason"),
    [
        (stop_by_signal, "stopped", "stopped by a signal"),
        (stop_by_command, "stopped", "stopped by nasrl stop"),
        (let_time_pass, "finished", "time_limit_s=60 is over"),
        (record_a_good_one, "finished", "target_reward=0.7 was reached"),
    ],
)
def test_search_drains_when_it_is_to_end_and_ends_when_its_replicas_have_returned(
    stage, happens, state, reason
):
    stage.record(0.1)
    stage.at(2, lambda: happens(stage))
    stage.at(4, stage.return_replicas)

    assert stage.follow(time_limit_s=60.0, target_reward=0.7) == (state, reason)

    assert stage.num_polls == 4
    assert stage.replicas.told == ["work", "drain"]
    assert stage.said == [f"{reason}: waiting for the children in training (Ctrl-C stops at once)"]


def test_job_has_nobody_who_could_press_ctrl_c(stage, monkeypatch):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    stage.record(0.1)
    stage.at(2, lambda: stop_by_command(stage))
    stage.at(4, stage.return_replicas)
    stage.follow()
    assert stage.said == ["stopped by nasrl stop: waiting for the children in training"]


def test_first_reason_to_end_is_the_one_that_counts(stage):
    stage.record(0.1)
    stage.at(1, stage.ledger.request_stop)
    stage.at(2, lambda: stop_by_signal(stage))
    stage.at(3, stage.return_replicas)
    assert stage.follow() == ("stopped", "stopped by nasrl stop")


def test_room_is_asked_for_until_nothing_new_is_begun(stage):
    stage.at(3, lambda: stage.record(0.1, 0.2, 0.3, 0.4))
    stage.at(5, stage.return_replicas)
    stage.follow()
    assert stage.room.asked == [stage.replicas.demand] * 2 + ["withdrawn"]


def test_last_trials_need_no_more_room_than_they_have(stage):
    # Of four trials one is in training, and none of these is recorded but those below.
    stage.at(2, lambda: stage.record(0.1, 0.2))
    stage.at(3, lambda: stage.record(0.3))
    stage.at(4, lambda: stage.record(0.4))
    stage.at(5, stage.return_replicas)
    stage.follow()
    assert [asked[1] for asked in stage.room.asked[:-1]] == [2, 1, 0]


def test_disk_that_is_full_is_a_reason_not_to_scale(stage, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(course_module, "issue_certificates", full)
    stage.at(2, lambda: ask(stage, num_replicas=9))
    stage.at(6, lambda: stage.record(0.1, 0.2, 0.3, 0.4))
    stage.at(7, stage.return_replicas)
    stage.follow()
    assert stage.replicas.told == ["work", "drain"]
    assert stage.said == ["the search goes on as it was: [Errno 28] No space left on device"]


def test_what_others_have_written_into_the_settings_is_for_the_next_life(stage):
    stage.run.keep(load_settings(overrides=["children.per_replica=7"]))
    stage.at(2, lambda: ask(stage, num_replicas=9))
    stage.at(6, lambda: stage.record(0.1, 0.2, 0.3, 0.4))
    stage.at(7, stage.return_replicas)
    course = stage.course()
    course.follow(stage.replicas, stage.room)
    assert course.settings.children.per_replica == load_settings().children.per_replica
    assert stage.run.settings.children.per_replica == 7


def test_no_room_is_asked_for_where_a_limit_was_reached_before(stage):
    stage.record(0.9)
    stage.at(3, stage.return_replicas)
    stage.follow(target_reward=0.7)
    assert stage.room.asked == []


def test_search_goes_on_below_its_limits(stage):
    stage.at(1, lambda: stage.record(0.69))
    stage.at(2, lambda: (stage.clock.advance(58), stage.ledger.beat(stage.life)))
    stage.at(3, lambda: stage.record(0.1, 0.2, 0.3))
    stage.at(4, stage.return_replicas)
    assert stage.follow(time_limit_s=60.0, target_reward=0.7) == ("finished", "")


def test_time_of_earlier_lives_counts_towards_the_limit(stage):
    stage.record(0.1)
    let_time_pass(stage)
    stage.ledger.end(stage.life, "stopped")
    stage.life = stage.ledger.begin_life("here", 8)
    stage.at(2, stage.return_replicas)
    assert stage.follow(time_limit_s=60.0) == ("finished", "time_limit_s=60 is over")


def test_limit_that_earlier_lives_used_up_ends_a_search_before_its_first_trial(stage):
    let_time_pass(stage)
    assert stage.follow(time_limit_s=60.0) == ("finished", "time_limit_s=60 is over")
    assert stage.said == []


def test_search_that_is_stopped_as_its_budget_is_complete_is_finished(stage):
    stage.at(1, lambda: (stage.record(0.1, 0.2, 0.3, 0.4), stop_by_signal(stage)))
    stage.at(2, stage.return_replicas)
    assert stage.follow() == ("finished", "stopped by a signal")
    assert stage.said == []  # nothing is waited for


def test_search_that_is_stopped_before_its_first_trial_ends_at_once(stage):
    stage.at(2, lambda: stop_by_signal(stage))
    with pytest.raises(KeyboardInterrupt, match="stopped by a signal"):
        stage.follow()
    assert stage.num_polls == 2


def test_trial_in_training_is_waited_for(stage):
    begin(stage.ledger, stage.owner, 1)
    stage.at(1, lambda: stop_by_signal(stage))
    stage.at(4, stage.return_replicas)
    assert stage.follow() == ("stopped", "stopped by a signal")


def test_replicas_that_return_before_the_budget_is_complete_work_again(stage):
    stage.at(1, stage.return_replicas)
    stage.at(2, lambda: stage.record(0.1, 0.2, 0.3, 0.4))
    stage.at(3, stage.return_replicas)
    assert stage.follow() == ("finished", "")
    assert stage.replicas.told == ["work", "work", "drain"]


def test_replicas_that_have_returned_look_again_every_five_seconds_for_what_others_gave_back(stage):
    stage.record(0.1)
    stage.at(24, lambda: stop_by_signal(stage))
    stage.at(40, stage.return_replicas)
    assert stage.follow() == ("stopped", "stopped by a signal")
    assert stage.replicas.told == ["work", "work", "work", "drain"]


def test_search_whose_target_was_reached_before_it_is_resumed_begins_nothing_new(stage):
    stage.record(0.7)
    stage.at(2, stage.return_replicas)
    assert stage.follow(target_reward=0.7) == ("finished", "target_reward=0.7 was reached")
    assert stage.replicas.told == ["drain", "work"]


def test_reward_that_is_recorded_and_in_no_push_keeps_the_search_running(stage):
    stage.at(1, lambda: record(stage.ledger, stage.owner, [completed(0.5)] * 4))
    stage.at(2, stage.return_replicas)
    stage.at(3, lambda: push_all(stage))
    stage.at(4, stage.return_replicas)
    assert stage.follow() == ("finished", "")
    assert stage.replicas.told == ["work", "work", "drain"]


def push_all(stage):
    sequence = stage.ledger.open_push(stage.owner, [1, 2, 3, 4], (0, 0), (0, 0), GRADIENT)
    stage.ledger.close_push(stage.owner, sequence, (1, 1), (0, 0), (0, 0))


def test_replicas_that_are_no_more_finish_what_they_had_recorded(stage):
    gone = stage.ledger.enlist(7, stage.life).owner
    record(stage.ledger, gone, [completed(0.5)])
    record(stage.ledger, stage.owner, [completed(0.5)])  # replica 0 takes its own over by itself
    stage.at(1, lambda: stop_by_signal(stage))
    stage.at(2, stage.return_replicas)
    stage.follow(num_replicas=7)
    assert stage.replicas.told == ["finish 7", "work", "drain"]


def test_what_takes_longer_to_read_is_read_every_five_seconds_and_children_are_told(stage):
    stage.record(0.1)
    read_at = []
    activity = stage.ledger.activity
    stage.ledger.activity = lambda: read_at.append(stage.num_polls) or activity()
    stage.at(24, lambda: (stage.record(0.2, 0.3, 0.4), stage.return_replicas()))
    stage.follow(time_limit_s=60.0)
    assert read_at == [1, 11, 21, 24]  # the last time as the budget is complete
    assert [status.activity.last_reward for status in stage.shown] == [0.1] * 23 + [0.4]
    assert stage.ledger.children() == list(Replicas.children)
    assert stage.shown[0].children == Replicas.children
    assert stage.shown[0].time_limit_s == 60.0


def test_ledger_that_cannot_tell_what_is_going_on_is_asked_later(stage, monkeypatch):
    def away():
        raise LedgerUnavailable("the database is gone")

    monkeypatch.setattr(stage.ledger, "activity", away)
    stage.at(2, lambda: stage.record(0.1, 0.2, 0.3, 0.4))
    stage.at(3, stage.return_replicas)
    assert stage.follow() == ("finished", "")


def ask(stage, **changes):
    """Ask for changes of the settings of the children, and of num_replicas."""
    stage.ledger.request_changes(
        {key if key == "num_replicas" else f"children.{key}": n for key, n in changes.items()}
    )


def test_search_goes_on_with_what_is_asked_of_it(stage):
    before = load_settings(overrides=["children.num_gpus=1", "shards.host=node"])
    stage.run.keep(before)
    stage.at(2, lambda: ask(stage, per_gpu_node=3, num_replicas=5))
    stage.at(4, lambda: ask(stage, per_gpu_node=None))
    stage.at(6, lambda: stage.record(0.1, 0.2, 0.3, 0.4))
    stage.at(7, stage.return_replicas)
    course = stage.course()

    course.follow(stage.replicas, stage.room)

    assert stage.replicas.told == ["work", (3, 5), (None, 5), "drain"]
    assert stage.said == [
        "the search goes on with children.per_gpu_node=3, num_replicas=5",
        "the search goes on with children.per_gpu_node=none",
    ]
    # It is resumed like this, its new replicas have certificates, and nothing else has changed.
    assert stage.run.settings == before.model_copy(update={"num_replicas": 5})
    assert {f"replica-{replica}.pem" for replica in range(5)} <= {
        path.name for path in stage.run.certificates_path.iterdir()
    }
    assert course.settings == load_settings().model_copy(update={"num_replicas": 5})
    assert stage.shown[-1].progress.requested_changes is None


def test_what_cannot_be_is_refused_and_the_search_goes_on_as_it_was(stage):
    before = stage.run.settings
    stage.at(2, lambda: ask(stage, per_gpu_node=3))  # where children train on CPUs
    stage.at(3, lambda: ask(stage, num_replicas=0))
    stage.at(6, lambda: stage.record(0.1, 0.2, 0.3, 0.4))
    stage.at(7, stage.return_replicas)
    assert stage.follow() == ("finished", "")
    assert stage.replicas.told == ["work", "drain"]
    assert [said.splitlines()[1] for said in stage.said] == [
        "  - children: per_gpu_node=3: must be none where num_gpus=0, since children train on CPUs "
        "then; num_cpus says how many fit on a node",
        "  - num_replicas=0: must be greater than or equal to 1",
    ]
    assert all(said.startswith("the search goes on as it was: 1 mistake") for said in stage.said)
    assert stage.run.settings == before
    assert stage.shown[-1].progress.requested_changes is None


def test_search_that_drains_is_not_scaled(stage):
    stage.record(0.1)
    stage.at(2, lambda: stop_by_signal(stage))
    stage.at(3, lambda: ask(stage, num_replicas=9))
    stage.at(6, stage.return_replicas)
    assert stage.follow() == ("stopped", "stopped by a signal")
    assert stage.replicas.told == ["work", "drain"]


def test_changes_that_cannot_be_answered_now_are_seen_to_later(stage, monkeypatch):
    answer, failures = stage.ledger.answer_changes, [LedgerUnavailable("the database is gone")]

    def answer_later(*arguments):
        if failures:
            raise failures.pop()
        answer(*arguments)

    monkeypatch.setattr(stage.ledger, "answer_changes", answer_later)
    stage.at(2, lambda: ask(stage, num_replicas=9))
    stage.at(6, lambda: stage.record(0.1, 0.2, 0.3, 0.4))
    stage.at(7, stage.return_replicas)
    stage.follow()
    assert stage.replicas.told == ["work", (None, 9), (None, 9), "drain"]
    assert stage.said == ["the search goes on with num_replicas=9"]


def test_answer_that_is_lost_on_its_way_back_loses_nothing(stage, monkeypatch):
    answer = stage.ledger.answer_changes

    def lose_the_answer(*arguments):
        answer(*arguments)
        raise LedgerUnavailable("the connection is gone")

    monkeypatch.setattr(stage.ledger, "answer_changes", lose_the_answer)
    stage.at(2, lambda: ask(stage, num_replicas=9))
    stage.at(6, lambda: stage.record(0.1, 0.2, 0.3, 0.4))
    stage.at(7, stage.return_replicas)
    stage.follow()
    assert stage.replicas.told == ["work", (None, 9), "drain"]


def test_ledger_that_cannot_tell_who_is_unsettled_is_asked_before_the_search_can_end(
    stage, monkeypatch
):
    gone = stage.ledger.enlist(7, stage.life).owner
    record(stage.ledger, gone, [completed(0.5)])
    unsettled, failures = stage.ledger.unsettled_replicas, [1, 2]

    def away():
        if failures:
            failures.pop()
            raise LedgerUnavailable("the database is gone")
        return unsettled()

    monkeypatch.setattr(stage.ledger, "unsettled_replicas", away)
    for poll in (1, 3, 6):
        stage.at(poll, stage.return_replicas)
    stage.at(5, lambda: stop_by_signal(stage))
    assert stage.follow(num_replicas=7) == ("stopped", "stopped by a signal")
    assert stage.replicas.told == ["work", "work", "finish 7", "work", "drain"]


def test_deaths_are_forgiven_whenever_a_trial_has_been_recorded(stage):
    stage.at(2, lambda: stage.record(0.1))
    stage.at(5, lambda: stage.record(0.2, 0.3, 0.4))
    stage.at(7, stage.return_replicas)
    stage.follow()
    assert stage.num_forgiven == 2


def test_search_that_was_resumed_elsewhere_ends(stage):
    def resume_elsewhere():
        stage.is_over = True

    stage.at(3, resume_elsewhere)
    with pytest.raises(Superseded):
        stage.follow()
    assert stage.num_polls == 3


class Away:
    """Takes the place of a method of the ledger that fails for a while."""

    def __init__(self, method, clock, until_s):
        self._method, self._clock, self._until_s = method, clock, until_s
        self.num_failures = 0

    def __call__(self):
        if self._clock() < self._until_s:
            self.num_failures += 1
            raise LedgerUnavailable("the database is gone")
        return self._method()


def test_ledger_that_is_away_for_less_than_ten_minutes_is_waited_for(stage, monkeypatch):
    stage.record(0.1, 0.2, 0.3, 0.4)
    stage.return_replicas()
    stage.replicas.work = lambda: None
    away = Away(stage.ledger.progress, stage.clock, stage.clock() + PATIENCE_S)
    monkeypatch.setattr(stage.ledger, "progress", away)
    assert stage.follow() == ("finished", "")
    assert away.num_failures == PATIENCE_S / POLL_S


def test_ledger_that_is_away_for_longer_ends_the_search(stage, monkeypatch):
    began = stage.clock()
    away = Away(stage.ledger.progress, stage.clock, stage.clock() + 2 * PATIENCE_S)
    monkeypatch.setattr(stage.ledger, "progress", away)
    with pytest.raises(LedgerUnavailable, match="the database is gone"):
        stage.follow()
    assert stage.clock() == began + PATIENCE_S + POLL_S


def test_shards_that_come_back_elsewhere_are_made_known(stage):
    stage.ledger.publish(stage.life, 0, "127.0.0.1:1")
    stage.record(0.1)
    seen = []
    stage.at(1, lambda: stage.ledger.publish(stage.life, 1, "127.0.0.1:2"))
    stage.at(2, lambda: seen.append(stage.run.endpoints()))
    stage.at(3, lambda: stage.ledger.publish(stage.life, 0, "127.0.0.1:3"))
    stage.at(4, lambda: (seen.append(stage.run.endpoints()), stop_by_signal(stage)))
    stage.at(5, stage.return_replicas)
    stage.follow(num_shards=2)
    assert seen == [("127.0.0.1:1", "127.0.0.1:2"), ("127.0.0.1:3", "127.0.0.1:2")]


def test_metrics_of_replicas_that_come_back_elsewhere_are_made_known(stage):
    for shard in range(2):
        stage.ledger.publish(stage.life, shard, f"127.0.0.1:{shard}")
    stage.record(0.1)
    seen = []
    at = {"replica-0": "127.0.0.1:7"}, {"replica-0": "127.0.0.1:8"}
    for poll, addresses in zip((1, 3), at, strict=True):
        stage.at(poll, lambda found=addresses: setattr(stage.replicas, "metrics_addresses", found))
    stage.at(2, lambda: seen.append(stage.run.metrics_endpoints()))
    stage.at(4, lambda: (seen.append(stage.run.metrics_endpoints()), stop_by_signal(stage)))
    stage.at(5, stage.return_replicas)
    stage.follow(num_shards=2)
    assert seen == [{"search": "127.0.0.1:9", **addresses} for addresses in at]


def test_prometheus_is_told_of_the_search_while_it_runs(stage):
    stage.at(2, lambda: stage.record(0.1, 0.2, 0.3, 0.4))
    stage.at(5, stage.return_replicas)
    stage.follow()
    for name, labels, value in (
        ("recorded_trials_total", {}, 4),
        ("last_reward", {}, 0.4),  # also of the last seconds
        ("replicas", {"state": "alive"}, 1),
        ("deaths_total", {"kind": "shard"}, 2),
    ):
        found = stage.metrics.registry.get_sample_value(f"nasrl_search_{name}", labels)
        assert found == value, name


LEARNER = load_settings(overrides=["num_shards=2"]).untrained()


@pytest.fixture
def serve():
    """Give a function that starts a shard without values, and gives its address."""
    with contextlib.ExitStack() as servers:

        def start(shard):
            plan, settings = ShardPlan(LEARNER.layout, shard), ServerSettings(durability="none")
            return servers.enter_context(ShardServer(plan, settings)).address

        yield start


def version_and_values(addresses):
    with ShardClient(LEARNER.layout, addresses, ClientSettings()) as client:
        pulled = client.pull()
    return pulled.versions, pulled.values.tolist()


def test_shards_are_given_their_first_values_as_soon_as_all_listen(stage, serve):
    addresses = [serve(0), serve(1)]
    stage.at(2, lambda: stage.ledger.publish(stage.life, 1, addresses[1]))
    stage.at(4, lambda: stage.ledger.publish(stage.life, 0, addresses[0]))

    stage.course(num_shards=2).await_shards(None)

    assert stage.num_polls == 4
    assert stage.said == [f"the shards are serving at {', '.join(addresses)}"]
    assert stage.run.endpoints() == tuple(addresses)
    assert version_and_values(addresses) == ((0, 0), LEARNER.values.tolist())


def test_shards_that_somebody_else_started_need_not_be_in_the_ledger(stage, serve):
    addresses = [serve(0), serve(1)]
    course = stage.course(num_shards=2, **{"shards.addresses": addresses})
    course.await_shards(None)
    assert version_and_values(addresses) == ((0, 0), LEARNER.values.tolist())


def test_waiting_for_shards_ends_when_told_to_stop(stage):
    stage.at(3, lambda: stop_by_signal(stage))
    with pytest.raises(KeyboardInterrupt):
        stage.course().await_shards(None)
    assert stage.num_polls == 3
    with pytest.raises(RunError, match="has no endpoints"):
        stage.run.endpoints()


NOBODY = "127.0.0.1:1"  # a port that no program listens on
IMPATIENT = {"client.max_attempts": 1, "client.push_timeout_s": 1.0}


def test_shard_that_died_before_it_got_its_values_is_waited_for(stage, serve):
    there, back = serve(0), serve(1)
    stage.ledger.publish(stage.life, 0, there)
    stage.ledger.publish(stage.life, 1, NOBODY)
    stage.at(3, lambda: stage.ledger.publish(stage.life, 1, back))
    stage.course(num_shards=2, **IMPATIENT).await_shards(None)
    assert stage.said == [f"the shards are serving at {there}, {back}"]


def test_shards_that_cannot_be_reached_for_ten_minutes_end_the_search(stage, serve):
    began = stage.clock()
    stage.ledger.publish(stage.life, 0, serve(0))
    stage.ledger.publish(stage.life, 1, NOBODY)
    stage.at(2, lambda: stage.clock.advance(PATIENCE_S))
    with pytest.raises(ShardUnavailable):
        stage.course(num_shards=2, **IMPATIENT).await_shards(None)
    assert stage.clock() - began == PATIENCE_S + 2 * POLL_S
    with pytest.raises(RunError, match="has no endpoints"):
        stage.run.endpoints()  # nobody is told of shards without values
