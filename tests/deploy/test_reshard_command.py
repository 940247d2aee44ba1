"""`nasrl reshard`: a stopped search goes on with another number of shards."""

import hashlib
import itertools
import re
import shutil
import stat
from contextlib import suppress

import numpy as np
import pytest
import yaml
from support.children import completed, start_of
from support.crashes import StoppingDisk
from support.disks import FailingDisk, PowerCut
from support.rounds import record_one

from child.metric import ACCURACY
from controller.baseline import Baseline
from controller.ledger import Ledger
from controller.records import SearchRecord
from deploy.cli import main
from deploy.commands.reshard import change_num_shards
from deploy.run import Run
from deploy.settings_file import SettingsError, load_settings
from ps.disk import Disk
from ps.errors import StateError
from ps.folder import shard_folder
from ps.plan import ShardPlan
from ps.push import Push
from ps.recovery import recover
from ps.shard import Shard

SMALL = ["policy.hidden_size=4", "policy.embedding_size=4", "policy.num_layers=1", "num_shards=1"]


def create_run(path, *overrides):
    """Make a run whose ledger has begun, and no shard."""
    run = Run.create(path, load_settings(overrides=[*SMALL, *overrides]))
    Ledger.create(
        run.ledger_url, SearchRecord(9, Baseline(0.9), run.settings.depths, ACCURACY, {}, {})
    ).close()
    return run


def plans_of(settings):
    layout = settings.untrained().layout
    return [
        ShardPlan(layout, shard, settings.optimizer, settings.updates)
        for shard in range(settings.num_shards)
    ]


def live(run, *sequences, settings=None):
    """Let the shards of a run live, initialize them, and push; then stop them."""
    settings = settings or run.settings
    values = settings.untrained().values
    for plan in plans_of(settings):
        owned = values[plan.layout.slices[plan.shard]].copy()
        shard = Shard(plan, settings.shards, shard_folder(run.path, plan.shard))
        shard.initialize(plan.layout.sha256, hashlib.sha256(owned).digest(), owned)
        for sequence in sequences:
            push = Push(0, sequence, 1, 0, owned * np.float32(sequence))
            shard.push(push, lambda answer, *_: answer)
        shard.close()


def state_of(run, settings=None):
    """The bytes of the values and moments that the shards of a run hold together, and a version."""
    settings = settings or run.settings
    stores = [
        recover(
            Disk(),
            shard_folder(run.path, plan.shard),
            10**7,
            plan,
            plan.identity | {"durability": settings.shards.durability},
        ).store.state()
        for plan in plans_of(settings)
    ]
    vectors = {
        name: np.concatenate([store.arrays[name] for store in stores]).tobytes()
        for name in ("values", "exp_avg", "exp_avg_sq")
    }
    (version,) = {store.numbers["version"] for store in stores}
    return version, vectors


@pytest.fixture
def run(tmp_path):
    """A run of one shard at version 3, at rest."""
    run = create_run(tmp_path / "run")
    live(run, 1, 2, 3)
    return run


def test_run_has_the_new_number_of_shards_and_all_that_the_old_ones_held(run, capsys):
    before, settings = state_of(run), run.settings

    assert main(["reshard", str(run.path), "--num-shards", "3"]) == 0

    assert run.settings == settings.model_copy(update={"num_shards": 3})
    assert before[0] == 3
    assert state_of(run) == before
    assert capsys.readouterr().out.startswith(
        f"{run.path} has 3 shards from now on; `nasrl search --resume {run.path}` goes on with "
    )
    live(run, 4)
    assert state_of(run)[0] == 4


def test_old_state_is_kept_under_a_name_of_its_own_each_time(run, capsys):
    first, steps = state_of(run), [(2, "shards-of-1"), (1, "shards-of-2"), (2, "shards-of-1-2")]
    for sequence, (num_shards, kept) in enumerate(steps, start=4):
        assert main(["reshard", str(run.path), "--num-shards", str(num_shards)]) == 0
        assert f"kept in {run.path / kept}, and" in capsys.readouterr().out
        live(run, sequence)

    assert sorted(path.name for path in run.path.glob("shards*")) == [
        "shards",
        "shards-of-1",
        "shards-of-1-2",
        "shards-of-2",
    ]
    shutil.rmtree(run.path / "shards")
    (run.path / "shards-of-1").rename(run.path / "shards")
    assert state_of(run, run.settings.model_copy(update={"num_shards": 1})) == first


