"""`nasrl trials` as a table, and for programs."""

import csv
import json
from dataclasses import replace

import pytest
from support.rounds import record_one

from child.metric import ACCURACY, Metric
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


def made(path, results, metric=ACCURACY):
    """Make a run with these results."""
    run = Run.create(path / "run", load_settings())
    search = SearchRecord(len(results), Baseline(0.9), run.settings.depths, metric, {}, {})
    with Ledger.create(run.ledger_url, search) as ledger:
        owner = ledger.enlist(0, ledger.begin_life("here", 1)).owner
        places = ledger.reserve(owner, len(results))
        for place, result in zip(places, results, strict=True):
            shown = {"trial": place.trial}
            start = Start(place.trial, (), (), shown, f"3x3,{place.trial}", 1, (0,))
            ledger.start(owner, [start])
            record_one(ledger, owner, place.trial, result)
    return str(run.path)


@pytest.fixture
def printed(tmp_path, capsys):
    """Give what is printed of a run with these results."""

    def printed(results, *options, metric=ACCURACY):
        assert main(["trials", made(tmp_path, results, metric), *options]) == 0
        return capsys.readouterr().out

    return printed


@pytest.fixture
def table(printed):
    """Give the lines that are printed for a run with these results."""

    def table(results, *options, **made):
        return printed(results, *options, **made).splitlines()

    return table


def test_reason_stands_beside_the_architecture_that_could_not_be_trained(table):
    heading, _, first, second = table([COMPLETED, INFEASIBLE])

    assert heading.split()[-2:] == ["architecture", "reason"]
    assert first.split()[-1] == "3x3,1"
    assert " ".join(second.split()).endswith("3x3,2 max_parameters=9: has 20")


def test_table_of_trials_that_could_be_trained_has_no_reasons(table):
    heading, *_ = table([COMPLETED, COMPLETED])

    assert heading.split()[-1] == "architecture"


# --- Metrics.


def measured(reward, cost, **metrics):
    return replace(
        COMPLETED, reward=reward, validation=reward, num_parameters=cost, metrics=metrics
    )


# The second is worse and dearer than the third, by parameters and by joules.
RESULTS = [
    measured(0.9, 300, joules=7.0, latency_s=0.00123456),
    measured(0.7, 200, joules=4.0),
    measured(0.8, 200, joules=3.0),
    INFEASIBLE,
]


def test_metrics_are_columns_where_a_trial_has_some(table):
    heading, _, first, second, *_ = table(RESULTS)

    assert heading.split()[6:10] == ["seconds", "joules", "latency_s", "architecture"]
    # Nothing was tested: there is no cell between the accuracy and the parameters.
    assert first.split()[4:] == ["300", "1.0", "7", "0.001235", "3x3,1"]
    assert second.split()[4:] == ["200", "1.0", "4", "3x3,2"]


def test_many_metrics_are_left_out_of_the_table_but_for_the_cost(table):
    many = {name: float(number) for number, name in enumerate("abcde", start=1)}
    heading, *_ = table([measured(0.9, 300, **many)])
    assert heading.split()[6:] == ["seconds", "architecture"]


def test_cost_is_in_the_table_however_many_metrics_there_are(table):
    many = {name: float(number) for number, name in enumerate("abcde", start=1)}
    heading, _, first = table([measured(0.9, 300, **many)], "--pareto", "c")
    assert heading.split()[6:] == ["seconds", "c", "architecture"]
    assert first.split()[6:] == ["3", "3x3,1"]


def test_metrics_by_names_of_other_columns_have_a_column_of_their_own(table):
    own = Metric("reward", ".2f", True)
    heading, _, first = table([measured(0.9, 300, test=4.0, accuracy=5.0)], metric=own)

    assert heading.split() == [
        "trial", "state", "reward", "validation", "test", "parameters", "seconds",
        "metrics.test", "accuracy", "architecture",
    ]  # fmt: skip
    assert first.split() == ["1", "completed", "0.900", "0.90", "300", "1.0", "4", "5", "3x3,1"]


def test_csv_has_a_column_for_each_metric(printed):
    first, second, *_, last = csv.DictReader(printed(RESULTS, "--format", "csv").splitlines())

    assert (first["metrics.joules"], first["metrics.latency_s"]) == ("7.0", "0.00123456")
    assert (second["metrics.joules"], second["metrics.latency_s"]) == ("4.0", "")
    assert (last["state"], last["metrics.joules"]) == ("infeasible", "")


# --- The best for what they cost.


@pytest.mark.parametrize("cost", ["num_parameters", "joules"])
def test_best_for_their_cost_are_listed_cheapest_first(cost, table):
    found = table(RESULTS, "--pareto", cost)
    assert [line.split()[-1] for line in found[2:]] == ["3x3,3", "3x3,1"]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_best_for_their_cost_are_there_for_programs(form, printed):
    text = printed(RESULTS, "--pareto", "joules", "--format", form)
    rows = json.loads(text) if form == "json" else list(csv.DictReader(text.splitlines()))
    assert [int(row["trial"]) for row in rows] == [3, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--pareto", "flops"],
            "--pareto flops: must be a cost that the trials have; they have num_parameters, "
            "seconds, joules, latency_s",
        ),
        (["--pareto", "joules", "--top", "3"], "--top and --pareto: must be one of them"),
    ],
)
def test_cost_that_cannot_be_is_refused(options, message, tmp_path, capsys):
    assert main(["trials", made(tmp_path, RESULTS), *options]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
