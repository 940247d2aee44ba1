from __future__ import annotations

import itertools
import json

import pytest
from network_table import DIGITS, NetworkTable, TableSpace

SPACE = TableSpace(["size", "color", "size"], {"size": (1, 3, 5), "color": ("red", "blue")})


def test_list_of_decisions_is_followed_to_its_end():
    choices = []
    while (decision := SPACE.next_decision(choices, depth=1)) is not None:
        assert {decision} == SPACE.positions(1)[len(choices)]
        choices.append(decision.num_choices - 1)

    assert choices == [2, 1, 2]
    assert [decision.kind for decision in SPACE.decisions] == ["size", "color"]
    assert str(SPACE.decode(choices, depth=1)) == "size 5, color blue, size 5"


@pytest.mark.parametrize("choices", [[], [0, 0], [0, 0, 0, 0], [3, 0, 0], [0, -1, 0]])
def test_list_that_is_none_is_refused(choices):
    with pytest.raises(ValueError, match="must be 3, below"):
        SPACE.decode(choices, depth=1)


def test_other_depth_is_refused():
    with pytest.raises(ValueError, match="depth=2: must be 1"):
        SPACE.next_decision([], depth=2)


def test_table_of_digits_has_every_network_once():
    table = NetworkTable.digits()

    assert sorted(table.seen) == list(itertools.product(range(3), repeat=6))
    assert len(DIGITS.read_text().splitlines()) == 730
    assert [len(step) for step in table.space.positions(1)] == [1] * 6
    assert table.space.options("num_filters") == [4, 8, 16]


def test_table_of_digits_is_read_by_its_columns(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(
        "num_filters_1,stride_height_1,validation_0,validation_1,test_0,test_1,num_parameters\n"
        "8,1,0.5,0.6,0.25,0.75,1\n4,1,0.1,0.2,0.5,0.5,1\n"
    )
    table = NetworkTable.digits(path)

    assert table.seen == {(1, 0): (0.5, 0.6), (0, 0): (0.1, 0.2)}
    assert table.values == {(1, 0): 0.5, (0, 0): 0.5}
    assert table.best == 0.5


def test_nasbench_macro_is_read_from_both_files(tmp_path):
    (tmp_path / "table.csv").write_text(
        "arch,acc0,acc1,acc2,mean_acc\n00000012,90.0,91.0,92.0,91.0\n00000000,45,45,45,45\n"
    )
    published = {"00000012": {"acc": [90.0, 91.0, 92.0]}, "00000000": {"acc": [45, 45, 45]}}
    (tmp_path / "table.json").write_text(json.dumps(published))

    for name in ("table.csv", "table.json"):
        table = NetworkTable.nasbench_macro(tmp_path / name)
        assert table.seen[0, 0, 0, 0, 0, 0, 1, 2] == (0.9, 0.91, 0.92)
        assert table.best == pytest.approx(0.91)
