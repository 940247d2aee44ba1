"""`nasrl trials` as a table."""

import pytest
from support.rounds import record_one

from child.metric import ACCURACY
from child.result import TrialResult
from controller.baseline import Baseline
from controller.ledger import Ledger
from controller.records import SearchRecord
from controller.trial import Start
from deploy.cli import main
from deploy.run import Run
from deploy.settings_file import load_settings

COMPLETED = TrialResult("completed", 0.5, (0.5,), 0.5, num_parameters=9, seconds=1.0)
INFEASIBLE = TrialResult(
    "infeasible", 0.0, (), None, num_parameters=20, seconds=0.0, reason="max_parameters=9: has 20"
)


@pytest.fixture
def table(tmp_path, capsys):
    """Give the lines that are printed for a run with these results."""

    def table(results):
        run = Run.create(tmp_path / "run", load_settings())
        search = SearchRecord(len(results), Baseline(0.9), run.settings.depths, ACCURACY, {}, {})
        with Ledger.create(run.ledger_url, search) as ledger:
            owner = ledger.enlist(0, ledger.begin_life("here", 1)).owner
            places = ledger.reserve(owner, len(results))
            for place, result in zip(places, results, strict=True):
                start = Start(place.trial, (), (), {}, f"3x3,{place.trial}", 1, (0,))
                ledger.start(owner, [start])
                record_one(ledger, owner, place.trial, result)
        assert main(["trials", str(run.path)]) == 0
        return capsys.readouterr().out.splitlines()

    return table


def test_reason_stands_beside_the_architecture_that_could_not_be_trained(table):
    heading, _, first, second = table([COMPLETED, INFEASIBLE])

    assert heading.split()[-2:] == ["architecture", "reason"]
    assert first.split()[-1] == "3x3,1"
    assert " ".join(second.split()).endswith("3x3,2 max_parameters=9: has 20")


def test_table_of_trials_that_could_be_trained_has_no_reasons(table):
    heading, *_ = table([COMPLETED, COMPLETED])

    assert heading.split()[-1] == "architecture"
