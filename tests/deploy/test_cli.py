import subprocess
import sys

import pytest

from child.metric import ACCURACY
from controller.baseline import Baseline
from controller.ledger import Ledger
from controller.records import SearchRecord
from deploy import start
from deploy.cli import main
from deploy.run import Run
from deploy.settings_file import load_settings


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "--set", "num_trials=0"],
        ["search", "--set", "num_trials"],
        ["search", "nowhere.yaml"],
        ["search", "--no-such-option"],
        ["trials", "nowhere"],
        ["trials", ".", "--top", "0"],
        ["trials", "."],
        ["show", "nowhere"],
        ["show", "."],
        ["show"],
        ["shards", "."],
        ["shards", "not-an-address"],
        ["shards"],
        ["no-such-verb"],
    ],
)
def test_mistake_of_the_user_is_one_message_and_code_2(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert "Error: " in printed.err
    assert "Traceback" not in printed.err + printed.out
    assert list(tmp_path.iterdir()) == []


def test_shard_that_nobody_answers_for_is_code_1(capsys):
    assert main(["shards", "127.0.0.1:1"]) == 1
    assert "UNREACHABLE" in capsys.readouterr().out


def test_data_that_are_not_there_are_a_mistake_and_code_2(tmp_path, capsys):
    data = f"data={{name: mnist, folder: {tmp_path}/mistyped, download: false}}"
    assert main(["search", "--set", data, "--run-dir", str(tmp_path / "run")]) == 2
    assert f"Error: data.folder={tmp_path}/mistyped: must hold" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_data_that_cannot_be_downloaded_are_a_failure_and_code_1(tmp_path, monkeypatch, capsys):
    def getaddrinfo(*_args, **_options):
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    data = f"data={{name: mnist, folder: {tmp_path}/mistyped}}"
    assert main(["search", "--set", data, "--run-dir", str(tmp_path / "run")]) == 1
    assert "\nno download: Name or service not known\n" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_example_with_changes_is_refused(capsys):
    assert main(["search", "--example", "--set", "seed=1"]) == 2
    assert "--example, --set: must be one of them" in capsys.readouterr().err


def test_example_of_an_unknown_name_is_refused_as_its_search_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["search", "nmist", "--example"]) == 2
    example = capsys.readouterr().err
    assert main(["search", "nmist"]) == 2
    assert example == capsys.readouterr().err
    assert "Error: settings file nmist does not exist; these come with nasrl: " in example


@pytest.mark.parametrize("verb", ["search", "trials", "show", "shards"])
def test_help_says_what_a_verb_does(verb, capsys):
    assert main([verb, "--help"]) == 0
    assert f"Usage: nasrl {verb}" in capsys.readouterr().out


def test_run_without_a_ledger_is_said_to_have_none(tmp_path, capsys):
    (tmp_path / "settings.yaml").write_text(load_settings().to_yaml())
    assert main(["trials", str(tmp_path)]) == 2
    assert "has no ledger" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["trials", "RUN"], ["shards", "RUN"], ["shards", "[::1]:1"]])
def test_verbs_that_only_look_do_not_wait_for_torch_and_ray(arguments, tmp_path):
    run = Run.create(tmp_path / "RUN", load_settings())
    Ledger.create(
        run.ledger_url, SearchRecord(3, Baseline(0.9), run.settings.depths, ACCURACY, {}, {})
    ).close()
    script = f"""
import sys
from deploy.cli import main
main({arguments!r})
sys.exit(any(name in sys.modules for name in ("torch", "ray", "sklearn")))
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr


def test_module_runs_from_any_folder(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "nasrl", "--version"], cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert "0.1.0" in ended.stdout


@pytest.mark.parametrize("room", ["workers", "child", "ps"])
def test_folder_that_hides_a_room_is_named_without_a_traceback(tmp_path, room):
    (tmp_path / room).mkdir()
    (tmp_path / room / "__init__.py").touch()
    ended = subprocess.run(
        [sys.executable, "-m", "nasrl", "search"], cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert room in ended.stderr
    assert f"in {tmp_path}? Start nasrl from another folder" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "runs").exists()


def test_example_is_printed_as_it_can_be_run(tmp_path, capsys):
    assert main(["search", "--example"]) == 0
    path = tmp_path / "mine.yaml"
    path.write_text(capsys.readouterr().out)
    assert load_settings(path) == load_settings()


def test_interrupt_while_the_program_starts_is_no_failure(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("deploy.cli.main", interrupted)
    assert start.main() == 130
    assert capsys.readouterr().out == "stopped\n"
