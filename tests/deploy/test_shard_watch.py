"""Shards that are watched while they fail, move and end."""

import io
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from rich.console import Console

from deploy.asked_shards import AskedShards, SeenShard, ShardPlace
from deploy.run import NoEndpoints, Run
from deploy.settings_file import load_settings
from deploy.shard_watch import HealthLines, LiveTable, watch
from ps.layout import Layout
from ps.plan import ShardPlan
from ps.server import ServerSettings, ShardServer
from ps.status import ShardStatus

LAYOUT = Layout((("weight", (4,)),), num_shards=1)
NOON = "2026-01-02T12:00:00+00:00"
END_S = 30.0


def now():
    return datetime.fromisoformat(NOON)


@pytest.fixture
def output():
    return io.StringIO()


@pytest.fixture
def lines(output):
    return HealthLines(Console(file=output), now)


@pytest.fixture
def live(output):
    return LiveTable(Console(file=output, force_terminal=True, width=200), 2, now)


def seen(*healths, reason=""):
    """Shards at ports 1, 2, ... with these healths."""
    return [
        SeenShard(ShardPlace(address, None), ShardStatus(address, health, None, reason))
        for address, health in ((f"h:{port}", health) for port, health in enumerate(healths, 1))
    ]


def looks(*answers):
    """Give a function that gives, or raises, one answer after the other."""
    coming = iter(answers)

    def look():
        answer = next(coming)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return look


def no_pause(_):
    pass


def test_line_comes_when_a_health_changes_and_only_then(lines, output, tmp_path):
    up, down = seen("SERVING", "SERVING"), seen("SERVING", "UNREACHABLE", reason="gone")
    watch(looks(up, up, down, down, up, NoEndpoints(tmp_path)), lines, 2, no_pause)

    assert output.getvalue().splitlines() == [
        f"{NOON} h:1 SERVING, h:2 SERVING",
        f"{NOON} h:1 SERVING (gone), h:2 UNREACHABLE (gone)",
        f"{NOON} h:1 SERVING, h:2 SERVING",
        f"{NOON} {tmp_path}: the search has ended and has stopped its shards",
    ]


def test_shards_are_looked_at_once_in_an_interval(lines):
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    watch(looks(*[seen("SERVING")] * 3), lines, 7, pause)

    assert pauses == [7, 7, 7]


def test_table_stays_in_its_place_on_a_terminal(live, output, tmp_path):
    first, second = seen("NOT_SERVING"), seen("SERVING")
    assert watch(looks(first, second, NoEndpoints(tmp_path)), live, 2, no_pause) == 0

    before, after = output.getvalue().split("NOT_SERVING")
    assert "address" in before
    assert "12:00:00, every 2 s; Ctrl-C ends this" in after
    up_a_line = "\x1b[1A"
    assert after.index(up_a_line) < after.index(" SERVING")
    assert after.rstrip().endswith(f"{tmp_path}: the search has ended and has stopped its shards")


@pytest.mark.parametrize("last", ["SERVING", "NOT_SERVING"])
def test_end_of_the_search_ends_the_watch_with_code_0(lines, tmp_path, last):
    assert watch(looks(seen(last), NoEndpoints(tmp_path)), lines, 2, no_pause) == 0


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ([seen("NOT_SERVING"), seen("SERVING", "SERVING")], 0),
        ([seen("SERVING"), seen("SERVING", "UNREACHABLE")], 1),
        ([], 1),
    ],
)
def test_interrupt_ends_the_watch_with_the_code_of_the_last_look(lines, output, answers, code):
    assert watch(looks(*answers, KeyboardInterrupt()), lines, 2, no_pause) == code
    assert len(output.getvalue().splitlines()) == len(answers)


def test_run_without_shards_at_the_first_look_is_a_mistake(lines, output, tmp_path):
    with pytest.raises(NoEndpoints):
        watch(looks(NoEndpoints(tmp_path)), lines, 2, no_pause)
    assert output.getvalue() == ""


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", load_settings())


@pytest.fixture
def begin():
    """Give a function that begins a shard on a free port."""
    servers = []

    def begin():
        servers.append(ShardServer(ShardPlan(LAYOUT, 0), ServerSettings(durability="none")))
        return servers[-1]

    yield begin
    for server in servers:
        server.close()


def test_shard_that_comes_back_on_another_port_is_followed(run, begin, lines, output):
    first = begin()
    run.publish_endpoints([first.address])
    second = begin()
    steps = iter(
        [first.close, lambda: run.publish_endpoints([second.address]), run.withdraw_endpoints]
    )

    assert watch(AskedShards([str(run.path)]).look, lines, 2, lambda _: next(steps)()) == 0

    assert [line.split()[1:3] for line in output.getvalue().splitlines()] == [
        [first.address, "NOT_SERVING"],
        [first.address, "UNREACHABLE"],
        [second.address, "NOT_SERVING"],
        [f"{run.path}:", "the"],
    ]


def test_watch_in_a_pipe_ends_quietly_by_an_interrupt(run, begin):
    server = begin()
    (run.path / "endpoints.json").write_text(json.dumps({"shards": [server.address]}))
    watching = subprocess.Popen(
        [sys.executable, "-m", "nasrl", "shards", str(run.path), "--watch", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        more, errors = watching.communicate(timeout=END_S)
    finally:
        watching.kill()
        watching.communicate()

    at, said = line.split(" ", 1)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()) < END_S
    assert said == f"{server.address} NOT_SERVING\n"
    assert (watching.returncode, more, errors) == (1, "", "")
