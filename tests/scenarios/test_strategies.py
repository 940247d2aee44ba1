"""Whole searches by what the paper does not have: PPO, and evolution."""

from __future__ import annotations

import pytest
from support.runs import overrides

from deploy.cli import main
from deploy.run import Run


@pytest.fixture
def searched(tmp_path):
    """Give a function that runs a search and gives its trials, in the order of their results."""

    def search(**changes):
        run = tmp_path / "run"
        changed = overrides(num_trials=12, **changes)
        assert main(["search", *changed, "--run-dir", str(run)]) == 0
        assert main(["report", str(run), "-o", str(tmp_path / "report.html")]) == 0
        with Run(run).ledger() as ledger:
            trials = sorted(ledger.trials(), key=lambda trial: trial.record_number)
            pushes = ledger.pushes()
        assert sorted(trial for push in pushes for trial in push.trials) == list(range(1, 13))
        assert all(push.closed_at is not None for push in pushes)
        return trials

    return search


def test_search_by_evolution_mutates_what_the_ledger_has_of_all_replicas(searched):
    trials = searched(
        **{
            "strategy": "evolution",
            "evolution.population_size": 4,
            "evolution.tournament_size": 2,
            "space.layer_types": "[convolution]",
        }
    )

    bred = [trial for trial in trials if not trial.log_probs]
    # While the first four were in training, as many as there are children were drawn beside them.
    assert 2 <= len(bred) <= 8
    for trial in bred:
        distances = [
            sum(one != other for one, other in zip(trial.decisions, each.decisions, strict=True))
            for each in trials
            if each.trial != trial.trial
        ]
        assert min(distances) <= 1


@pytest.mark.slow
def test_search_by_ppo_with_a_bonus_and_bounded_logits_learns_to_its_end(searched):
    trials = searched(
        **{
            "strategy": "ppo",
            "learning.entropy_bonus": 0.01,
            "learning.epochs": 4,
            "policy.tanh_constant": 2.5,
            "policy.temperature": 5.0,
        }
    )

    assert all(len(trial.log_probs) == len(trial.decisions) for trial in trials)
