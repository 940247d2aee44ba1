"""The reference of settings: what it says of each, the page, and the command."""

import re
from pathlib import Path

import pytest
import yaml

from deploy.cli import main
from deploy.settings_file import load_settings
from deploy.settings_page import settings_page
from deploy.settings_reference import Kind, groups

ROOT = Path(__file__).parents[2]
SETTINGS = [
    (kind, group, each) for kind in Kind for group in groups(kind) for each in group.settings
]


def of(name, kind=Kind.IMAGE_SEARCH, tag=None):
    [found] = [
        setting
        for its_kind, group, setting in SETTINGS
        if its_kind is kind and setting.name == name and (tag is None or tag in group.tags)
    ]
    return found


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_every_setting_and_every_section_is_described(kind):
    for group in groups(kind):
        assert group.text.endswith("."), f"{group.heading}: {group.text!r}"
        for setting in group.settings:
            assert setting.text, f"{setting.name}, {group.heading}: has no description"
            is_code = re.search(
                r"[a-z_]+\.[a-z_]+\.[A-Z]|`(deploy|child|controller|workers|ps)\.", setting.text
            )
            assert not is_code, f"{setting.name}: {setting.text!r} is for those who read code"


def test_page_is_as_the_models_say():
    kept = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert kept == settings_page(), "docs/settings.md is out of date; run `make docs`"


@pytest.mark.parametrize(
    ("name", "values", "default"),
    [
        ("seed", "whole number, from 0, below 2^63", "0"),
        ("strategy", "reinforce, ppo, evolution or random", "reinforce"),
        ("time_limit_s", "number, above 0; or null", "null"),
        ("children.num_cpus", "number, 0.01 to 1,000", "1.0"),
        ("policy.temperature", "number, above 0, up to 1,000", "1.0"),
        ("training.nesterov", "true or false", "true"),
        ("training.batch_size", "whole number, at least 2", "64"),
        (
            "space.num_filters",
            "list of one or more, each a whole number, 1 to 4,096",
            "[24, 36, 48, 64]",
        ),
        ("shards.addresses", "list, each text", "[]"),
        ("training.schedule.milestones", "list, each a number, above 0, below 1", "[0.5, 0.75]"),
    ],
)
def test_what_a_setting_may_be_is_said_in_words(name, values, default):
    assert (of(name).values, of(name).default) == (values, default)


def test_settings_of_one_of_several_models_are_told_apart_by_its_name():
    assert of("optimizer.learning_rate", tag="adam").default == "0.0006"
    assert of("optimizer.learning_rate", tag="sgd").default == "0.01"
    assert of("data.num_validation", tag="svhn").default == "5000"
    assert of("data.path", tag="folder").default is None


def test_default_is_that_of_the_kind_of_search():
    cells = Kind.LANGUAGE_SEARCH
    assert of("children.per_replica").default == "8"
    assert of("children.per_replica", cells).default == "1"
    assert of("optimizer.learning_rate", cells, "adam").default == "0.0005"
    assert of("training.schedule.factor", cells).default == "0.8"


@pytest.mark.parametrize(
    ("example", "kind"), [("digits", Kind.IMAGE_SEARCH), ("cells", Kind.LANGUAGE_SEARCH)]
)
def test_every_setting_of_an_example_is_in_the_reference(example, kind):
    def names(section, prefix=""):
        for key, value in section.items():
            if isinstance(value, dict):
                yield from names(value, f"{prefix}{key}.")
            elif key != "name":
                yield f"{prefix}{key}"

    there = yaml.safe_load(load_settings(example).to_yaml())
    assert set(names(there)) <= {each.name for its_kind, _, each in SETTINGS if its_kind is kind}


def test_command_says_what_a_setting_is_in_each_kind_that_has_it(capsys):
    assert main(["settings", "training.learning_rate"]) == 0
    assert capsys.readouterr().out == (
        "training (image searches; nasrl train, images)\n"
        "  training.learning_rate\n"
        "    number, above 0; default 0.1\n"
        "    Size of a step in the first epoch; s4.1.\n"
        "\n"
        "training (language searches; nasrl train, language)\n"
        "  training.learning_rate\n"
        "    number, above 0; default 1.0\n"
        "    Size of a step in the first epoch.\n"
    )


def test_command_says_what_is_in_a_section(capsys):
    assert main(["settings", "optimizer"]) == 0
    printed = capsys.readouterr().out
    for tag in ("adam", "sgd", "adagrad", "rmsprop"):
        assert f"optimizer, name: {tag} (" in printed
    assert "\n  optimizer.initial_accumulator\n" in printed


def test_command_lists_the_sections(capsys):
    assert main(["settings"]) == 0
    printed = capsys.readouterr().out
    for kind in Kind:
        for group in groups(kind):
            assert f"  {group.heading}: " in printed or not group.name
    assert "in no section: seed, strategy" in printed


def test_command_prints_the_page(capsys):
    assert main(["settings", "--markdown"]) == 0
    assert capsys.readouterr().out == settings_page()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["training.lerning_rate"],
            "did you mean 'training.learning_rate'? `nasrl settings` lists",
        ),
        (["zzz"], "unknown setting 'zzz'; `nasrl settings` lists all sections"),
        (["decay"], "unknown setting 'decay'"),  # no part of a word
        (["seed", "--markdown"], "--markdown, NAME: must be one of them"),
    ],
)
def test_mistake_is_named(arguments, message, capsys):
    assert main(["settings", *arguments]) == 2
    assert message in capsys.readouterr().err
