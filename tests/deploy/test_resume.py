"""What a search may be resumed with, and why not with anything else."""

import pytest

from deploy.resume import resumed_settings
from deploy.run import Run
from deploy.settings_file import SettingsError, load_settings


@pytest.fixture
def make_run(tmp_path):
    """Give a function that makes the run directory of a search with the settings given."""

    def make(*overrides):
        return Run.create(tmp_path / "run", load_settings(overrides=overrides))

    return make


def value_at(settings, key):
    for name in key.split("."):
        settings = getattr(settings, name)
    return settings


def refusal(run, *overrides):
    """Give the lines of the message that a change is refused with, one for each setting."""
    with pytest.raises(SettingsError) as caught:
        resumed_settings(run, overrides)
    head, *lines = str(caught.value).splitlines()
    assert head == (
        f"the search in {run.path} cannot be resumed with other settings than these: num_trials, "
        "num_replicas, time_limit_s, target_reward, rounds, children, client, shards, metrics; "
        "start a new search for:"
    )
    return lines


def test_search_that_is_resumed_without_a_change_has_the_settings_it_had(make_run):
    run = make_run("num_trials=77")
    assert resumed_settings(run, []) == run.settings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_trials", 121),
        ("num_trials", 60),  # whether so many have begun already is for the ledger to say
        ("num_replicas", 5),
        ("time_limit_s", 60.0),
        ("target_reward", 0.9),
        ("rounds.dispatch", "continuous"),
        ("rounds.correction", "clip"),
        ("rounds.reuse", True),
        ("children.per_replica", 4),
        ("children.num_cpus", 0.5),
        ("children.num_gpus", 1.0),
        ("children.max_deaths", 1),
        ("client.push_timeout_s", 3.0),
        ("shards.addresses", ("10.0.0.1:7070", "10.0.0.2:7070")),
        ("shards.checkpoint_pushes", 5),
    ],
)
def test_setting_that_may_change_is_taken_and_all_others_stay(make_run, key, value):
    run = make_run()
    text = str(list(value) if isinstance(value, tuple) else value)
    resumed = resumed_settings(run, [f"{key}={text}"])
    assert value_at(resumed, key) == value
    section = key.split(".")[0]
    assert resumed.model_dump(exclude={section}) == run.settings.model_dump(exclude={section})


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("num_shards=3", "num_shards=3: must stay 2; the shards' state is cut for as many; change "
         "it with nasrl reshard"),
        ("seed=9", "seed=9: must stay 0; trials that are trained again are drawn from it"),
        ("baseline_decay=0.5", "baseline_decay=0.5: must stay 0.9; the baseline of the rewards so "
         "far was made with it"),
        ("baseline_start=0.5", "baseline_start=0.5: must stay 0.0; the baseline of the rewards so "
         "far was made with it"),
        ("ledger_url='sqlite:////x'", "ledger_url='sqlite:////x': must stay None; the ledger stays "
         "where it is"),
        ("shards.durability=none", "shards.durability='none': must stay 'journal'; the shards' "
         "state on disk is of this kind"),
        ("optimizer.learning_rate=0.5", "optimizer.learning_rate=0.5: must stay 0.015; the shards' "
         "moments were made with it"),
        ("updates.accumulate=2", "updates.accumulate=2: must stay 1; the shards' state was made "
         "with it"),
        ("policy.hidden_size=64", "policy.hidden_size=64: must stay 35; the policy on the shards "
         "is of this shape"),
        ("strategy=random", "strategy='random': must stay 'reinforce'; the rewards so far would "
         "not be of the same search"),
        ("data.split_seed=1", "data.split_seed=1: must stay 0; the rewards so far would not be of "
         "the same search"),
        ("space.num_filters=[8]", "space.num_filters=[8]: must stay [8, 16, 24, 32]; the rewards "
         "so far would not be of the same search"),
        ("schedule.num_layers=4", "schedule.num_layers=4: must stay 3; the rewards so far would "
         "not be of the same search"),
        ("network.order=norm-relu-convolution", "network.order='norm-relu-convolution': must stay "
         "'convolution-norm-relu'; the rewards so far would not be of the same search"),
        ("training.num_epochs=4", "training.num_epochs=4: must stay 3; the rewards so far would "
         "not be of the same search"),
    ],
)  # fmt: skip
def test_setting_that_may_not_change_is_refused_with_both_values_and_the_reason(
    make_run, change, line
):
    assert refusal(make_run(), change) == [f"  - {line}"]


def test_every_setting_that_may_not_change_is_named_at_once_and_those_that_may_are_not(make_run):
    lines = refusal(make_run(), "seed=9", "num_trials=500", "training.num_epochs=4")
    assert [line.partition("=")[0] for line in lines] == ["  - seed", "  - training.num_epochs"]


def test_optimizer_of_another_kind_is_refused_by_its_name(make_run):
    [first, *_] = refusal(make_run(), "optimizer={name: sgd, learning_rate: 0.015}")
    assert first == (
        "  - optimizer.name='sgd': must stay 'adam'; the shards' moments were made with it"
    )


DEEPENING = ("policy.sharing=position", "schedule.increase=1", "schedule.increase_every=60")


def test_budget_for_which_the_policy_has_no_weights_is_refused(make_run):
    run = make_run(*DEEPENING)
    assert refusal(run, "num_trials=600") == [
        "  - num_trials=600: the networks would get deeper than the policy on the shards has "
        "weights for, with policy.sharing=position"
    ]


def test_budget_that_makes_networks_no_deeper_is_taken_with_weights_for_each_position(make_run):
    run = make_run(*DEEPENING, "num_trials=100")
    assert resumed_settings(run, ["num_trials=110"]).num_trials == 110


POSTGRESQL = "postgresql://me:{}@db/nasrl"


def test_ledger_may_have_another_password_or_none(make_run):
    run = make_run(f"ledger_url={POSTGRESQL.format('old')}")
    for url in (POSTGRESQL.format("new"), "postgresql+psycopg://me@db/nasrl"):
        assert resumed_settings(run, [f"ledger_url={url}"]).ledger_url == url


@pytest.mark.parametrize(
    "url", ["postgresql://me:new@db/other", "postgresql://me:new@elsewhere/nasrl"]
)
def test_ledger_stays_where_it_is_and_passwords_are_not_shown(make_run, url):
    run = make_run(f"ledger_url={POSTGRESQL.format('old')}")
    assert refusal(run, f"ledger_url={url}") == [
        f"  - ledger_url='{url.replace('new', '***')}': must stay '{POSTGRESQL.format('***')}'; "
        "the ledger stays where it is"
    ]


def test_value_that_cannot_be_is_named_as_for_a_new_search(make_run):
    with pytest.raises(SettingsError, match="num_trials=0: must be greater"):
        resumed_settings(make_run(), ["num_trials=0"])
