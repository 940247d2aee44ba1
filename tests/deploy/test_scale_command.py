"""`nasrl scale`: what it asks of a search, and what it says of the answer."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.waiting import wait_until

from child.metric import ACCURACY
from controller.baseline import Baseline
from controller.errors import StillAlive
from controller.ledger import Ledger
from controller.records import SearchRecord
from deploy import heartbeat
from deploy.cli import main
from deploy.commands import scale
from deploy.run import Run
from deploy.settings_file import load_settings


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", load_settings(overrides=["children.num_gpus=1"]))


@pytest.fixture
def ledger(run):
    """The ledger of a search that runs, in its first life."""
    search = SearchRecord(9, Baseline(0.9), run.settings.depths, ACCURACY, {}, {})
    with Ledger.create(run.ledger_url, search) as ledger:
        assert ledger.begin_life("here", 1) == 1
        yield ledger


def scaled(run, ledger, *options, answer):
    """Run the command while `answer` is what the search does; give its exit code."""

    def see_to():
        wait_until(lambda: ledger.progress().requested_changes, "the request")
        answer(ledger.progress().requested_changes)

    with ThreadPoolExecutor() as threads:
        answering = threads.submit(see_to)
        code = main(["scale", str(run.path), *options])
        answering.result(timeout=5)
    return code


def test_search_is_asked_and_waited_for(run, ledger, capsys):
    def answer(changes):
        asked.append(changes)
        children = run.settings.children.model_copy(update={"per_gpu_node": 4, "per_gpu": 2})
        run.keep(run.settings.model_copy(update={"num_replicas": 7, "children": children}))
        ledger.answer_changes(1, changes, {})

    asked = []
    options = ["--children-per-gpu-node=4", "--children-per-gpu", "2", "--replicas=7"]
    assert scaled(run, ledger, *options, answer=answer) == 0
    assert asked == [{"children.per_gpu_node": 4, "children.per_gpu": 2, "num_replicas": 7}]
    assert capsys.readouterr().out == (
        "the search goes on with children.per_gpu_node=4, children.per_gpu=2, num_replicas=7\n"
    )

    def undo(changes):
        asked.append(changes)
        children = run.settings.children.model_copy(update={"per_gpu_node": None})
        run.keep(run.settings.model_copy(update={"children": children}))
        ledger.answer_changes(1, changes, {})

    assert scaled(run, ledger, "--children-per-gpu-node", "none", answer=undo) == 0
    assert asked[1] == {"children.per_gpu_node": None}
    assert capsys.readouterr().out == "the search goes on with children.per_gpu_node=none\n"


def test_search_that_refuses_is_code_2(run, ledger, capsys):
    code = scaled(
        run, ledger, "--replicas=7", answer=lambda asked: ledger.answer_changes(1, asked, None)
    )
    assert code == 2
    assert "the search goes on as it was; what it printed, and" in capsys.readouterr().err


def test_search_that_is_not_waited_for_is_asked(run, ledger, capsys):
    assert main(["scale", str(run.path), "--replicas=7", "--no-wait"]) == 0
    assert capsys.readouterr().out == "asked to scale\n"
    assert ledger.progress().requested_changes == {"num_replicas": 7}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give what is to change: --children-per-gpu-node, --children-per-gpu or --replicas"),
        (["--replicas=0"], "num_replicas=0: must be greater than or equal to 1"),
        (["--replicas=x"], "'x' is not a valid integer"),
        (["--children-per-gpu=1.5"], "'1.5': must be a whole number from 1, or none"),
        (["--children-per-gpu=0"], "children.per_gpu=0: must be greater than or equal to 1"),
        (["--children-per-gpu-node=1001"], "children.per_gpu_node=1001: must be less than or equa"),
    ],
)
def test_what_cannot_be_is_refused_before_the_search_is_asked(run, ledger, capsys, options, said):
    assert main(["scale", str(run.path), *options]) == 2
    assert said in capsys.readouterr().err
    assert ledger.progress().requested_changes is None


def test_search_on_cpus_has_no_gpus_to_share(run, ledger, capsys):
    run.keep(load_settings())
    assert main(["scale", str(run.path), "--children-per-gpu-node=2"]) == 2
    assert "per_gpu_node=2: must be none where num_gpus=0" in capsys.readouterr().err


def test_search_that_has_ended_is_code_1(run, ledger, capsys):
    ledger.end(1, "finished")
    assert main(["scale", str(run.path), "--replicas=7"]) == 1
    assert "the search is finished: there is nothing to change" in capsys.readouterr().err


def test_search_that_ends_before_it_sees_to_it_is_code_1_with_how_to_go_on(run, ledger, capsys):
    code = scaled(run, ledger, "--replicas=7", answer=lambda _: ledger.end(1, "stopped"))
    assert code == 1
    assert capsys.readouterr().err == (
        f"Error: the search is stopped; go on with nasrl search --resume {run.path} "
        "--set num_replicas=7\n"
    )


def test_job_of_a_cluster_is_gone_on_with_there(run, ledger, capsys):
    ledger.end(1, "stopped")
    ledger.begin_life("head", 2, is_job=True)
    code = scaled(run, ledger, "--replicas=7", answer=lambda _: ledger.end(2, "stopped"))
    assert code == 1
    assert capsys.readouterr().err == (
        "Error: the search is stopped; go on with nasrl submit --resume --run-dir "
        f"{run.path} --set num_replicas=7\n"
    )


def test_search_that_nobody_runs_is_code_1(run, ledger, capsys, monkeypatch):
    monkeypatch.setattr(scale, "ANSWER_S", 0.1)
    monkeypatch.setattr(heartbeat, "SILENCE_S", 0.5)
    assert main(["scale", str(run.path), "--replicas=7"]) == 1
    assert "nobody runs this search; go on with nasrl search --resume" in capsys.readouterr().err


def test_search_that_is_busy_is_waited_for_and_that_is_said_once(run, ledger, capsys, monkeypatch):
    looks = []

    def still_alive(_, __, is_answered):
        looks.append(is_answered())
        if len(looks) == 3:
            run.keep(run.settings.model_copy(update={"num_replicas": 7}))
            ledger.answer_changes(1, {"num_replicas": 7}, {})
        raise StillAlive("the search is being run")

    monkeypatch.setattr(scale, "ANSWER_S", 0.0)
    monkeypatch.setattr(heartbeat, "await_silence", still_alive)
    assert main(["scale", str(run.path), "--replicas=7"]) == 0
    assert looks == [False] * 3
    assert capsys.readouterr().out == (
        "waiting: the search is starting, or finishes its last children\n"
        "the search goes on with num_replicas=7\n"
    )


def test_search_that_has_not_begun_is_code_1(run, capsys):
    assert main(["scale", str(run.path), "--replicas=7"]) == 1
    assert "its search has not begun yet" in capsys.readouterr().err


def test_folder_that_is_no_run_is_code_2(tmp_path, capsys):
    assert main(["scale", str(tmp_path), "--replicas=7"]) == 2
    assert "is not a run directory" in capsys.readouterr().err
