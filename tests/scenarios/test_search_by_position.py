"""A whole search with the other answers to what the paper leaves open of the policy."""

from __future__ import annotations

from support.runs import overrides

from deploy.cli import main
from deploy.run import Run


def test_search_by_position_learns_in_networks_that_get_deeper_from_its_own_first_baseline(
    tmp_path,
):
    changed = overrides(
        **{
            "num_trials": 8,
            "policy.sharing": "position",
            "baseline_start": 0.25,
            "schedule.num_layers": 2,
            "schedule.increase": 1,
            "schedule.increase_every": 4,
        }
    )

    assert main(["search", *changed, "--run-dir", str(tmp_path / "run")]) == 0

    with Run(tmp_path / "run").ledger() as ledger:
        trials = sorted(ledger.trials(), key=lambda trial: trial.record_number)
        pushes = ledger.pushes()
    assert [trial.baseline for trial in trials[:2]] == [0.25, trials[0].reward]
    assert {trial.depth for trial in trials} == {2, 3}
    assert sorted(trial for push in pushes for trial in push.trials) == list(range(1, 9))
    assert all(push.closed_at is not None for push in pushes)