def test_settings_can_be_read_by_whom_they_could_be_read_before(run):
    path = run.path / "settings.yaml"
    path.chmod(0o640)

    assert main(["reshard", str(run.path), "--num-shards", "2"]) == 0

    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.fixture
def run_elsewhere(tmp_path):
    """A run whose one shard somebody else starts, at version 1."""
    run = create_run(tmp_path / "elsewhere", 'shards.addresses=["127.0.0.1:7070"]')
    live(run, 1)
    return run


def test_shards_that_somebody_else_starts_get_new_addresses(run_elsewhere):
    run = run_elsewhere
    before, addresses = state_of(run), ("127.0.0.1:7071", "[::1]:7072")
    arguments = [f"--address={address}" for address in addresses]

    assert main(["reshard", str(run.path), "--num-shards", "2", *arguments]) == 0

    assert run.settings.num_shards == 2
    assert run.settings.shards.addresses == addresses
    assert state_of(run) == before


# Refusals


def everything_in(folder):
    """What must not change: files and folders but those of the lives that looked."""
    return {
        str(path.relative_to(folder)): path.is_file() and path.read_bytes()
        for path in folder.rglob("*")
        if path.parent.name != "shard-0" and not path.name.startswith("ledger.sqlite")
    }


def refused(run, capsys, *arguments):
    """Run the command, which must change nothing, and give what it says."""
    before = everything_in(run.path)
    assert main(["reshard", str(run.path), *arguments]) == 2
    assert everything_in(run.path) == before
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    return printed.err


def test_same_number_is_refused(run, capsys):
    said = refused(run, capsys, "--num-shards", "1")
    assert f"--num-shards 1: {run.path} has 1 shard already" in said


def test_more_shards_than_parameters_are_refused(tmp_path, capsys):
    run = create_run(tmp_path / "run", "policy.hidden_size=1", "policy.embedding_size=1")
    live(run, 1)
    num_parameters = run.settings.untrained().layout.num_parameters
    said = refused(run, capsys, "--num-shards", str(num_parameters + 1))
    assert f"num_shards={num_parameters + 1}: must be between 1 and the number" in said


@pytest.mark.parametrize("number", ["0", "-1", "1001"])
def test_number_that_no_search_may_have_is_refused(run, capsys, number):
    assert number in refused(run, capsys, "--num-shards", number)


def test_shards_that_somebody_else_starts_must_be_given_new_addresses(run_elsewhere, capsys):
    said = refused(run_elsewhere, capsys, "--num-shards", "2")
    assert "--address must be given once for each of the new ones, 2 times" in said
    said = refused(run_elsewhere, capsys, "--num-shards", "3", "--address", "127.0.0.1:1")
    assert "shards.addresses: 1 address: must be none, or num_shards=3" in said


def test_run_without_shards_is_refused(tmp_path, capsys):
    run = create_run(tmp_path / "run")
    assert "has no state of shards" in refused(run, capsys, "--num-shards", "2")


def test_run_whose_shards_were_never_initialized_is_refused(tmp_path, capsys):
    run = create_run(tmp_path / "run")
    (plan,) = plans_of(run.settings)
    Shard(plan, run.settings.shards, shard_folder(run.path, 0)).close()
    assert "shard 0 of 1 holds no values" in refused(run, capsys, "--num-shards", "2")


def test_run_that_keeps_nothing_on_disk_is_refused(tmp_path, capsys):
    run = create_run(tmp_path / "run", "shards.durability=none")
    assert "keeps nothing on disk" in refused(run, capsys, "--num-shards", "2")


def test_folder_that_is_no_run_is_refused(tmp_path, capsys):
    assert main(["reshard", str(tmp_path), "--num-shards", "2"]) == 2
    assert "is not a run directory" in capsys.readouterr().err


