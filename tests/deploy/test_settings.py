import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from deploy.settings import ImageSearchSettings, LanguageSearchSettings
from deploy.settings_file import SettingsError, load_settings
from ps.optimizer import AdamSettings
from ps.server import ServerSettings

SEARCHES = Path(__file__).resolve().parents[2] / "deploy" / "searches"
# What `nasrl search --example` and `nasrl search cells --example` print, to copy.
EXAMPLES = [
    pytest.param(SEARCHES / "digits.yaml", ImageSearchSettings, id="digits"),
    pytest.param(SEARCHES / "cells.yaml", LanguageSearchSettings, id="cells"),
]


def keys(settings: BaseModel, prefix: str = "") -> set[str]:
    found = set()
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        found |= (
            keys(value, f"{prefix}{name}.") if isinstance(value, BaseModel) else {prefix + name}
        )
    return found


def flatten(data: dict, prefix: str = "") -> dict:
    flat = {}
    for name, value in data.items():
        flat |= (
            flatten(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else {prefix + name: value}
        )
    return flat


@pytest.mark.parametrize(("example", "kind"), EXAMPLES)
def test_example_names_every_setting_there_is(example, kind):
    settings = load_settings(example)

    assert type(settings) is kind
    assert set(flatten(yaml.safe_load(example.read_text()))) == keys(settings)


@pytest.mark.parametrize(("example", "kind"), EXAMPLES)
def test_example_comments_every_section_and_every_top_level_key(example, kind):
    lines = example.read_text().splitlines()
    for before, line in pairwise(lines):
        if re.match(r"[a-z_]+:", line) and line != "data:":
            assert before.startswith("#"), f"no comment above {line!r}"


def test_ports_beside_each_other_are_taken():
    metrics = "metrics={replica_port_base: 9102, search_port: 9104}"
    chosen = load_settings(overrides=["shards.metrics_port_base=9100", metrics])
    assert [chosen.metrics.replica_port(replica) for replica in range(2)] == [9102, 9103]


def test_settings_survive_the_run_directory(tmp_path):
    settings = load_settings(overrides=["seed=7", "space.num_filters=[3, 5]"])
    path = tmp_path / "settings.yaml"
    path.write_text(settings.to_yaml())
    assert load_settings(path) == settings


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("num_trials=3", 3),
        ("policy.hidden_size=64", 64),
        ("optimizer.learning_rate=1e-3", 0.001),
        ("space.filter_heights=[3]", (3,)),
        ("training.nesterov=false", False),
    ],
)
def test_override_reaches_its_setting(override, value):
    settings = load_settings(overrides=[override])
    found = settings
    for part in override.partition("=")[0].split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("num_trials=0", "num_trials=0: must be greater than or equal to 1"),
        ("num_trials=many", "num_trials='many': must be a whole number"),
        ("num_trial=5", "unknown setting 'num_trial'; did you mean 'num_trials'? known: seed,"),
        ("policy.hiden_size=5", "'policy.hiden_size'; did you mean 'policy.hidden_size'? known"),
        ("policy=5", "policy=5: must hold settings: hidden_size, num_layers"),
        (
            "strategy=annealing",
            "strategy='annealing': must be 'reinforce', 'ppo', 'evolution' or 'random'",
        ),
        ("space.num_filters=[8, 8]", "num_filters=[8, 8]: every choice must stand there once"),
        ("space.num_filters=[]", "space.num_filters=[]: must have at least one value"),
        ("num_trials=", "num_trials has no value: must be a whole number"),
        ("baseline_decay=nan", "baseline_decay='nan': must be a finite number"),
        ("space.num_filters=[0]", "space.num_filters[0]=0: must be greater than or equal to 1"),
        ("training.momentum=0", "nesterov=true and momentum=0"),
        ("num_trials=true", "num_trials=True: must be a whole number"),
        ("num_trials='12'", "num_trials='12': must be a whole number"),
        ("optimizer.learning_rate=.inf", "optimizer.learning_rate=inf: must be a finite number"),
        ("policy.init_range=.inf", "policy.init_range=inf: must be a finite number"),
        ("policy.hidden_size=99999999", "policy.hidden_size=99999999: must be less than or equal"),
        (
            "children.num_gpus=1.5",
            "children.num_gpus=1.5: must be 0.01 to 1 of one GPU, or a whole",
        ),
        (
            "space.pooled_after=[1, 3]",
            "  - space.pooled_after=[1, 3]: must be below 3, the layers of the deepest network",
        ),
        (
            "training.augmentation={crop: pad, margin: 9}",
            "  - training.augmentation.margin=9: must be at most 8, the shorter side of the",
        ),
        ("training.batch_size=1201", "  - training.batch_size=1201: must be at most 1200, the"),
        ("data.num_test=1600", "num_validation=297 and num_test=1600: must leave"),
        ("num_shards=99999999", "num_shards=99999999: must be less than or equal to 1000"),
        ("num_trials={a: 1}", "num_trials={'a': 1}: must be a whole number"),
        ("space.filter_heights={1: 2}", "space.filter_heights={1: 2}: must be a list"),
        ("space.filter_heights=3", "space.filter_heights=3: must be a list"),
        ("optimizer.learning_rate=true", "optimizer.learning_rate=True: must be a number"),
        ("optimizer.learning_rate='0.1'", "optimizer.learning_rate='0.1': must be a number"),
        ("training.nesterov='yes'", "training.nesterov='yes': must be true or false"),
        ("training.nesterov=1", "training.nesterov=1: must be true or false"),
        (
            "schedule.num_layers=1001",
            "schedule.num_layers=1001: must be less than or equal to 1000",
        ),
        (
            "schedule={increase: 900, increase_every: 30}",
            "num_trials=120, has 2706 layers: must be",
        ),
        ("client.pull_timeout_s=1e300", "client.pull_timeout_s=1e+300: must be less than or equal"),
        ("children.num_gpus=0.001", "children.num_gpus=0.001: must be 0.01 to 1 of one GPU, or"),
        ("shards.port_base=65535", "shards.port_base=65535: must be at most 65534, since shard i"),
        ("shards.metrics_port_base=65535", "metrics_port_base=65535: must be at most 65534, since"),
        (
            "shards={port_base: 7070, metrics_port_base: 7071}",
            "shards.metrics_port_base=7071: must be below 7069 or above 7071, since "
            "shards.port_base=7070; processes of one host would want the same port",
        ),
        ("metrics.search_port=65536", "metrics.search_port=65536: must be less than or equal"),
        (
            "metrics.replica_port_base=65535",
            "metrics.replica_port_base=65535: must be at most 65534, since replica i of "
            "num_replicas=2 has port replica_port_base + i",
        ),
        (
            "metrics={replica_port_base: 9101, search_port: 9102}",
            "metrics.search_port=9102: must be below 9101 or above 9102, since "
            "metrics.replica_port_base=9101",
        ),
        ("baseline_start=.inf", "baseline_start=inf: must be a finite number"),
        ("baseline_start='0'", "baseline_start='0': must be a number"),
        ("policy.sharing=layer", "policy.sharing='layer': must be 'kind' or 'position'"),
        ("baseline_decay=1", "baseline_decay=1: must be less than 1"),
        ("data.name=cifar", "data.name='cifar': must be one of digits, mnist, fashion-mnist, "),
        ("seed", "--set seed: must be key=value"),
        ("seed=[", "--set seed=[: the value is not YAML"),
        ("seed.x=1", "--set seed.x=1: 'seed' is a value and has no keys"),
    ],
)
def test_mistake_is_named_with_key_value_and_what_must_hold(override, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        load_settings(overrides=[override])


@pytest.mark.parametrize(
    "override",
    [
        "space={pooled_after: [5], block_size: 2}",
        "training.augmentation={crop: pad, margin: 8}",
        "training.augmentation={crop: none, margin: 9}",
        "training.batch_size=1200",
        "shards={port_base: 65534, metrics_port_base: 65532}",
    ],
)
def test_most_that_fits_is_taken(override):
    load_settings(overrides=[override])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{}", "data.name: must be given, one of digits, mnist, "),
        ("{name: folder, path: x}", "data.num_validation: must be given. Images that rewards"),
        ("{name: wikitext-2}", "data.folder: must be given. Where wiki.train.tokens and"),
        ("{name: text, path: x, held_out: {}}", "data.held_out.test: must be given. The file"),
    ],
)
def test_setting_that_must_be_given_is_explained(tmp_path, data, message):
    (tmp_path / "mine.yaml").write_text(f"data: {data}\n")
    with pytest.raises(SettingsError, match=re.escape(message)):
        load_settings(tmp_path / "mine.yaml")


