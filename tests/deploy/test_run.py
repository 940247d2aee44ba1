import json
import sys
from pathlib import Path

import pytest
import sqlalchemy as sql
from support.disks import UnsyncedDisk
from support.postgresql import PostgresqlServer, programs

from child.metric import ACCURACY
from controller.baseline import Baseline
from controller.errors import WrongState
from controller.ledger import Ledger
from controller.ledger_reader import LedgerReader
from controller.records import SearchRecord
from deploy import launch
from deploy.cli import main
from deploy.resume import resumed_settings
from deploy.run import Run, RunError
from deploy.settings_file import load_settings


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "runs" / "one", load_settings())


def begin(run):
    record = SearchRecord(3, Baseline(0.9), run.settings.depths, ACCURACY, {}, {})
    Ledger.create(run.ledger_url, record).close()


def test_each_run_has_an_id_of_its_own_that_stays(tmp_path):
    one, other = (Run.create(tmp_path / name, load_settings()) for name in ("one", "other"))
    assert one.id
    assert one.id != other.id
    assert Run(one.path).id == one.id
    (one.path / "id").unlink()
    with pytest.raises(RunError, match="id cannot be read"):
        Run(one.path).id  # noqa: B018 (it is the reading)


def test_run_opens_by_path_and_by_string(run):
    assert Run(str(run.path)).settings == Run(run.path).settings == load_settings()


def test_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"is not a run directory: it has no settings\.yaml"):
        Run(tmp_path)


def test_path_that_exists_is_refused(run):
    with pytest.raises(RunError, match=r"one exists already; give another with --run-dir, or go"):
        Run.create(run.path, load_settings())


def test_path_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be made"):
        Run.create(tmp_path / "file" / "run", load_settings())


def test_ledger_that_has_not_begun_is_said_to_be_missing(run):
    with pytest.raises(RunError, match="has not begun yet"):
        run.ledger()


def test_ledger_that_is_on_another_machine_is_said_to_be_there(tmp_path):
    url = "ledger_url=sqlite:////home/head/first.sqlite"
    run = Run.create(tmp_path / "one", load_settings(overrides=[url]))
    (run.path / "begun").touch()
    with pytest.raises(RunError) as caught:
        run.ledger()
    assert str(caught.value) == (
        f"{run.path}: its ledger, sqlite:////home/head/first.sqlite, is not on this machine, "
        "or is gone; look from where it is: the machine that runs the search, of a cluster its head"
    )


def test_ledger_file_without_tables_has_not_begun(run):
    Path(run.path / "ledger.sqlite").touch()
    with pytest.raises(RunError, match="has not begun yet"):
        run.ledger()


def test_ledger_that_has_begun_is_read(run):
    begin(run)
    with run.ledger() as ledger:
        assert ledger.progress().num_trials == 3


def test_ledger_that_cannot_be_read_is_said_to_be_so_and_stays(run):
    (run.path / "ledger.sqlite").write_bytes(b"x" * 64)
    with pytest.raises(
        RunError, match=r"cannot be read: .*ledger\.sqlite: file is not a database.*from a copy"
    ):
        run.ledger()
    assert not run.discard_if_empty()
    assert run.path.exists()


def test_run_is_discarded_only_before_its_ledger_begins(run):
    other = Run.create(run.path.parent / "two", load_settings())
    begin(run)
    assert other.discard_if_empty()
    assert not other.path.exists()
    assert not run.discard_if_empty()
    assert run.path.exists()


def test_run_in_which_a_shard_was_started_by_hand_is_not_discarded(run):
    (run.path / "shards" / "shard-0").mkdir(parents=True)
    assert not run.discard_if_empty()
    assert (run.path / "shards" / "shard-0").exists()


def test_endpoints_are_known_from_their_publication_to_their_withdrawal(run):
    with pytest.raises(RunError, match=r"no endpoints\.json: its shards are not up yet"):
        run.endpoints()
    metrics = {"search": "127.0.0.1:3", "replica-0": "127.0.0.1:4"}
    run.publish_endpoints(["127.0.0.1:1", "127.0.0.1:2"], metrics)
    assert run.endpoints() == ("127.0.0.1:1", "127.0.0.1:2")
    assert run.metrics_endpoints() == metrics
    written = json.loads((run.path / "endpoints.json").read_text())
    assert written == {"shards": ["127.0.0.1:1", "127.0.0.1:2"], "metrics": metrics}
    run.withdraw_endpoints()
    assert run.metrics_endpoints() == {}
    with pytest.raises(RunError, match="has ended"):
        run.endpoints()