def test_run_without_a_ledger_is_refused(run, capsys):
    for path in run.path.glob("ledger.sqlite*"):
        path.unlink()
    assert "has no ledger" in refused(run, capsys, "--num-shards", "2")


def test_running_search_is_refused(run, capsys):
    (plan,) = plans_of(run.settings)
    running = Shard(plan, run.settings.shards, shard_folder(run.path, 0))
    said = refused(run, capsys, "--num-shards", "2")
    running.close()
    assert f"the search of {run.path} must be stopped first" in said
    assert re.search(r"is held by process \d+ .*: must be free; end that process first, ", said)
    assert "take" not in said, "there is no such option"


def test_seed_that_is_not_the_search_s_is_refused(run, capsys):
    path = run.path / "settings.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: 1", 1))
    said = refused(run, capsys, "--num-shards", "2")
    assert "was initialized with other values" in said


def test_push_that_has_reached_some_shards_is_refused(tmp_path, capsys):
    run = create_run(tmp_path / "run", "num_shards=2")
    live(run, 1)
    settings = run.settings
    plan = plans_of(settings)[1]
    shard = Shard(plan, settings.shards, shard_folder(run.path, 1))
    gradient = np.ones(plan.num_parameters, np.float32)
    shard.push(Push(0, 2, 1, 0, gradient), lambda answer, *_: answer)
    shard.close()

    assert main(["reshard", str(run.path), "--num-shards", "3"]) == 2

    assert "it ends with all its pushes finished" in capsys.readouterr().err
    assert run.settings == settings


def test_push_that_is_open_in_the_ledger_alone_is_refused(run, capsys):
    with Ledger(run.ledger_url) as ledger:
        owner = ledger.enlist(4, ledger.begin_life("here", 1)).owner
        (reservation,) = ledger.reserve(owner, 1)
        ledger.start(owner, [start_of(reservation.trial)])
        record_one(ledger, owner, reservation.trial, completed(0.5))
        sequence = ledger.open_push(owner, [reservation.trial], [3], [3], b"1234")
    said = refused(run, capsys, "--num-shards", "2")
    assert "has open pushes (r4#1): must have none" in said

    with Ledger(run.ledger_url) as ledger:
        ledger.close_push(owner, sequence, [4], [0], [0])
    assert main(["reshard", str(run.path), "--num-shards", "2"]) == 0


# Interruptions


def phase_of(run):
    """Which shards count for whoever comes next: the old ones, none yet, or the new ones."""
    try:
        return str(run.settings.num_shards)
    except SettingsError as error:
        said = str(error)
    assert "num_shards='1 is being changed to 2: repeat `nasrl reshard RUN" in said
    return "exchanging"


def copy_of(run, path):
    shutil.copytree(run.path, path)
    return Run(path)


def interrupted(run, folder, failing):
    """Give a copy of the run for each step, at which the command failed, by the step's number.

    The steps inside `ps.reshard` are under test there; here are those before and behind them.
    """
    disk = FailingDisk(10**6)
    change_num_shards(copy_of(run, folder / "whole"), 2, (), disk)
    steps = range(1, disk.num_operations + 1)
    for n in sorted({*steps[:8], *steps[-30:]}):
        copy, disk = copy_of(run, folder / str(n)), failing(n)
        with suppress(PowerCut, StateError, OSError):
            change_num_shards(copy, 2, (), disk)
        assert disk.fired
        yield copy, disk.fired


def finish(run):
    """Repeat the command, if there is anything left to do."""
    if phase_of(run) != "2":
        assert main(["reshard", str(run.path), "--num-shards", "2"]) == 0


def check_finished(run, settings, expected, step):
    old, new = settings, settings.model_copy(update={"num_shards": 2})
    assert run.settings == new, step
    assert state_of(run, new) == expected, step
    names = sorted(path.name for path in run.path.glob("s*"))
    assert names == ["settings.yaml", "shards", "shards-of-1"], step
    shutil.rmtree(run.path / "shards")
    (run.path / "shards-of-1").rename(run.path / "shards")
    assert state_of(run, old) == expected, step


