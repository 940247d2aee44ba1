from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest
import sample_efficiency
from network_table import NetworkTable, TableSpace
from sample_efficiency import Figures, interval, rows_of
from searchers import SEARCHERS, Searcher
from table_search import Course

TABLE = NetworkTable(
    "four",
    TableSpace(["a", "b"], {"a": (0, 1), "b": (0, 1)}),
    {(0, 0): (0.1,), (0, 1): (0.2,), (1, 0): (0.4,), (1, 1): (0.9,)},
    {(0, 0): 0.1, (0, 1): 0.2, (1, 0): 0.4, (1, 1): 0.8},
)


def test_short_mode_runs_all_strategies(monkeypatch, capsys, tmp_path):
    path = tmp_path / "rows.json"
    monkeypatch.setattr(
        sys, "argv", ["sample_efficiency", "--quick", "--processes", "1", "--json", str(path)]
    )
    sample_efficiency.main()

    rows = json.loads(path.read_text())
    assert {row["budget"] for row in rows} == {60}
    assert [row["strategy"] for row in rows] == [searcher.name for searcher in SEARCHERS]
    assert capsys.readouterr().out.count("\n| digits | 60 | ") == len(SEARCHERS)


def test_figures_are_of_the_first_trials():
    course = Course([(0, 0), (1, 0), (0, 0), (1, 1)], [0.1, 0.4, 0.1, 0.9])

    figures = Figures.of(course, TABLE, 3)
    assert figures == Figures(0.4, 0.4, pytest.approx(0.2), pytest.approx(2 / 3))
    assert Figures.of(course, TABLE, 4).best_found == 0.8


def test_best_of_ten_is_by_what_networks_are_worth():
    lucky = replace(TABLE, seen={**TABLE.seen, (0, 0): (0.95,)})
    course = Course([(0, 0), (1, 1)], [0.95, 0.9])

    assert Figures.of(course, lucky, 2).best_found == 0.1
    assert Figures.of(course, lucky, 2).best_of_ten == 0.8


def test_rows_compare_with_the_first_strategy():
    paper = Searcher("paper", at_least=3)
    rows = rows_of([TABLE], [Searcher("random", "random"), paper], [2, 4, 5], range(3), processes=1)

    assert [(row["budget"], row["strategy"]) for row in rows] == [
        (2, "random"),
        (4, "random"),
        (4, "paper"),
    ]
    for row in rows:
        found = [each["best_found"] for each in row["of_seeds"]]
        assert row["best_found"] == pytest.approx(sum(found) / 3)
        assert row["regret"] == pytest.approx(0.8 - row["best_found"])
    [_, random, paper] = rows
    for figure in ("best_found", "best_of_ten"):
        assert random[f"{figure}_ahead"] == 0.0
        assert paper[f"{figure}_ahead"] == pytest.approx(paper[figure] - random[figure])
        low, high = paper[f"{figure}_ahead_interval"]
        assert low <= paper[f"{figure}_ahead"] <= high
    assert paper["num_better"] == sum(
        each["best_found"] > random["best_found"] for each in paper["of_seeds"]
    )


def test_interval_holds_the_mean_and_is_always_the_same():
    figures = [0.13, 1.71, 2.9, 3.37, 4.03, 5.2, 6.99]
    low, high = interval(figures)

    assert 0.13 < low < sum(figures) / 7 < high < 6.99
    assert interval(figures) == (low, high)
    assert interval([0.5, 0.5]) == (0.5, 0.5)
