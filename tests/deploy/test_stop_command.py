"""`nasrl stop`: what it waits for, and what it says of the end."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.waiting import wait_until

from child.metric import ACCURACY
from controller.baseline import Baseline
from controller.ledger import Ledger
from controller.records import SearchRecord
from deploy.cli import main
from deploy.run import Run
from deploy.settings_file import load_settings


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", load_settings())


@pytest.fixture
def ledger(run):
    """The ledger of a search that runs, in its first life."""
    search = SearchRecord(9, Baseline(0.9), run.settings.depths, ACCURACY, {}, {})
    with Ledger.create(run.ledger_url, search) as ledger:
        assert ledger.begin_life("here", 1) == 1
        yield ledger


@pytest.mark.parametrize(
    ("state", "reason", "code", "said"),
    [
        ("stopped", "stopped by nasrl stop", 0, "stopped: 0 of 9 trials\n"),
        ("finished", "stopped by nasrl stop", 0, "finished: 0 of 9 trials\n"),
        ("failed", "shard 1 died", 1, "Error: failed: 0 of 9 trials: shard 1 died\n"),
    ],
)
def test_end_of_the_search_is_said_and_is_the_exit_code(
    run, ledger, capsys, state, reason, code, said
):
    def end():
        wait_until(lambda: ledger.progress().is_stop_requested, "the request")
        ledger.end(1, state, reason)

    with ThreadPoolExecutor() as threads:
        ending = threads.submit(end)
        assert main(["stop", str(run.path)]) == code
        ending.result(timeout=5)
    printed = capsys.readouterr()
    assert printed.out.startswith("asked to stop; waiting for the children in training\n")
    assert (printed.out + printed.err).endswith(said)


def test_search_that_has_ended_is_code_1(run, ledger, capsys):
    ledger.end(1, "finished")
    assert main(["stop", str(run.path)]) == 1
    assert "the search is finished: there is nothing to stop" in capsys.readouterr().err


def test_search_that_is_not_waited_for_is_asked_to_stop(run, ledger, capsys):
    assert main(["stop", str(run.path), "--no-wait"]) == 0
    assert capsys.readouterr().out == "asked to stop\n"
    assert ledger.progress().is_stop_requested


def test_search_that_has_not_begun_is_code_1(run, capsys):
    assert main(["stop", str(run.path)]) == 1
    assert "its search has not begun yet" in capsys.readouterr().err
