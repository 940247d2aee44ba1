"""What a person sees while a search runs: on a terminal, and where nobody looks on."""

import io
from datetime import datetime

import pytest
from rich.console import Console
from support.clock import FakeClock
from support.statuses import progress
from support.waiting import wait_until

from controller.records import Activity
from deploy import watchers
from deploy.plain_lines import PlainLines
from deploy.status import ShardHealth, Status
from deploy.watchers import LiveWatcher, PlainWatcher


@pytest.fixture
def output():
    return io.StringIO()


def test_plain_lines_have_the_time_and_come_at_most_every_ten_seconds(output):
    clock = FakeClock()
    now = datetime(2026, 11, 29, 8, 5, 9)
    with PlainWatcher(PlainLines(Console(file=output), clock, lambda: now)) as watcher:
        for _ in range(250):
            clock.advance(0.1)
            watcher.show(Status(progress(), Activity()))
    assert output.getvalue().splitlines() == ["08:05:09  trials 7/120"] * 2


def test_plain_events_are_said_at_once_and_whole(output):
    text = "runs[old] [/x] the shards are serving at " + ", ".join(["127.0.0.1:12345"] * 30)
    PlainLines(Console(file=output), FakeClock()).say(text)
    assert output.getvalue() == text + "\n"


def test_live_lines_show_how_the_search_and_its_shards_are(output, monkeypatch):
    monkeypatch.setattr(watchers, "ASK_SHARDS_S", 0.01)
    answers = iter([None, OSError("no certificates"), [ShardHealth("[here]:7", "UNREACHABLE")]])

    def ask():
        answer = next(answers, [ShardHealth("[here]:7", "SERVING")])
        if isinstance(answer, Exception):
            raise answer
        return answer

    console = Console(file=output, force_terminal=True, width=120)
    with LiveWatcher(console, ask) as watcher:
        watcher.say("starting [Ray]")

        def shown(text):
            watcher.show(Status(progress(), Activity(mean_reward=0.5, last_reward=0.25)))
            return text in output.getvalue()

        wait_until(lambda: shown("1 of 1 SERVING"), "the shards")
    assert "starting [Ray]" in output.getvalue()
    assert "7 of 120" in output.getvalue()
    assert "last 0.250, mean of 7 0.500" in output.getvalue()