@pytest.mark.parametrize("failing", [StoppingDisk, FailingDisk])
def test_whatever_step_fails_one_state_counts_and_a_repeat_finishes(run, tmp_path, failing):
    settings, expected, phases = run.settings, state_of(run), []
    for copy, step in interrupted(run, tmp_path, failing):
        phases.append(phase_of(copy))
        if phases[-1] != "exchanging":
            assert state_of(copy) == expected, step
        finish(copy)
        check_finished(copy, settings, expected, step)

    assert [phase for phase, _ in itertools.groupby(phases)] == ["1", "exchanging", "2"]


def test_repeat_that_fails_itself_is_finished_by_another(run, tmp_path):
    settings, expected, kinds = run.settings, state_of(run), {}
    for copy, _ in interrupted(run, tmp_path, StoppingDisk):
        if phase_of(copy) == "exchanging":
            folders = (path.name for path in copy.path.glob("shards*"))
            kinds.setdefault(tuple(sorted(folders)), copy)

    assert list(kinds) == [
        ("shards", "shards.resharded"),
        ("shards-of-1", "shards.resharded"),
        ("shards", "shards-of-1"),
    ]
    for kind, once in kinds.items():
        folder = tmp_path / "again" / "-".join(kind)
        for copy, step in interrupted(once, folder, StoppingDisk):
            finish(copy)
            check_finished(copy, settings, expected, step)


def test_each_step_is_durable_before_the_next_begins(run):
    class Watching(Disk):
        def __init__(self):
            self.steps = []

        def sync(self, file):
            super().sync(file)
            self.steps.append("file")

        def rename(self, path, to):
            super().rename(path, to)
            self.steps.append(f"{path.name} -> {to.name}")

        def sync_folder(self, folder):
            super().sync_folder(folder)
            self.steps.append(f"{folder.name}/")

    disk = Watching()
    change_num_shards(run, 2, (), disk)

    assert disk.steps[-12:] == [
        "shards.resharded.tmp -> shards.resharded",
        "run/",
        "file",
        "settings.yaml.tmp -> settings.yaml",  # being exchanged
        "run/",
        "shards -> shards-of-1",
        "run/",
        "shards.resharded -> shards",
        "run/",
        "file",
        "settings.yaml.tmp -> settings.yaml",
        "run/",
    ]


@pytest.mark.parametrize("name", ["shards.resharded.tmp", "settings.yaml.tmp", "shards"])
def test_failure_of_the_disk_is_code_1_and_one_message(run, name, monkeypatch, capsys):
    rename = Disk.rename

    def fail(disk, path, to):
        if path.name == name:
            raise OSError(28, "No space left on device")
        rename(disk, path, to)

    with monkeypatch.context() as patch:
        patch.setattr(Disk, "rename", fail)
        assert main(["reshard", str(run.path), "--num-shards", "2"]) == 1
    printed = capsys.readouterr()
    assert "No space left on device" in printed.err
    assert "Traceback" not in printed.err
    finish(run)


@pytest.fixture
def exchanging(run):
    """The run, interrupted when its shards were being exchanged."""
    path = run.path / "settings.yaml"
    said = yaml.safe_load(path.read_text())
    said["num_shards"] = "1 is being changed to 2: repeat `nasrl reshard RUN --num-shards 2`"
    path.write_text(yaml.safe_dump(said))
    return run


def test_interrupted_run_cannot_be_given_a_third_number(exchanging, capsys):
    said = refused(exchanging, capsys, "--num-shards", "3")
    assert "--num-shards 3: the change from 1 to 2 was interrupted: must be 2 first" in said


def test_nothing_starts_on_an_interrupted_run(exchanging, capsys):
    assert main(["shard", str(exchanging.path), "--index", "0"]) == 2
    assert "1 is being changed to 2: repeat `nasrl reshard RUN" in capsys.readouterr().err


def test_interrupted_run_that_has_lost_its_shards_says_so(exchanging, capsys):
    shutil.rmtree(exchanging.path / "shards")
    said = refused(exchanging, capsys, "--num-shards", "2")
    assert "has neither shards nor shards.resharded" in said
