"""What is told of a search: its status, line by line, in one line, and as JSON."""

import json

import pytest
from support.statuses import progress, trial

from child.metric import BITS_PER_CHARACTER
from controller.records import Activity, ChildAtWork
from deploy.status import ShardHealth, Status, duration, sparkline

BUSY = Activity(
    curve=[0.1, 0.5, 0.3, 0.9],
    mean_reward=0.5,
    last_reward=0.25,
    trials_per_s=0.05,
    pushes_per_s=2.0,
    mean_staleness=1.5,
    max_staleness=4,
    num_training=3,
    num_reserved=1,
)
CHILDREN = [
    ChildAtWork(0, 8, "b: cuda 0", 3.0),
    ChildAtWork(0, 9, "a: cuda 1", 3.0),
    ChildAtWork(1, 10, "b: cuda 0", 1.0),
    ChildAtWork(1, 11, "", 0.0),
]


def test_search_in_its_midst_is_told_line_by_line():
    shards = [ShardHealth("10.0.0.1:7", "SERVING"), ShardHealth("10.0.0.2:7", "UNREACHABLE", "?")]
    now = progress(
        num_recorded=100,
        num_infeasible=2,
        num_reused=5,
        num_in_flight=4,
        best=trial(validation=0.9),
    )
    assert Status(now, BUSY, CHILDREN, shards).lines() == [
        (
            "trials",
            "100 of 120, 3 in training, 1 reserved, 2 infeasible, 5 reused, 3.0/min, "
            "6 min 40 s left",
        ),
        ("reward", "last 0.250, mean of 100 0.500, best accuracy 90.0% (trial 7)  ▁▅▃█"),
        (
            "children",
            "4 in training on a device not told yet (1), a: cuda 1 (1), b: cuda 0 (2)",
        ),
        ("pushes", "2.0/s, staleness mean 1.50, max 4"),
        ("shards", "1 of 2 SERVING; 10.0.0.2:7 UNREACHABLE"),
    ]


def test_search_that_has_just_begun_has_nothing_else_to_tell():
    assert Status(progress(num_recorded=0), Activity()).lines() == [("trials", "0 of 120")]


def test_search_that_has_ended_has_no_rates_and_nothing_left():
    ended = Status(progress(state="finished", num_recorded=120), BUSY, CHILDREN)
    assert ended.lines() == [
        ("trials", "120 of 120"),
        ("reward", "last 0.250, mean of 100 0.500  ▁▅▃█"),
        ("pushes", "staleness mean 1.50, max 4"),
    ]
    assert ended.seconds_left is None


def test_one_line_tells_the_most_of_it():
    now = progress(
        num_recorded=100, num_infeasible=2, best=trial(validation=1.25), metric=BITS_PER_CHARACTER
    )
    assert Status(now, BUSY).line() == (
        "trials 100/120, mean reward 0.500, best bits per character 1.250 (trial 7), 2 infeasible, "
        "6 min 40 s left"
    )
    assert Status(progress(num_recorded=0), Activity()).line() == "trials 0/120"


@pytest.mark.parametrize(
    ("rate", "limit_s", "left_s"),
    [
        (0.5, None, 40.0),
        (0.5, 70.0, 10.0),
        (0.5, 700.0, 40.0),
        (0.5, 30.0, 0.0),  # it drains
        (None, 70.0, 10.0),
        (None, None, None),
    ],
)
def test_time_left_is_that_of_the_trials_or_of_the_limit(rate, limit_s, left_s):
    now = progress(num_recorded=100, seconds=60.0)
    assert Status(now, Activity(trials_per_s=rate), time_limit_s=limit_s).seconds_left == left_s


def test_json_has_everything_by_name():
    now = progress(num_recorded=100, num_in_flight=4, best=trial(validation=0.9))
    told = json.loads(json.dumps(Status(now, BUSY, CHILDREN[:1], [], 70.0).to_json()))
    assert told["best"] == {
        "trial": 7,
        "reward": 0.5,
        "validation": 0.9,
        "num_parameters": 10,
        "architecture_text": "3x3,24",
    }
    assert told["children"] == [{"replica": 0, "trial": 8, "device": "b: cuda 0", "seconds": 3.0}]
    assert (told["num_recorded"], told["mean_reward"], told["shards"]) == (100, 0.5, [])
    assert told["seconds_left"] == 70.0
    assert json.loads(json.dumps(Status(progress(), Activity()).to_json()))["best"] is None


@pytest.mark.parametrize(
    ("shards", "state", "is_ill"),
    [
        (None, "running", False),
        ([ShardHealth("here:7", "SERVING")], "running", False),
        ([ShardHealth("here:7", "NOT_SERVING")], "running", True),
        (None, "failed", True),
        (None, "stopped", False),
    ],
)
def test_search_is_ill_where_it_failed_or_a_shard_does_not_serve(shards, state, is_ill):
    assert Status(progress(state=state), Activity(), shards=shards).is_ill is is_ill


@pytest.mark.parametrize(
    ("figures", "drawn"), [([], ""), ([0.5], "▁"), ([0.5, 0.5], "▁▁"), ([1, 2, 3], "▁▅█")]
)
def test_sparkline_goes_from_the_lowest_to_the_highest(figures, drawn):
    assert sparkline(figures) == drawn


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3600, "1 h 0 min"), (90_000, "1 d 1 h")],
)
def test_duration_is_told_in_its_greatest_units(seconds, said):
    assert duration(seconds) == said