def test_endpoints_of_a_shard_that_came_back_elsewhere_take_the_place_of_the_old(run):
    run.publish_endpoints(["127.0.0.1:1"])
    run.publish_endpoints(["127.0.0.1:2"])
    assert run.endpoints() == ("127.0.0.1:2",)


@pytest.mark.parametrize(("base", "port"), [(9100, 9102), (0, None), (None, None)])
def test_port_of_metrics_is_known_where_the_settings_fix_it(tmp_path, base, port):
    fixed = load_settings(overrides=[f"shards.metrics_port_base={json.dumps(base)}"])
    assert Run.create(tmp_path / "run", fixed).fixed_metrics_port(2) == port


def test_endpoints_may_be_withdrawn_that_were_never_published(run):
    run.withdraw_endpoints()


def test_shards_that_somebody_else_starts_are_where_the_settings_say(tmp_path):
    given = "shards.addresses=['127.0.0.1:1', '127.0.0.1:2']"
    run = Run.create(tmp_path / "run", load_settings(overrides=[given]))
    assert run.endpoints() == ("127.0.0.1:1", "127.0.0.1:2")


def test_settings_that_a_search_goes_on_with_are_kept(run):
    longer = load_settings(overrides=["num_trials=500"])
    run.keep(longer)
    assert Run(run.path).settings == longer
    assert sorted(path.name for path in run.path.iterdir()) == ["id", "logs", "settings.yaml"]


def test_ledger_is_in_the_run_directory_or_where_the_settings_say(run, tmp_path):
    assert run.ledger_url == f"sqlite:///{run.path}/ledger.sqlite"
    url = f"sqlite:///{tmp_path}/elsewhere.sqlite"
    other = Run.create(tmp_path / "other", load_settings(overrides=[f"ledger_url={url}"]))
    begin(other)
    assert other.ledger_url == url
    assert other.has_begun
    assert not (other.path / "ledger.sqlite").exists()


def test_search_has_begun_when_its_ledger_has(run):
    assert not run.has_begun
    assert not (run.path / "ledger.sqlite").exists()
    begin(run)
    assert run.has_begun


def test_path_with_strange_characters_holds_a_ledger(tmp_path):
    run = Run.create(tmp_path / "a run?[x]%20#1", load_settings())
    begin(run)
    run.ledger().close()
    assert (run.path / "ledger.sqlite").is_file()


# --- What holds another search, and what has lost its own.


@pytest.fixture
def used(tmp_path):
    """The URL of a database that holds another search, which has lived."""
    other = Run.create(tmp_path / "first", settings_at(f"sqlite:///{tmp_path}/shared.sqlite"))
    live(other)
    return other.ledger_url


@pytest.fixture(scope="module")
def postgresql():
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    server = PostgresqlServer(found)
    yield server
    server.stop()


@pytest.fixture
def empty(postgresql):
    """The URL of an empty schema, with a password. The server takes any."""
    return with_password(postgresql.new_url(), "hunter2")


def with_password(url, password):
    return url.replace("postgres@", f"postgres:{password}@")


def settings_at(ledger_url, *overrides):
    return load_settings(overrides=[f"ledger_url='{ledger_url}'", *overrides])


def live(run, *, is_new=True):
    """Give a search the life of a launch, without its processes."""
    with launch._life(run, run.settings, None, is_new=is_new) as (ledger, heartbeat):
        ledger.end(heartbeat.life, "stopped")


def rows(url):
    with LedgerReader(url) as ledger:
        return ledger.progress(), ledger.lives()


def mode_of(run):
    return (run.path / "settings.yaml").stat().st_mode & 0o777


@pytest.fixture
def run_search(monkeypatch):
    """What the command gives to run_search, in the place of a search."""
    given = []

    def refuse(settings, run, *_, is_new):
        given.append((settings, run, is_new))
        raise launch.SearchRefused("refused")

    monkeypatch.setattr(launch, "run_search", refuse)
    return given


def test_new_search_on_the_ledger_of_another_is_refused_and_leaves_nothing(used, tmp_path, capsys):
    before = rows(used)
    code = main(["search", "--set", f"ledger_url={used}", "--run-dir", str(tmp_path / "run")])

    assert code == 2
    said = capsys.readouterr().err
    assert f"ledger_url={used}: holds another search already: must be a database of this" in said
    assert "name an empty one" in said
    assert "--resume /" not in said
    assert rows(used) == before
    assert not (tmp_path / "run").exists()


