"""`nasrl status`: what is printed of a search that runs, has ended, or was killed."""

import json
import time

import pytest
from support.children import completed
from support.rounds import record

from child.metric import ACCURACY
from controller.baseline import Baseline
from controller.ledger import Ledger
from controller.records import ChildAtWork, SearchRecord
from deploy.cli import main
from deploy.heartbeat import SILENCE_S
from deploy.run import Run
from deploy.settings_file import load_settings
from ps.plan import ShardPlan
from ps.server import ServerSettings, ShardServer


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", load_settings(overrides=["time_limit_s=3600"]))


@pytest.fixture
def clock():
    """When things happen in the ledger: now, unless a test says otherwise."""
    return [time.time()]


@pytest.fixture
def ledger(run, clock):
    """The ledger of a search that runs, in its first life, with two recorded trials of nine."""
    search = SearchRecord(9, Baseline(0.9), run.settings.depths, ACCURACY, {}, {})
    with Ledger.create(run.ledger_url, search, lambda: clock[0]) as ledger:
        ledger.begin_life("here", 1)
        run.mark_begun()
        record(ledger, ledger.enlist(0, 1).owner, [completed(0.25), completed(0.75)])
        yield ledger


def lines(capsys):
    return dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())


def test_search_that_runs_is_shown_with_its_children(run, ledger, capsys):
    ledger.reserve(ledger.enlist(1, 1).owner, 1)
    ledger.publish_children(1, [ChildAtWork(1, 3, "here: cuda 0", 2.0)])
    assert main(["status", str(run.path)]) == 0
    shown = lines(capsys)
    assert shown["search"] == "running"
    assert shown["trials"].startswith("2 of 9, 0 in training, 1 reserved, ")
    assert shown["reward"].startswith("last 0.750, mean of 2 0.500, best accuracy 75.0% (trial 2)")
    assert shown["children"] == "1 in training on here: cuda 0 (1)"
    assert "shards" not in shown  # there are none yet


def test_shards_are_asked_and_one_that_does_not_answer_is_code_1(run, ledger, capsys, tmp_path):
    settings, layout = run.settings, run.settings.untrained().layout
    plan = ShardPlan(layout, 0, settings.optimizer, settings.updates)
    with ShardServer(plan, ServerSettings(), tmp_path / "shard-0") as server:
        run.publish_endpoints([server.address, "127.0.0.1:9"])
        assert main(["status", str(run.path)]) == 1
    shown = lines(capsys)["shards"]
    assert shown.startswith("0 of 2 SERVING; " + server.address)  # it has no values yet
    assert "127.0.0.1:9 UNREACHABLE" in shown


def test_search_that_has_ended_is_shown_with_the_reason(run, ledger, capsys):
    ledger.end(1, "stopped", "stopped by nasrl stop")
    assert main(["status", str(run.path)]) == 0
    shown = lines(capsys)
    assert shown["search"] == "stopped: stopped by nasrl stop"
    assert shown["trials"] == "2 of 9"


def test_search_that_failed_is_code_1(run, ledger, capsys):
    ledger.end(1, "failed", "shard 1 died")
    assert main(["status", str(run.path)]) == 1
    assert lines(capsys)["search"] == "failed: shard 1 died"


def test_search_that_was_killed_is_code_1_with_how_to_go_on(run, ledger, clock, capsys):
    clock[0] -= SILENCE_S + 51
    ledger.beat(1)
    run.publish_endpoints(["127.0.0.1:9"])  # nobody took it away
    assert main(["status", str(run.path)]) == 1
    shown = lines(capsys)
    assert shown["search"].startswith("no sign of life for 1 min ")
    assert shown["search"].endswith(f"go on with nasrl search --resume {run.path}")
    assert "shards" not in shown


def test_job_that_was_killed_is_gone_on_with_on_its_cluster(run, ledger, clock, capsys):
    ledger.end(1, "stopped")
    clock[0] -= SILENCE_S + 51
    ledger.begin_life("head", 2, is_job=True)
    assert main(["status", str(run.path)]) == 1
    how = f"go on with nasrl submit --resume --run-dir {run.path}"
    assert lines(capsys)["search"].endswith(how)


def test_programs_get_json(run, ledger, capsys):
    assert main(["status", str(run.path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["num_recorded"], told["silence_s"]) == ("running", 2, None)
    assert told["seconds_left"] <= 3600  # time_limit_s


def test_run_that_has_not_begun_is_code_2(run, capsys):
    assert main(["status", str(run.path)]) == 2
    assert "its search has not begun yet" in capsys.readouterr().err


def test_folder_that_is_no_run_is_code_2(tmp_path, capsys):
    assert main(["status", str(tmp_path)]) == 2
    assert "is not a run directory" in capsys.readouterr().err
