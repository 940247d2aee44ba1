"""The settings that come with nasrl: each can be run, and the paper's are the paper's."""

from __future__ import annotations

import pytest

from child.zoo import FIGURE_7
from deploy.cli import main
from deploy.ready import SEARCHES, TRAININGS
from deploy.settings import ImageSearchSettings
from deploy.settings_file import SettingsError, load_settings

NAMES = [
    "cells", "cifar10", "cifar10-paper-v1", "cifar10-paper-v2", "cifar10-paper-v3", "digits",
    "mnist", "ptb", "ptb-paper",
]  # fmt: skip
PAPER = [name for name in NAMES if "cifar10-paper" in name]


def test_these_come_with_nasrl_and_no_others():
    assert SEARCHES.names == NAMES
    assert TRAININGS.names == ["characters"]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_read_by_its_name_as_its_file_is(name):
    assert load_settings(name) == load_settings(f"deploy/searches/{name}.yaml")


def test_file_of_the_same_name_is_read_in_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").write_text("data: {name: digits}")
    (tmp_path / "cifar10").mkdir()

    assert load_settings("mnist").data.name == "digits"
    assert load_settings("cifar10").data.name == "cifar10"


def test_name_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(SettingsError, match=f"nmist does not exist; .*: {', '.join(NAMES)}"):
        load_settings("nmist")


@pytest.mark.parametrize("name", NAMES)
def test_each_is_printed_as_it_can_be_run(name, tmp_path, capsys):
    assert main(["search", name, "--example"]) == 0

    path = tmp_path / "mine.yaml"
    path.write_text(capsys.readouterr().out)
    assert load_settings(path) == load_settings(name)


@pytest.mark.parametrize("name", PAPER)
def test_search_of_the_paper_has_its_numbers(name):
    """Against Zoph & Le 2017, s3.2 and s4.1, written out again."""
    s = load_settings(name)

    assert (s.num_shards, s.num_replicas, s.children.per_replica, s.num_trials) == (
        20, 100, 8, 12_800,
    )  # fmt: skip
    assert (s.policy.num_layers, s.policy.hidden_size, s.policy.init_range) == (2, 35, 0.08)
    assert (s.optimizer.name, s.optimizer.learning_rate) == ("adam", 0.0006)
    assert (s.updates.accumulate, s.updates.staleness) == (1, "none")
    assert (s.data.name, s.data.num_validation, s.data.num_train) == ("cifar10", 5000, None)
    t = s.training
    assert (t.num_epochs, t.learning_rate, t.momentum, t.nesterov, t.weight_decay) == (
        50, 0.1, 0.9, True, 1e-4,
    )  # fmt: skip
    assert (t.reward_epochs, t.reward_exponent) == (5, 3)
    assert (t.augmentation.crop, t.augmentation.flip) == ("upsample", True)
    assert s.space.filter_heights == s.space.filter_widths == (1, 3, 5, 7)
    assert s.space.skip_connections


def test_searches_of_the_paper_differ_in_strides_depth_filters_and_blocks():
    v1, v2, v3 = map(load_settings, PAPER)

    assert v1.space.num_filters == v2.space.num_filters == (24, 36, 48, 64)
    assert v1.space.stride_heights == v1.space.stride_widths == (1,)
    assert v2.space.stride_heights == v2.space.stride_widths == (1, 2, 3)
    assert [v1.schedule.depth(t) for t in (1, 1600, 1601, 12_800)] == [6, 6, 8, 20]
    assert v2.schedule == v1.schedule
    assert v3.space.num_filters == (6, 12, 24, 36)
    assert (v3.space.block_size, v3.space.pooled_after) == (3, (13, 24))
    assert v3.schedule.depth(1) == v3.schedule.depth(12_800) == 13
    assert (v1.space.block_size, v1.space.pooled_after) == (1, ())


def test_what_is_left_out_of_a_file_is_the_paper_s_first_search():
    given = {"data": {"name": "cifar10"}, "training": {"precision": "float32"}}

    assert ImageSearchSettings.model_validate(given) == load_settings(PAPER[0])


def test_figure_7_is_in_the_space_of_the_paper_s_first_search():
    space = load_settings(PAPER[0]).space

    for layer in FIGURE_7.layers:
        assert layer.operation.filter_height in space.filter_heights
        assert layer.operation.num_filters in space.num_filters