def test_batch_of_more_images_than_a_named_set_has_left_is_refused():
    with pytest.raises(SettingsError, match=r"training.batch_size=61: must be at most 60, the"):
        load_settings("mnist", ["data.num_train=60", "training.batch_size=61"])


def test_depth_that_no_policy_by_position_could_be_built_for_is_refused_before_it_is():
    overrides = ["policy.sharing=position", "num_trials=1000000000", "schedule.increase_every=1"]
    with pytest.raises(SettingsError, match=r"schedule: the network of the last trial, num_trials"):
        load_settings(overrides=[*overrides, "schedule.increase=1000"])


def test_policy_by_position_has_weights_for_the_steps_of_the_last_trial():
    by_position = ["policy.sharing=position", "schedule={num_layers: 2, increase: 1}"]
    settings = load_settings(overrides=[*by_position, "schedule.increase_every=100"])
    names = [name for name, _ in settings.untrained().layout.shapes]

    assert settings.deepest == settings.schedule.depth(120) == 3
    assert sum("softmaxes.at_" in name and "weight" in name for name in names) == 3 * 3


def test_policy_too_small_for_its_shards_is_refused():
    small = ["hidden_size=1", "num_layers=1", "embedding_size=1"]
    with pytest.raises(
        SettingsError, match=r"num_shards=1000: must be between 1 and the number of"
    ):
        load_settings(overrides=["num_shards=1000", *(f"policy.{key}" for key in small)])