def test_new_search_on_a_used_ledger_is_refused_without_the_password(empty, tmp_path, capsys):
    live(Run.create(tmp_path / "first", settings_at(empty)))
    arguments = ["--set", f"ledger_url={empty}", "--run-dir", str(tmp_path / "run")]

    assert main(["search", *arguments]) == 2
    said = capsys.readouterr().err
    assert "ledger_url=postgresql://postgres:***@/postgres?host=" in said
    assert "hunter2" not in said
    assert not (tmp_path / "run").exists()


def test_new_search_never_takes_a_ledger_that_came_to_be_meanwhile(run, tmp_path):
    url = f"sqlite:///{tmp_path}/shared.sqlite"
    late = Run.create(tmp_path / "late", settings_at(url))
    assert late.obstacle(is_new=True) is None
    begin(late)  # somebody else does, who has no life yet

    with pytest.raises(WrongState, match="holds a search already"):
        live(late)
    assert rows(url)[1] == []


def test_run_that_has_not_begun_does_not_go_on_with_the_ledger_of_another(used, tmp_path):
    run = Run.create(tmp_path / "killed-early", settings_at(used))

    assert "holds another search" in run.obstacle(is_new=False)
    assert not run.has_begun
    with pytest.raises(RunError, match="has not begun yet"):
        run.ledger()
    assert run.discard_if_empty()


def test_search_whose_ledger_is_elsewhere_is_resumed_wherever_its_directory_is(used, tmp_path):
    moved = Run((tmp_path / "first").rename(tmp_path / "moved"))

    assert moved.has_begun
    assert moved.obstacle(is_new=False) is None
    live(moved, is_new=False)
    assert len(rows(used)[1]) == 2


def test_launch_that_was_killed_before_it_could_say_that_it_had_begun_is_resumed(tmp_path):
    run = Run.create(tmp_path / "run", settings_at(f"sqlite:///{tmp_path}/shared.sqlite"))
    begin(run)

    assert run.obstacle(is_new=False) is None
    live(run, is_new=False)
    assert (run.path / "begun").read_text() == f"sqlite:///{tmp_path}/shared.sqlite\n"


def test_run_in_which_nothing_has_begun_may_begin_when_it_is_resumed(run):
    (run.path / "shards" / "shard-0").mkdir(parents=True)  # of a shard that kept nothing
    assert run.obstacle(is_new=False) is None
    live(run, is_new=False)
    assert run.has_begun


@pytest.mark.parametrize("sign", ["begun", "shards/shard-1/journal-00000001-00000001"])
def test_search_that_has_lost_its_ledger_is_not_resumed_and_stays(run, sign, capsys):
    (run.path / sign).parent.mkdir(parents=True, exist_ok=True)
    (run.path / sign).touch()

    assert main(["search", "--resume", str(run.path)]) == 2
    said = capsys.readouterr().err
    assert f"Error: {run.path}: the s" in said
    assert "its ledger is gone: ledger.sqlite must hold it" in said
    assert "restore it from a copy" in said
    assert not (run.path / "ledger.sqlite").exists()
    assert (run.path / sign).exists()
    assert not run.discard_if_empty()


def test_shards_that_somebody_else_has_started_may_wait_for_the_search(tmp_path):
    addresses = "shards.addresses=['127.0.0.1:1', '127.0.0.1:2']"
    run = Run.create(tmp_path / "run", load_settings(overrides=[addresses]))
    journal = run.path / "shards" / "shard-0" / "journal-00000001-00000001"
    journal.parent.mkdir(parents=True)
    journal.touch()

    assert run.obstacle(is_new=False) is None
    live(run)
    (run.path / "ledger.sqlite").unlink()
    assert "its ledger is gone" in run.obstacle(is_new=False)


@pytest.mark.usefixtures("run_search")
def test_refused_resume_leaves_the_log_of_a_search_that_lives_alone(run, capsys):
    assert main(["search", "--resume", str(run.path)]) == 2
    assert capsys.readouterr().err.splitlines() == ["Error: refused"]
    assert (run.log_dir / "search.log").read_text() == ""


@pytest.mark.parametrize("is_new", [True, False])
def test_command_says_whether_the_search_is_new(run, run_search, tmp_path, is_new):
    how = ["--run-dir", str(tmp_path / "new")] if is_new else ["--resume", str(run.path)]
    assert main(["search", *how]) == 2
    assert [new for _, _, new in run_search] == [is_new]
    assert run.path.exists(), "a run that was there before stays"


