"""The points of a grid, and variants: settings of a search that were changed."""

from __future__ import annotations

import itertools

import pytest

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import Convolution, Layer
from deploy.retrain.defaults import default_retrain_settings
from deploy.retrain.loading import load_retrain_settings
from deploy.retrain.points import Point, points
from deploy.retrain.retraining import Retraining
from deploy.settings_file import SettingsError, load_settings

LAYERS = (Layer(Convolution(3, 3, 8)),)


@pytest.fixture
def search():
    return load_settings("digits")


def test_every_combination_is_a_point(search):
    grid = {
        "training": {"learning_rate": [0.1, 0.2], "schedule": {"kind": ["cosine", "constant"]}},
        "network": {"norm_epsilon": [1e-5, 1e-4, 1e-3]},
    }
    found = points(search, grid)

    seen = [
        (
            point.settings.training.learning_rate,
            point.settings.training.schedule.kind,
            point.settings.network.norm_epsilon,
        )
        for point in found
    ]
    expected = itertools.product([0.1, 0.2], ["cosine", "constant"], [1e-5, 1e-4, 1e-3])
    assert seen == list(expected)
    assert str(found[1]) == "learning_rate 0.1, kind cosine, norm_epsilon 0.0001"


def test_setting_with_one_value_is_changed_and_tells_nothing_apart(search):
    [point] = points(search, {"training": {"batch_size": [32]}})
    assert point.settings.training.batch_size == 32
    assert str(point) == ""


def test_what_is_not_in_the_grid_stays_but_for_the_limits_of_a_child():
    search = load_settings(
        "digits",
        ["training.time_limit_s=3", "training.max_parameters=100", "training.momentum=0.5"],
    )
    [point] = points(search, {})
    training = search.training.model_copy(update={"time_limit_s": None, "max_parameters": None})
    assert point.settings == search.model_copy(update={"training": training})


def test_value_that_is_a_mapping_changes_what_it_names():
    search = load_settings("cells", ["model.dropout.embedding=0.3"])
    [point] = points(search, {"model": {"dropout": [{"input": 0.5}]}})
    dropout = point.settings.model.dropout
    assert (dropout.embedding, dropout.input, dropout.output) == (0.3, 0.5, 0.0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("grid.training.learning_rate=[0.1,-1]", "training.learning_rate=-1: must be greater"),
        ("grid.training.learning_rate=0.1", r"learning_rate=0.1: must be a list of values to try"),
        ("grid.training.learning_rate=[]", r"learning_rate=\[\]: must be a list of values to try"),
        ("grid.training.learning_rat=[1]", "unknown setting 'training.learning_rat'; did you mean"),
        ("grid.training=[1]", r"grid.training: must be a setting of training or network, such as"),
        ("grid.seed=[1]", "grid.seed: must be a setting of training or network"),
        ("grid.space.extra_filters=[4]", "grid.space.extra_filters: must be a setting of training"),
        ("grid.training.momentum.x=[1]", "'momentum' is a value and has no settings"),
        (
            "grid.training.momentum=[0.9,0.8,0.9]",
            "grid.training.momentum=.*: 0.9 must be there once",
        ),
        ("grid.training.reward_exponent=[1.0]", "reward_exponent: must be left out; networks are"),
        ("grid.training.max_parameters=[9]", "max_parameters: must be left out; limits of a child"),
        (
            "final.variants=[{training: {num_epochs: 9}}]",
            "num_epochs: must be left out; see final.",
        ),
        ("final.variants=[{}, {}]", r"final.variants\[1\]={}: must be there once"),
        ("grid.training.batch_size=[4000]", "batch_size=4000: must be at most 1200, the images"),
        ("final.variants=[{data: {split_seed: 1}}]", "final.variants.data.split_seed: must be"),
        ("final.variants=[{training: {momentum: 2}}]", "training.momentum=2: must be less than 1"),
        ("final.variants=[]", "final.variants=.*must have at least one value"),
        ("final.variants=[3]", r"final.variants\[0\]=3: must be a mapping of settings"),
        ("final.max_epochs=3", "max_epochs=3: must be at least num_epochs=18"),
        ("final=3", "final=3: must hold settings: num_epochs, max_epochs"),
        ("topp=3", "unknown setting 'topp'; did you mean 'top'"),
        ("top=0", "top=0: must be greater than or equal to 1"),
        ("grid=3", "grid=3: must be a mapping of settings"),
    ],
)
def test_mistake_is_named_with_its_value_and_what_must_hold(search, override, message):
    with pytest.raises(SettingsError, match=message):
        Retraining(search, load_retrain_settings(search, overrides=[override]), [])