def test_numbers_are_read_as_people_write_them(tmp_path):
    path = tmp_path / "numbers.yaml"
    path.write_text("data: {name: digits}\noptimizer: {learning_rate: 1e-3, epsilon: 1.5E-8}\n")
    optimizer = load_settings(path).optimizer
    assert (optimizer.learning_rate, optimizer.epsilon) == (0.001, 1.5e-8)


def test_settings_file_may_be_named_by_a_string(tmp_path):
    (tmp_path / "mine.yaml").write_text("data: {name: digits}\nseed: 5\n")
    assert load_settings(str(tmp_path / "mine.yaml")).seed == 5


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("foo", "the URL of the ledger's database cannot be read; it must be like"),
        ("mysql://me:hunter2@host/x", "mysql://me:***@host/x: must begin with sqlite:// or"),
        ("sqlite://", "sqlite://: must name a file"),
        ("postgresql://me@host/x?password=hunter2", "postgresql://me@host/x: must not hold passw"),
    ],
)
def test_ledger_that_can_be_nowhere_is_one_line_without_a_password(url, message):
    with pytest.raises(SettingsError) as caught:
        load_settings(overrides=[f"ledger_url='{url}'"])
    head, line = str(caught.value).splitlines()
    assert head.startswith("1 mistake in the settings")
    assert line.startswith(f"  - ledger_url: {message}")
    assert "hunter2" not in line


