"""The settings of a search over a space of the user's: what is looked at before it begins."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest
import torch
from support.own_search import SPACE, TRAINING, write_own_search

from deploy.custom_settings import CustomSearchSettings
from deploy.run import NoNetworks, Run, RunError
from deploy.settings_file import SettingsError, load_settings

pytestmark = pytest.mark.usefixtures("own_modules")


@pytest.fixture
def file(tmp_path):
    (tmp_path / "mine").mkdir()
    return write_own_search(tmp_path / "mine")


def test_code_beside_the_file_is_found_from_any_folder(file):
    settings = load_settings(file)

    assert isinstance(settings, CustomSearchSettings)
    assert settings.task.space.decode([0, 2], 1).value == [4, 16]
    assert settings.load_data() is None
    assert settings.depths.depth(1) == 1


def test_code_in_the_folder_one_is_in_is_found(file, tmp_path, monkeypatch):
    elsewhere = tmp_path / "search.yaml"
    file.rename(elsewhere)
    monkeypatch.chdir(file.parent)

    assert load_settings(elsewhere).task.space.decode([0, 0], 1).value == [4, 4]


def test_run_has_the_code_and_goes_on_with_it_when_the_original_changes(file, tmp_path):
    run = Run.create(tmp_path / "run", load_settings(file))
    (file.parent / "my_space.py").write_text("broken")

    assert sorted(path.name for path in (run.path / "code").iterdir()) == [
        "my_space.py",
        "my_training.py",
    ]
    task = run.settings.task
    assert task.space.decode([1, 1], 1).value == [8, 8]
    assert task.folders[1] == str(run.path / "code")


def test_other_processes_find_the_code_by_the_task_alone(file, tmp_path):
    made = ["trainer=my_training:Trainer", "trainer_options.rate=0.5"]
    run = Run.create(tmp_path / "run", load_settings(file, made))
    task = run.settings.task
    assert task.space is task.space
    packed = pickle.dumps(task)
    for name in ("my_space", "my_training"):
        del sys.modules[name]
    sys.path[:] = [folder for folder in sys.path if str(tmp_path) not in folder]

    unpacked = pickle.loads(packed)
    architecture = unpacked.space.decode([0, 1], 1)
    result = unpacked.trainer(None, torch.device("cpu")).train(architecture, 0, print)

    assert (result.reward, result.state) == (0.5, "completed")


def test_paths_are_of_the_folder_that_the_search_is_started_from(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    settings = load_settings(
        file, ["trainer_options.table=tables/one.csv", "space_options.table=plain text"]
    )

    assert settings.trainer_options == {"table": str(tmp_path / "tables/one.csv")}
    assert settings.space_options == {"table": "plain text"}  # not said to be a path
    assert "tables/one.csv" in settings.to_yaml()


def test_settings_read_back_are_the_same(file, tmp_path):
    settings = load_settings(file, ["trainer_options.table=one.csv"])

    again = Run.create(tmp_path / "run", settings).settings
    assert again.model_dump() == settings.model_dump()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("space=my_space:Spice", "space=my_space:Spice: must be a class or function, and"),
        ("space=nowhere:Space", "space=nowhere:Space: there is no module nowhere"),
        ("space_options.size=3", "space=my_space:Space: cannot be made: TypeError: "),
        ("trainer=my_training:short", "trainer=my_training:short: must take (architecture, device"),
        ("trainer=my_training:Lazy", "is a class without __call__, which trains a child"),
        ("trainer_options.seed=3", "trainer_options have seed, which nasrl gives itself"),
        ("trainer_options.table={1: 2}", "trainer_options.table={1: 2}: must be texts, finite"),
        ("trainer_options.table=2024-01-01", "trainer_options.table=datetime.date(2024, 1, 1)"),
        ("trainer_options.table=.inf", "trainer_options.table=inf: must be texts, finite"),
        ("trainer=my_training:Trainer", "must take (): missing a required argument: 'rate'"),
        ("trainer_options.rate=3", "got an unexpected keyword argument 'rate'"),
        ("training.time_limit_s=0", "training.time_limit_s=0: must be greater than 0"),
        ("training.metric_format=x%", "training.metric_format='x%': must be a format of Python's"),
        ("training.metric_name=reward", "training.metric_name='reward': must be none of trial, "),
        ("data.name=digits", "unknown setting 'data'"),
    ],
)
def test_mistakes_are_named(file, override, said):
    with pytest.raises(SettingsError) as refusal:
        load_settings(file, [override])
    assert said in str(refusal.value)


def test_a_space_without_a_trainer_is_no_image_search(file):
    file.write_text("space: my_space:Space\n")

    with pytest.raises(SettingsError, match="trainer: must be given"):
        load_settings(file)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise SystemExit(3)", "raised SystemExit: 3 (my_space.py, line "),
        ("return {choose('units')}", "}: must be a value that JSON can hold, a dataclass"),
        ("return choose('unit')", "the list [], at depth 1, raised ValueError: choose('unit')"),
        ("return 1", "there is nothing to decide"),
        ("choose('units'); 1 / 0", "at depth 1, raised ZeroDivisionError: division by zero"),
    ],
)
def test_a_space_that_does_not_work_is_refused_before_anything_starts(file, body, said):
    text = SPACE.replace('return [choose("units") for _ in range(2)]', body)
    (file.parent / "my_space.py").write_text(text)

    with pytest.raises(SettingsError) as refusal:
        load_settings(file)
    assert said in str(refusal.value)


def test_a_trainer_may_inherit_how_it_is_called_and_take_a_path_or_none(file, tmp_path):
    text = (
        TRAINING
        + """
