"""A search whose processes are killed and frozen at random; then its books are audited."""

import pytest
from support.audit import audit
from support.nemesis import Nemesis
from support.runs import SMALL, SearchProcess, wait_until_gone

NUM_SHARDS = SMALL["num_shards"]


@pytest.mark.timeout(240)
def test_search_under_a_nemesis_ends_with_its_exact_budget(tmp_path):
    # The freezes take the longest to be noticed; the slow test has them.
    with SearchProcess.new(tmp_path / "run", num_trials=40) as search:
        search.wait_for_trials(2)
        nemesis = Nemesis(search, seed=1, pause_s=(0.2, 1.0), frozen=0.0)
        nemesis.strike(6, timeout_s=60)
        code, output = search.end(150)
        pids = search.pids()

    assert len(nemesis.struck) == 6, (nemesis.struck, output)
    assert code == 0, (nemesis.struck, output)
    assert "Traceback" not in output
    audit(search.path, 40, NUM_SHARDS)
    wait_until_gone(pids)


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("seed", [2, 3])
def test_search_under_a_long_nemesis_ends_with_its_exact_budget(tmp_path, seed):
    with SearchProcess.new(
        tmp_path / "run", **{"num_trials": 100_000, "rounds.dispatch": "continuous"}
    ) as search:
        search.wait_for_trials(2)
        nemesis = Nemesis(search, seed, pause_s=(1.0, 6.0))
        nemesis.strike(60, timeout_s=1500)
        assert len(nemesis.struck) == 60, (nemesis.struck, search.end(1))
        num_recorded = search.num_recorded()
    with SearchProcess.resumed(search.path, f"--set=num_trials={num_recorded + 50}") as search:
        code, output = search.end(400)

    assert code == 0, (nemesis.struck, output)
    audit(search.path, num_recorded + 50, NUM_SHARDS)