def test_settings_are_read_where_nobody_needs_the_driver_of_the_ledger(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not installed
    url = "postgresql://me@host/name"
    assert load_settings(overrides=[f"ledger_url={url}"]).ledger_url == url


@pytest.mark.parametrize(
    ("url", "shown", "has_secret"),
    [
        ("null", None, False),
        ("sqlite:////x", "sqlite:////x", False),
        ("postgresql://me@host/name", "postgresql://me@host/name", False),
        ("postgresql://me:hunter2@host/name", "postgresql://me:***@host/name", True),
    ],
)
def test_url_of_the_ledger_is_shown_without_its_password(url, shown, has_secret):
    settings = load_settings(overrides=[f"ledger_url={url}"])
    assert (settings.shown_ledger_url, settings.has_secret) == (shown, has_secret)


def test_all_mistakes_of_a_file_are_in_one_message(tmp_path):
    path = tmp_path / "three.yaml"
    path.write_text("data: {name: digits}\nnum_trials: -5\nseeds: 1\ntraining: {momentum: 2}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    message = str(caught.value)
    assert message.startswith(f"3 mistakes in the settings ({path}):")
    assert all(name in message for name in ("num_trials=-5", "'seeds'", "training.momentum=2"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "must be a mapping"),
        ("a: [", "is not YAML"),
        ("seed: 1\n", "data: must be given"),
        ("seed: 1\nseed: 2\n", "'seed' is given twice"),
    ],
)
def test_file_that_is_no_settings_is_refused(tmp_path, text, message):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_settings(path)


def test_list_of_wrong_values_is_not_said_to_be_too_short_as_well():
    with pytest.raises(SettingsError) as caught:
        load_settings(overrides=["space.num_filters=[0, -1]"])
    assert str(caught.value).startswith("2 mistakes in the settings")


def test_file_that_is_no_text_is_said_to_be_none(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_bytes(b"\x7fELF\xff\xfe")
    with pytest.raises(SettingsError, match=r"settings\.yaml is not a text file: 'utf-8' codec"):
        load_settings(path)


def test_directory_in_the_place_of_a_file_is_said_to_be_one(tmp_path):
    with pytest.raises(SettingsError, match=r"is a directory: must be a YAML file$"):
        load_settings(tmp_path)


def test_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.yaml does not exist"):
        load_settings(tmp_path / "nowhere.yaml")


def test_setting_that_is_left_out_is_the_papers(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("data: {name: digits}\n")
    settings = load_settings(path)
    # Zoph & Le 2017, s3.2 and s4.1
    assert (settings.num_trials, settings.num_replicas, settings.num_shards) == (12_800, 100, 20)
    assert settings.children.per_replica == 8
    assert (settings.policy.hidden_size, settings.policy.num_layers) == (35, 2)
    assert settings.policy.init_range == 0.08
    assert settings.optimizer.learning_rate == 0.0006
    assert settings.space.filter_heights == settings.space.filter_widths == (1, 3, 5, 7)
    assert settings.space.num_filters == (24, 36, 48, 64)
    assert settings.training.num_epochs == 50
    assert (settings.training.learning_rate, settings.training.momentum) == (0.1, 0.9)
    assert settings.training.weight_decay == 1e-4


def test_first_weights_are_a_function_of_the_seed_alone():
    one, same, other = (
        load_settings(overrides=[f"seed={seed}"]).untrained().values for seed in (1, 1, 2)
    )
    assert one.tobytes() == same.tobytes() != other.tobytes()


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("optimizer.lr=3", "unknown setting 'optimizer.lr'; known: name, learning_rate, beta1"),
        (
            "optimizer.name=lion",
            "optimizer.name='lion': must be one of adam, sgd, adagrad, rmsprop",
        ),
        ("optimizer={name: sgd, decay: 1}", "'optimizer.decay'; known: name, .*momentum, nesterov"),
        ("optimizer=3", "optimizer=3: must hold settings: name, learning_rate"),
        ("optimizer.learning_rate=-1", "optimizer.learning_rate=-1: must be greater than 0"),
        ("optimizer={name: sgd, nesterov: true, momentum: 0}", "optimizer: nesterov=True and"),
        ("updates.accumulate=0", "updates.accumulate=0: must be greater than or equal to 1"),
        ("updates.staleness=refuse", "updates: staleness='refuse' and max_staleness=None: a bound"),
        ("updates.max_staleness=3", "updates: staleness='none' and max_staleness=3: a bound must"),
        ("shards.durability=paper", "shards.durability='paper': must be 'journal', 'checkpoint'"),
        ("shards={tls: always, insecure: true}", "shards: insecure=True and tls='always': must"),
    ],
)
def test_mistake_in_a_setting_of_the_shards_names_key_value_and_what_must_hold(override, complaint):
    with pytest.raises(SettingsError, match=rf"1 mistake in .*\n  - .*{complaint}"):
        load_settings(overrides=[override])


def test_optimizer_is_adam_where_it_is_not_named():
    assert load_settings(overrides=["optimizer={learning_rate: 0.5}"]).optimizer == AdamSettings(
        learning_rate=0.5
    )


@pytest.mark.parametrize(
    ("shards", "needs_tls", "is_open_to_all"),
    [
        ({}, False, False),
        ({"tls": "always"}, True, False),
        ({"host": "0.0.0.0"}, True, False),
        ({"host": "node-7"}, True, False),
        ({"host": "0.0.0.0", "insecure": True}, False, True),
        ({"host": "[::1]", "insecure": True}, False, False),
    ],
)
def test_shards_that_others_can_reach_have_tls_unless_told_otherwise(
    shards, needs_tls, is_open_to_all
):
    settings = ServerSettings(**shards)
    assert (settings.needs_tls, settings.is_open_to_all) == (needs_tls, is_open_to_all)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("shards.addresses=[a:1]", "shards.addresses: 1 address: must be none, or num_shards=2"),
        ("shards.addresses=[a:1,b]", "shards.addresses=.*'b' must be host:port"),
        ("shards.addresses=[a:1,b:0]", "'b:0' must be host:port, with a port from 1 to 65535"),
        ("shards.addresses=[a:99999,b:2]", "'a:99999' must be host:port, with a port from 1 to"),
        ("shards.addresses=[a:1,a:1]", "shards.addresses=.*'a:1' is given twice; each shard"),
    ],
)
def test_addresses_of_shards_must_be_one_for_each_with_a_port(override, complaint):
    with pytest.raises(SettingsError, match=complaint):
        load_settings(overrides=[override])


