import json
from pathlib import Path

import pytest

from child.metric import ACCURACY
from controller.baseline import Baseline
from controller.ledger import Ledger
from controller.records import SearchRecord
from deploy.run import Run, RunError
from deploy.settings_file import load_settings


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "runs" / "one", load_settings())


def begin(run):
    record = SearchRecord(3, Baseline(0.9), run.settings.depths, ACCURACY, {}, {})
    Ledger.create(run.ledger_url, record).close()


def test_run_opens_by_path_and_by_string(run):
    assert Run(str(run.path)).settings == Run(run.path).settings == load_settings()


def test_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"is not a run directory: it has no settings\.yaml"):
        Run(tmp_path)


def test_path_that_exists_is_refused(run):
    with pytest.raises(RunError, match=r"one exists already; give another with --run-dir"):
        Run.create(run.path, load_settings())


def test_path_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be made"):
        Run.create(tmp_path / "file" / "run", load_settings())


def test_ledger_that_has_not_begun_is_said_to_be_missing(run):
    with pytest.raises(RunError, match="has not begun yet"):
        run.ledger()


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
    run.publish_endpoints(["127.0.0.1:1", "127.0.0.1:2"])
    assert run.endpoints() == ("127.0.0.1:1", "127.0.0.1:2")
    written = json.loads((run.path / "endpoints.json").read_text())
    assert written == {"shards": ["127.0.0.1:1", "127.0.0.1:2"]}
    run.withdraw_endpoints()
    with pytest.raises(RunError, match="has ended"):
        run.endpoints()


def test_endpoints_of_a_shard_that_came_back_elsewhere_take_the_place_of_the_old(run):
    run.publish_endpoints(["127.0.0.1:1"])
    run.publish_endpoints(["127.0.0.1:2"])
    assert run.endpoints() == ("127.0.0.1:2",)


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
    assert sorted(path.name for path in run.path.iterdir()) == ["logs", "settings.yaml"]


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