class Heir(Trainer):
    def __init__(self, table: Path | None = None):
        self.rate = 0.5
"""
    )
    (file.parent / "my_training.py").write_text(text)

    settings = load_settings(file, ["trainer=my_training:Heir", "trainer_options.table=/a/b.csv"])

    trainer = settings.task.trainer(None, torch.device("cpu"))
    assert trainer.train(settings.task.space.decode([0, 0], 1), 0, print).reward == 0.5


def test_positions_that_are_too_few_are_told_before_the_search(file):
    text = SPACE.replace("longest = 2", "longest = 1")
    (file.parent / "my_space.py").write_text(text)

    with pytest.raises(SettingsError, match="longest=1: a list goes on after so many choices"):
        load_settings(file, ["policy.sharing=position"])


def test_a_run_directory_that_cannot_have_the_code_is_not_left_behind(file, tmp_path, monkeypatch):
    settings = load_settings(file)
    (file.parent / "my_training.py").unlink()

    with pytest.raises(RunError, match="cannot be made"):
        Run.create(tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()


def test_who_asks_for_networks_is_told_who_has_them(file, tmp_path):
    run = Run.create(tmp_path / "run", load_settings(file))

    with pytest.raises(NoNetworks, match="its children are trained by a function of yours"):
        _ = run.network_settings


def test_packages_travel_whole_and_without_what_python_made_of_them(file, tmp_path):
    package = file.parent / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "table.csv").write_text("1,2")
    (package / "training.py").write_text(TRAINING)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "training.cpython-311.pyc").write_text("of Python's")
    (package / ".hidden").write_text("of an editor's")

    run = Run.create(tmp_path / "run", load_settings(file, ["trainer=my_package.training:train"]))

    code = run.path / "code"
    assert sorted(str(p.relative_to(code)) for p in code.rglob("*") if p.is_file()) == [
        "my_package/__init__.py",
        "my_package/table.csv",
        "my_package/training.py",
        "my_space.py",
    ]
    assert Path(sys.modules["my_package"].__file__ or "").parent == package


def test_cost_may_be_any_metric_of_the_trainer(file):
    settings = load_settings(file, ["objective.cost=joules", "objective.target=3"])
    assert (settings.objective.cost, settings.objective.target) == ("joules", 3.0)


def test_measures_of_networks_are_refused(file):
    with pytest.raises(SettingsError, match=r"objective.measures=\['latency_s'\]: must be empty"):
        load_settings(file, ["objective.measures=[latency_s]"])


def test_child_whose_trainer_lacks_the_cost_is_infeasible_and_told_what_there_is(file):
    settings = load_settings(file, ["objective.cost=joules", "objective.target=3"])
    trainer = settings.task.trainer(None, torch.device("cpu"))
    result = trainer.train(settings.task.space.decode([0, 1], 1), 0, print)

    assert result.state == "completed"
    assert settings.objective.rewarded(result).reason == (
        "objective.cost=joules: must be what the trainer gives; it gave a reward alone"
    )
