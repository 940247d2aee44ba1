import io

import pytest
from rich.console import Console
from support.clock import FakeClock

from child.metric import ACCURACY
from controller.records import Progress
from deploy.progress import LiveWatcher, PlainWatcher, describe


def progress(**changes):
    fields = {
        "state": "running",
        "reason": "",
        "metric": ACCURACY,
        "num_trials": 120,
        "num_recorded": 7,
        "num_infeasible": 0,
        "num_reused": 0,
        "num_in_flight": 0,
        "num_unpushed": 0,
        "recent_reward": None,
        "best": None,
        "started_at": 0.0,
        "ended_at": None,
        "seconds": 0.0,
        "is_stop_requested": False,
    }
    return Progress(**(fields | changes))


@pytest.fixture
def output():
    return io.StringIO()


def test_plain_lines_come_at_most_every_ten_seconds(output):
    clock = FakeClock()
    with PlainWatcher(Console(file=output), clock) as watcher:
        for _ in range(250):
            clock.advance(0.1)
            watcher.show(progress())
    assert output.getvalue().count("trials 7/120") == 2


def test_plain_events_are_said_at_once_and_whole(output):
    text = "runs[old] [/x] the shards are serving at " + ", ".join(["127.0.0.1:12345"] * 30)
    PlainWatcher(Console(file=output), FakeClock()).say(text)
    assert output.getvalue() == text + "\n"


def test_live_bar_shows_how_far_the_search_is(output):
    console = Console(file=output, force_terminal=True, width=120)
    with LiveWatcher(console) as watcher:
        watcher.say("starting Ray")
        watcher.show(progress(recent_reward=0.5))
    assert "starting Ray" in output.getvalue()
    assert "7/120" in output.getvalue()
    assert "recent mean reward 0.500" in output.getvalue()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"recent_reward": 0.25}, "recent mean reward 0.250"),
        ({"recent_reward": 0.25, "num_infeasible": 2}, "recent mean reward 0.250, 2 infeasible"),
        ({"recent_reward": 0.25, "num_reused": 3}, "recent mean reward 0.250, 3 reused"),
    ],
)
def test_description_says_what_is_known(changes, expected):
    assert describe(progress(**changes)) == expected
