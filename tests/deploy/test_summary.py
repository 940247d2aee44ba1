"""What is said at the end of a search, against numbers worked out by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import BatchNorm, Convolution, Layer
from child.metric import ACCURACY
from controller.records import Progress, PushRecord
from controller.trial import Trial
from deploy.final_test import FinalTest
from deploy.launch import SearchResult
from deploy.settings_file import load_settings
from deploy.summary import summarize

CHAIN = ConvolutionalArchitecture((Layer(Convolution(3, 5, 8)),))
SKIPS = ConvolutionalArchitecture(
    (Layer(Convolution(3, 5, 8)), Layer(Convolution(1, 1, 4, 2, 2)), Layer(BatchNorm(), (1, 2)))
)


def trial(number, reward, record_number=None, state="completed", architecture=CHAIN):
    return Trial(
        trial=number,
        state=state,
        replica=0,
        incarnation=1,
        depth=1,
        reserved_at=1.0,
        started_at=2.0,
        recorded_at=3.0,
        record_number=record_number or number,
        decisions=[("filter_height", 1), ("filter_width", 2), ("num_filters", 0)],
        log_probs=[-1.0, -1.0, -1.0],
        architecture=architecture.to_json(),
        architecture_text=str(architecture),
        seed=1,
        versions=[0, 0],
        reward=reward,
        baseline=0.0,
        validations=[reward],
        validation=reward,
        num_parameters=1234,
        seconds=1.0,
        reason="",
        is_out_of_memory=False,
        traceback="",
        metrics={},
        architecture_sha256="",
        reused_from=None,
        push_replica=0,
        push_sequence=number,
    )


def push(sequence, staleness, sample_staleness=None):
    return PushRecord(
        replica=0,
        sequence=sequence,
        incarnation=1,
        trials=(sequence,),
        base_versions=[0, 0],
        sample_versions=[0, 0],
        gradient=None,
        opened_at=1.0,
        closed_at=2.0,
        versions=[1, 1],
        staleness=staleness,
        sample_staleness=sample_staleness or staleness,
    )


def infeasible(number, reason):
    return replace(trial(number, 0.0, state="infeasible"), reason=reason, validation=None)


def say(
    trials,
    pushes=(),
    test=None,
    program="nasrl",
    path="/tmp/run",
    settings=(),
    is_job=False,
    **progress,
):
    recorded = [t for t in trials if t.state in ("completed", "infeasible")]
    fields = {
        "state": "finished",
        "reason": "",
        "metric": ACCURACY,
        "num_trials": len(trials),
        "num_recorded": len(recorded),
        "num_infeasible": sum(t.state == "infeasible" for t in trials),
        "num_reused": 0,
        "num_in_flight": 0,
        "num_unpushed": 0,
        "best": max(
            (t for t in recorded if t.state == "completed"), key=lambda t: t.reward, default=None
        ),
        "started_at": 1000.0,
        "ended_at": 1119.6,
        "seconds": 119.6,
        "is_stop_requested": False,
    }
    rows = list(trials), list(pushes)
    result = SearchResult(Progress(**(fields | progress)), *rows, test, 297, 300)
    chosen = load_settings(overrides=settings)
    return summarize(result, chosen, Path(path), program, is_job=is_job)


def test_summary_says_how_the_rewards_moved_in_the_order_of_the_results():
    # Results came in the order of trials 20, 19, ... 1.
    rewards = [0.0, 0.1, 0.2, 0.1, 0.1] + [0.4] * 5 + [0.5] * 5 + [0.75, 0.25, 0.5, 0.5, 0.5]
    text = say([trial(20 - n, reward, n + 1) for n, reward in enumerate(rewards)])
    assert "Rewards        0.100 -> 0.400 -> 0.500 -> 0.500   (mean of each quarter" in text
    assert "  accuracy     10.0% -> 40.0% -> 50.0% -> 50.0%" in text


def test_summary_of_few_trials_lists_their_rewards():
    assert "Rewards        0.250, 0.750" in say([trial(1, 0.25), trial(2, 0.75)])


@pytest.mark.parametrize("number", [4, 19])
def test_summary_of_too_few_trials_does_not_say_how_the_rewards_moved(number):
    text = say([trial(n, 0.25) for n in range(1, number + 1)])
    assert "Rewards        mean 0.250 (too few trials to say how they moved)" in text
    assert "->" not in text


def test_summary_of_a_stopped_search_says_that_nothing_was_tested():
    said = "  test         left out, since the search has not finished"
    assert said in say([trial(1, 0.25)], state="stopped")
    assert said in say([trial(1, 0.25)], state="failed")
    assert said not in say([], state="stopped")


def test_summary_names_the_best_network_with_its_accuracies():
    text = say([trial(1, 0.25), trial(2, 0.75)], test=FinalTest(2, 0.975, True))
    assert "Best network   trial 2, 1,234 parameters" in text
    assert "3x5,8 " in text
    assert "validation   75.0%, the best of the last 3 of 3 epochs, on 297 images" in text
    assert "test         97.5%, on 300 images" in text
    assert "did not repeat" not in text


def test_summary_says_when_the_tested_network_did_not_repeat_itself():
    assert "did not repeat" in say([trial(1, 0.25)], test=FinalTest(1, 0.9, False))
    assert "did not repeat" not in say([trial(1, 0.25)], test=FinalTest(1, 0.9, None))


def test_summary_of_a_finished_search_without_a_test_says_that_it_was_left_out():
    said = (
        "  test         left out, for the reason given above; this tests it: nasrl search --resume"
    )
    assert said in say([trial(1, 0.25)])
    assert said not in say([trial(1, 0.25)], test=FinalTest(1, 0.9, True))
    assert said not in say([])


@pytest.mark.parametrize(("seconds", "said"), [(59.4, "0 min 59 s"), (119.6, "2 min 0 s")])
def test_summary_rounds_the_time_to_seconds(seconds, said):
    assert f"Search finished: 1 of 1 trials in {said}." in say([trial(1, 0.5)], seconds=seconds)


def test_summary_gives_the_reason_of_an_end_before_the_budget():
    text = say([trial(1, 0.5)], num_trials=9, reason="target_reward=0.5 was reached")
    assert "Search finished: 1 of 9 trials in 2 min 0 s: target_reward=0.5 was reached.\n" in text


def test_summary_of_a_budget_that_is_complete_gives_no_reason_for_its_end():
    text = say([trial(1, 0.5)], reason="stopped by a signal")
    assert "Search finished: 1 of 1 trials in 2 min 0 s.\n" in text


@pytest.mark.parametrize("fields", [{"state": "failed"}, {"num_unpushed": 1}])
def test_summary_gives_the_reason_where_all_was_recorded_and_something_is_missing(fields):
    assert "1 of 1 trials in 2 min 0 s: a reason.\n" in say(
        [trial(1, 0.5)], reason="a reason", **fields
    )


def test_summary_counts_rewards_that_were_known():
    text = say([trial(1, 0.5)], num_infeasible=2, num_reused=3)
    assert (
        "1 of 1 trials (2 infeasible, 3 with the known reward of the same architecture) in" in text
    )


def test_summary_of_a_stopped_search_counts_what_was_recorded():
    trials = [trial(1, 0.5), replace(trial(2, 0.0), state="reserved", record_number=None)]
    text = say(trials, state="stopped", reason="stopped by a signal", num_infeasible=1)
    said = "Search stopped: 1 of 2 trials (1 infeasible) in 2 min 0 s: stopped by a signal.\n"
    assert said in text


def test_summary_of_a_stopped_search_proposes_to_go_on_with_it():
    text = say([trial(1, 0.5)], state="stopped", path="/tmp/my run")
    assert text.splitlines()[-2:] == [
        "Next           nasrl trials '/tmp/my run' --top 10",
        "               nasrl search --resume '/tmp/my run'  # goes on where it stopped",
    ]


def test_summary_of_a_search_without_results_has_no_network():
    text = say([])
    assert "Best network" not in text
    assert "Rewards        none" in text
    assert "Staleness      no push" in text


def test_summary_gives_staleness_over_all_shards_of_all_pushes():
    text = say([trial(1, 0.5)], [push(1, [0, 1]), push(2, [3, 2]), push(3, None)])
    assert "Staleness      mean 1.50, max 3" in text
    assert "3 pushes" in text
    assert "of samples" not in text


def test_summary_tells_the_staleness_of_samples_where_it_is_another():
    text = say([trial(1, 0.5)], [push(1, [0, 1], [2, 4])])
    assert "Staleness      mean 0.50, max 1 (pushes of others between" in text
    assert "  of samples   mean 3.00, max 4 (since its oldest architecture was sampled)" in text


def test_summary_ends_with_commands_for_the_same_search_that_can_be_pasted():
    text = say([trial(1, 0.5)], program=".venv/bin/nasrl", path="/tmp/my run")
    begin = "               .venv/bin/nasrl search"
    assert text.splitlines()[-6:] == [
        "Next           .venv/bin/nasrl trials '/tmp/my run' --top 10",
        "               .venv/bin/nasrl report '/tmp/my run' -o report.html  # how it went, for a "
        "browser",
        "               .venv/bin/nasrl retrain '/tmp/my run'  # trains the best ones longer, by "
        "better settings",
        "               .venv/bin/nasrl export '/tmp/my run' -o network  # the best one, as plain "
        "PyTorch and ONNX",
        f"{begin} '/tmp/my run/settings.yaml' --set strategy=random  # the same without learning",
        f"{begin} --resume '/tmp/my run' --set num_trials=480  # goes on",
    ]


@pytest.mark.parametrize(
    ("state", "how"),
    [
        ("stopped", "  # goes on where it stopped"),
        ("finished", " --set num_trials=480  # goes on"),
    ],
)
def test_job_of_a_cluster_is_gone_on_with_there(state, how):
    text = say([trial(1, 0.5)], state=state, is_job=True)
    assert text.splitlines()[-1] == f"               nasrl submit --resume --run-dir /tmp/run{how}"
    assert "nasrl search" not in text


def test_search_that_goes_on_is_freed_of_the_limits_that_would_end_it_again():
    text = say([trial(1, 0.5)], settings=["time_limit_s=60", "target_reward=0.9"])
    freed = "--set num_trials=480 --set time_limit_s=null --set target_reward=null  # goes on"
    assert text.splitlines()[-1].endswith(freed)


def test_search_that_is_proposed_leaves_the_places_that_hold_this_one_already():
    ledger, store = "ledger_url=sqlite:////x", "shards.checkpoint_url=s3://bucket/search"
    last = say([trial(1, 0.5)], settings=[ledger]).splitlines()[-2:]
    assert "--set strategy=random --set ledger_url=null  # the same" in last[0]
    assert last[1].endswith("--resume /tmp/run --set num_trials=480  # goes on")
    last = say([trial(1, 0.5)], settings=[ledger, "shards.durability=checkpoint", store])
    assert last.count(" --set ledger_url=null --set shards.checkpoint_url=null  #") == 1
    assert "=null" not in say([trial(1, 0.5)])


def test_summary_of_a_random_search_proposes_one_that_learns():
    text = say([trial(1, 0.5)], settings=["strategy=random"])
    assert "--set strategy=reinforce  # the same with learning" in text


def test_summary_says_why_some_networks_could_not_be_trained():
    reasons = ["loss of epoch 1 is nan", "max_parameters=9: has 10", "max_parameters=9: has 20"]
    text = say([trial(1, 0.5), *(infeasible(n, why) for n, why in enumerate(reasons, start=2))])
    assert "Infeasible     3: max_parameters=9: has 10 (2 like this)" in text
    assert "loss of epoch" not in text
    assert "No network" not in text

    alike = say([trial(1, 0.5), *(infeasible(n, reasons[0]) for n in (2, 3))]).splitlines()
    assert "Infeasible     2: loss of epoch 1 is nan" in alike


def test_summary_of_a_search_without_a_network_gives_every_reason_and_no_search():
    reasons = ["loss of epoch 1 is nan", "max_parameters=9: has 10", "max_parameters=9: has 20"]
    text = say([infeasible(n, why) for n, why in enumerate(reasons, start=1)])
    assert (
        "No network could be trained; how often, and why (the first time):\n"
        "            2  max_parameters=9: has 10\n"
        "            1  loss of epoch 1 is nan\n"
    ) in text
    assert text.splitlines()[-1] == "Next           nasrl trials /tmp/run"


def test_summary_without_an_infeasible_network_does_not_speak_of_any():
    assert "nfeasible" not in say([trial(1, 0.5)])


def test_reason_that_is_long_is_cut_short_in_the_summary():
    text = say([infeasible(1, "CUDA out of memory " * 20)])
    assert max(len(line) for line in text.splitlines() if "CUDA" in line) < 120


@pytest.mark.parametrize(("staleness", "said"), [([[0]], "1 push"), ([[0], [1]], "2 pushes")])
def test_summary_counts_pushes_as_people_do(staleness, said):
    text = say([trial(1, 0.5)], [push(n, each) for n, each in enumerate(staleness, start=1)])
    assert f"pull and its push), {said}\n" in text


def test_legend_of_a_long_network_stands_below_it():
    layers = tuple(Layer(Convolution(3, 5, 8), (n,) if n else ()) for n in range(10))
    lines = say([trial(1, 0.5, architecture=ConvolutionalArchitecture(layers))]).splitlines()
    [place] = [n for n, line in enumerate(lines) if line.startswith("               3x5,8 - ")]
    assert lines[place].endswith(" 3x5,8")
    assert lines[place + 1].startswith("               (filter height x width, filters;")


def test_summary_explains_the_signs_of_the_network_that_it_prints():
    plain = say([trial(1, 0.5)])
    skips = say([trial(1, 0.5, architecture=SKIPS)])

    assert "3x5,8   (filter height x width, filters; layer by layer)" in plain
    assert "3x5,8 - 1x1/2x2,4 <image - batch norm <1,2" in skips
    assert "(filter height x width/strides, filters <layers that feed it; layer by layer)" in skips


def test_cost_of_the_best_one_is_told_where_the_reward_minds():
    best = replace(trial(1, 0.5), metrics={"num_multiply_adds": 4300665312})
    chosen = ["objective.cost=num_multiply_adds", "objective.target=4e9"]
    assert "\n  cost         num_multiply_adds 4,300,665,312, aimed at 4,000,000,000\n" in say(
        [best], settings=chosen
    )
    chosen = ["objective.cost=num_parameters", "objective.target=1000"]
    assert "\n  cost         num_parameters 1,234, aimed at 1,000\n" in say([best], settings=chosen)
    assert "\n  cost " not in say([best])
