"""A shard's process, before it touches the shard's state."""

import pytest

from ps.errors import StateError
from ps.layout import Layout
from ps.optimizer import AdamSettings
from ps.plan import ShardPlan, UpdateSettings
from ps.server import ServerSettings
from workers.process import ProcessSetup
from workers.shard import ShardProcess


@pytest.fixture
def plan():
    layout = Layout((("weight", (4,)),), 1)
    return ShardPlan(layout, 0, AdamSettings(), UpdateSettings())


@pytest.mark.parametrize("found", [None, "another search"])
def test_shard_on_a_node_that_does_not_see_the_run_begins_nothing(
    tmp_path, plan, found, monkeypatch
):
    monkeypatch.setattr(ProcessSetup, "enter", lambda *_: None)
    run = tmp_path / "run"
    if found is not None:
        run.mkdir()
        (run / "id").write_text(found)
    folder = run / "shards" / "shard-0"
    with pytest.raises(StateError, match="does not see it"):
        ShardProcess(
            ProcessSetup(tmp_path), 1, plan, ServerSettings(), folder, None, None, "this search"
        )
    assert not folder.exists()