# --- URLs that cannot be used, and passwords.


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("foo", "the URL of the ledger's database cannot be read"),
        ("mysql://me:hunter2@host/x", r"mysql://me:\*\*\*@host/x: must begin with sqlite:// or"),
    ],
)
def test_ledger_whose_url_cannot_be_used_is_said_to_be_unreadable(run, url, message):
    (run.path / "settings.yaml").write_text(f"ledger_url: {url}\n")
    refused = f"^the ledger of {run.path} cannot be read: {message}"
    with pytest.raises(RunError, match=refused) as caught:
        run.ledger()
    assert "restore it" not in str(caught.value)
    # Whatever is there, this search has not begun, and another URL may be given for it.
    assert run.discard_if_empty()


@pytest.mark.parametrize("url", ["foo", "mysql://x/y", "postgresql://me@host/name"])
def test_search_with_a_ledger_that_cannot_be_is_one_line_and_code_2(
    url, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not installed
    path = tmp_path / "run"

    assert main(["search", "--set", f"ledger_url={url}", "--run-dir", str(path)]) == 2
    said = capsys.readouterr().err
    assert "Error: " in said
    assert "Traceback" not in said
    assert not path.exists()


def test_settings_with_a_password_are_their_owners_alone(empty, tmp_path, run):
    with_one = Run.create(tmp_path / "with", settings_at(empty))
    assert (mode_of(with_one), mode_of(run) & 0o077) == (0o600, 0o044)

    run.keep(settings_at(empty))
    assert mode_of(run) == 0o600
    with_one.keep(load_settings())
    assert mode_of(with_one) == 0o600, "whatever its owner made of it, stays"


def test_password_is_not_in_what_the_ledger_keeps(empty, postgresql, tmp_path):
    run = Run.create(tmp_path / "run", settings_at(empty))
    live(run)

    schema = empty.rpartition("%3D")[2]
    [(kept,)] = postgresql.execute(f"SELECT settings FROM {schema}.search")
    assert sql.make_url(kept["ledger_url"]) == sql.make_url(empty.replace("hunter2", "***"))
    assert {**kept, "ledger_url": empty} == run.settings.model_dump(mode="json")
    assert "hunter2" not in (run.path / "begun").read_text()


def test_search_is_resumed_with_another_password(empty, tmp_path, run_search):
    before = Run.create(tmp_path / "run", settings_at(empty))
    live(before)
    url = with_password(empty.replace(":hunter2@", "@"), "rotated")

    assert main(["search", "--resume", str(before.path), "--set", f"ledger_url={url}"]) == 2
    [(settings, run, _)] = run_search
    assert settings.ledger_url == run.ledger_url == url
    assert before.ledger_url == empty, "until the search has a new life"
    with launch._life(run, settings, None, is_new=False) as (ledger, heartbeat):
        ledger.end(heartbeat.life, "stopped")
    assert before.ledger_url == before.settings.ledger_url == url
    assert resumed_settings(before, []) == settings


# --- A power cut.


def test_settings_that_are_kept_survive_a_power_cut(run, tmp_path, monkeypatch):
    disk = UnsyncedDisk(run.path)
    monkeypatch.setattr("deploy.run.Disk", lambda: disk)
    longer = load_settings(overrides=["num_trials=500"])
    run.keep(longer)

    assert Run(disk.crash(tmp_path / "after", "nothing")).settings == longer


def test_settings_of_a_new_run_survive_a_power_cut(tmp_path, monkeypatch):
    disk = UnsyncedDisk(tmp_path)
    monkeypatch.setattr("deploy.run.Disk", lambda: disk)
    Run.create(tmp_path / "run", load_settings())

    assert Run(disk.crash(tmp_path / "after", "nothing") / "run").settings == load_settings()


def test_settings_that_cannot_be_written_are_said_to_be_so(run, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("deploy.run.Disk.sync", fail)
    with pytest.raises(RunError, match=r"settings\.yaml cannot be written: .*No space left"):
        run.keep(load_settings(overrides=["num_trials=500"]))
    assert run.settings == load_settings()


def test_life_whose_settings_cannot_be_written_ends_as_failed(run, monkeypatch):
    def fail(*_):
        raise RunError("no space")

    monkeypatch.setattr(Run, "keep", fail)
    with pytest.raises(RunError, match="no space"):
        live(run)
    with run.ledger() as ledger:
        assert ledger.progress().state == "failed"
        assert ledger.lives()[-1].ended_at is not None