def test_shards_that_somebody_else_starts_elsewhere_need_tls():
    here = load_settings(overrides=["shards.addresses=[localhost:1, '127.0.0.1:2']"])
    there = load_settings(overrides=["shards.addresses=[localhost:1, 'node-7:2']"])
    assert (here.shards.needs_tls, there.shards.needs_tls) == (False, True)


# --- Evolution.


@pytest.mark.parametrize("search", ["digits", "cells"])
def test_evolution_that_would_be_over_before_it_breeds_is_refused(search):
    chosen = [
        "strategy=evolution",
        "evolution={population_size: 20, tournament_size: 5}",
        "num_replicas=3",
        "children.per_replica=4",
    ]
    path = SEARCHES / f"{search}.yaml"
    with pytest.raises(
        SettingsError,
        match=r"evolution.population_size=20: with num_replicas=3 \* children.per_replica=4 that "
        r"train meanwhile it must be below num_trials=32; .* set a smaller population_size",
    ):
        load_settings(path, [*chosen, "num_trials=32"])

    assert load_settings(path, [*chosen, "num_trials=33"]).strategy == "evolution"
    # It is no matter of other strategies.
    load_settings(path, [*chosen, "num_trials=32", "strategy=random"])


@pytest.mark.parametrize("path", sorted(SEARCHES.glob("*.yaml")), ids=lambda path: path.stem)
def test_ready_searches_can_be_made_by_evolution(path):
    assert load_settings(path, ["strategy=evolution"]).strategy == "evolution"


# --- The objective.


@pytest.mark.parametrize("search", ["digits", "cells"])
@pytest.mark.parametrize("cost", ["num_parameters", "num_multiply_adds", "latency_s"])
def test_costs_that_networks_have_are_taken_and_measured(search, cost):
    chosen = [f"objective.cost={cost}", "objective.target=100000"]
    settings = load_settings(SEARCHES / f"{search}.yaml", chosen)
    assert settings.objective.cost == cost
    assert settings.task.measures.names == (() if cost == "num_parameters" else (cost,))


@pytest.mark.parametrize("search", ["digits", "cells"])
def test_cost_that_networks_do_not_have_is_refused_with_those_they_have(search):
    with pytest.raises(
        SettingsError,
        match=r"objective.cost=seconds: must be one that networks have: "
        r"num_parameters, num_multiply_adds, latency_s$",
    ):
        load_settings(SEARCHES / f"{search}.yaml", ["objective.cost=seconds", "objective.target=1"])


def test_cost_without_a_target_is_refused_by_its_name():
    with pytest.raises(SettingsError, match="objective: cost=latency_s: must have a target"):
        load_settings(overrides=["objective.cost=latency_s"])


@pytest.mark.parametrize("path", sorted(SEARCHES.glob("*.yaml")), ids=lambda path: path.stem)
def test_ready_searches_have_the_reward_of_the_paper(path):
    settings = yaml.safe_load(path.read_text()).get("objective", {})
    assert settings.get("cost") is None
    assert settings.get("measures", []) == []