def test_variant_changes_the_point_and_how_long_it_is_trained(search):
    point = points(search, {"training": {"learning_rate": [0.2, 0.3]}})[1]
    changed = point.variant({"training": {"momentum": 0.5}, "space": {"extra_filters": 4}}, 77)

    assert changed.settings.training.learning_rate == 0.3
    assert changed.settings.training.momentum == 0.5
    assert changed.settings.training.num_epochs == 77
    assert changed.settings.space.extra_filters == 4
    assert str(changed) == "momentum 0.5, extra_filters 4"


def test_rate_that_was_decided_changes_by_as_much_as_that_of_the_settings(search):
    decided = ConvolutionalArchitecture(LAYERS, learning_rate=0.03)
    point = points(search, {"training": {"learning_rate": [0.1]}})[0]  # twice the search's

    assert point.learning_rate(decided) == pytest.approx(0.06)
    assert point.variant({}, 9).learning_rate(decided) == pytest.approx(0.06)
    assert Point.of(search).learning_rate(decided) == pytest.approx(0.03)
    assert point.learning_rate(ConvolutionalArchitecture(LAYERS)) is None


@pytest.mark.parametrize(
    ("name", "axes", "num_points", "num_variants"),
    [
        ("digits", ["learning_rate", "weight_decay", "kind", "norm_epsilon"], 24, 1),
        (
            "cifar10-paper-v1",
            ["learning_rate", "weight_decay", "milestones", "norm_epsilon"],
            24,
            1,
        ),
        ("cells", ["learning_rate", "init_range", "dropout"], 12, 3),
        ("ptb-paper", ["learning_rate", "constant_epochs", "init_range", "dropout"], 24, 3),
    ],
)
def test_default_grid_varies_what_the_paper_does(name, axes, num_points, num_variants):
    search = load_settings(name)
    settings = default_retrain_settings(search)
    found = points(search, settings.grid)

    assert [key.rpartition(".")[2] for key in found[0].changes] == axes
    assert len(found) == num_points
    assert len(settings.final.variants) == num_variants
    # One of them is the search itself.
    assert Point.of(search).settings in [point.settings for point in found]


def test_sizes_of_language_models_are_as_far_apart_as_those_of_table_2():
    settings = default_retrain_settings(load_settings("ptb-paper"))
    sizes = [each["model"]["num_parameters"] for each in settings.final.variants]
    assert [size / sizes[0] for size in sizes] == pytest.approx([1, 32 / 25, 54 / 25])


def test_paper_is_trained_as_long_as_densenet():
    final = default_retrain_settings(load_settings("cifar10-paper-v1")).final
    assert (final.num_epochs, final.limit) == (300, 600)


def test_file_takes_the_place_of_what_it_names(search, tmp_path):
    path = tmp_path / "retrain.yaml"
    path.write_text("top: 2\ngrid: {training: {momentum: [0.8]}}\nfinal: {num_seeds: 9}\n")
    settings = load_retrain_settings(search, path, ["final.num_epochs=20"])

    assert (settings.top, settings.num_grid_seeds) == (2, 1)
    assert settings.grid == {"training": {"momentum": [0.8]}}
    assert (settings.final.num_seeds, settings.final.num_epochs) == (9, 20)


def test_settings_that_are_printed_are_read_as_they_were(search, tmp_path):
    path = tmp_path / "retrain.yaml"
    settings = load_retrain_settings(search, None, ["top=7", "final.max_epochs=44"])
    path.write_text(settings.to_yaml())
    assert load_retrain_settings(search, path) == settings


def test_every_variant_must_be_possible_with_every_point(search):
    settings = load_retrain_settings(
        search,
        overrides=[
            "grid={training: {nesterov: [false, true]}}",
            "final.variants=[{training: {momentum: 0.0}}]",
        ],
    )
    with pytest.raises(SettingsError, match="Nesterov's rule needs momentum"):
        Retraining(search, settings, [])


@pytest.mark.parametrize(("epsilon", "expected"), [(0.05, [0.05, 1.0]), (1.0, [1.0])])
def test_default_grid_stays_within_what_settings_may_be(epsilon, expected):
    search = load_settings("digits", [f"network.norm_epsilon={epsilon}"])
    grid = default_retrain_settings(search).grid
    assert grid["network"]["norm_epsilon"] == expected
    points(search, grid)
