"""Children that a function of the user's trains: whatever it does, it is the child's."""

from __future__ import annotations

import asyncio
import random
import sys

import numpy as np
import pytest
import torch
from support.clock import FakeClock

from child.custom.failure import MAX_TRACEBACK, Failure
from child.custom.outcome import Outcome
from child.custom.space import CustomArchitecture, Undecodable
from child.custom.trainer import CustomTrainer
from child.custom.training_settings import CustomTrainingSettings
from child.result import Infeasible, TrialResult

CPU = torch.device("cpu")


def train(function, *, clock=None, say=lambda _: None, seed=3, options=None, **settings):
    trainer = CustomTrainer(
        function, options or {}, CustomTrainingSettings(**settings), CPU, clock or FakeClock()
    )
    return trainer.train(CustomArchitecture.of([1, 2]), seed, say)


def test_the_function_is_given_all_that_it_needs_and_its_outcome_is_the_result():
    clock, said, given = FakeClock(), [], {}

    def function(architecture, *, device, seed, report, rate):
        given.update(architecture=architecture, device=device, seed=seed, rate=rate)
        report(0.25)
        clock.advance(2.0)
        report(torch.tensor(0.5))
        return Outcome(0.75, validation=0.5, num_parameters=9, metrics={"loss": 1.5})

    result = train(function, clock=clock, say=said.append, options={"rate": 0.1})

    assert given == {"architecture": [1, 2], "device": CPU, "seed": 3, "rate": 0.1}
    assert result == TrialResult("completed", 0.75, (0.25, 0.5), 0.5, 9, 2.0, metrics={"loss": 1.5})
    assert said == ["epoch 1: validation 0.2500, 0.0 s", "epoch 2: validation 0.5000, 2.0 s"]


def test_all_three_generators_draw_from_the_seed():
    def function(architecture, **_):
        return random.random() + np.random.rand() + torch.rand(1).item()

    first, again, other = (train(function, seed=seed) for seed in (7, 7, 2**63 - 1))

    assert first.reward == again.reward != other.reward


class Wordless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def raising(error):
    def function(architecture, **_):
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("a bad shape\nand more"), "ValueError: a bad shape (test_trainer.py, line "),
        (SystemExit(3), "SystemExit: 3 (test_trainer.py, line "),
        (KeyboardInterrupt(), "KeyboardInterrupt (test_trainer.py, line "),
        (AssertionError(), "AssertionError (test_trainer.py, line "),
        (asyncio.CancelledError(), "CancelledError (test_trainer.py, line "),
        (Wordless(), "Wordless: (what it says cannot be printed) (test_trainer.py, line "),
        (ValueError("half \ud800, nul \0"), "ValueError: half \\ud800, nul \\0 (test_trainer.py"),
    ],
)
def test_an_error_makes_the_child_infeasible_and_its_traceback_is_kept(error, reason):
    result = train(raising(error))

    assert (result.state, result.reward, result.validation) == ("infeasible", 0.0, None)
    assert result.reason.startswith(reason)
    assert result.reason.endswith(", in function)")
    assert "    raise error" in result.traceback
    assert "self._function(" not in result.traceback


def test_the_line_named_is_the_users_and_not_the_librarys():
    def function(architecture, **_):
        return torch.nn.functional.linear(torch.ones(1, 2), torch.ones(1, 3))

    result = train(function)

    assert result.reason.endswith(", in function)")
    assert "RuntimeError" in result.reason


def test_a_message_of_a_megabyte_is_cut():
    result = train(raising(ValueError("x" * 1_000_000)))

    assert len(result.reason) < 500
    assert len(result.traceback) <= MAX_TRACEBACK + 10
    assert result.reason.endswith(", in function)")
    assert "    raise error" in result.traceback


def test_reasons_that_the_function_gives_have_no_traceback():
    result = train(raising(Infeasible("too wide for its depth")))

    assert (result.reason, result.traceback) == ("too wide for its depth", "")


def test_memory_that_could_not_be_had_is_told_apart():
    result = train(raising(torch.OutOfMemoryError("CUDA out of memory")))

    assert result.is_out_of_memory
    assert not train(raising(ValueError())).is_out_of_memory


def test_a_lost_gpu_is_no_fault_of_the_child():
    with pytest.raises(RuntimeError, match="an illegal memory access"):
        train(raising(RuntimeError("CUDA error: an illegal memory access was encountered")))


@pytest.mark.parametrize("returned", [None, float("nan"), -1.0, "high"])
def test_a_reward_that_is_none_makes_the_child_infeasible(returned):
    result = train(lambda architecture, **_: returned)

    assert result.state == "infeasible"
    assert result.reason.startswith("reward=")


def test_a_child_over_its_time_ends_at_its_next_report_even_if_it_catches_exceptions():
    clock, reports = FakeClock(), []

    def function(architecture, *, report, **_):
        for _ in range(5):
            clock.advance(4.0)
            reports.append(len(reports))
            try:
                report(0.5)
            except Exception:  # noqa: BLE001 (what is tested)
                continue
        return 1.0

    result = train(function, clock=clock, time_limit_s=10.0)

    assert result.reason == "time_limit_s=10: over after 12.0 s, in epoch 3"
    assert (len(reports), result.seconds, result.validations) == (3, 12.0, (0.5, 0.5, 0.5))


def test_without_a_limit_it_may_take_any_time():
    clock = FakeClock()

    def function(architecture, *, report, **_):
        clock.advance(1e9)
        report(0.5)
        return 1.0

    assert train(function, clock=clock, time_limit_s=None).state == "completed"


def test_what_cannot_be_decoded_is_infeasible():
    failure = Failure("KeyError: 'x' (my_space.py, line 3, in decode)", "Traceback ...")
    trainer = CustomTrainer(raising(AssertionError), {}, CustomTrainingSettings(), CPU)

    result = trainer.train(Undecodable((0, 1), failure), 3, print)

    assert (result.reason, result.traceback) == (failure.reason, failure.traceback)


def test_nothing_of_a_child_that_failed_is_kept():
    class Large:
        num_alive = 0

        def __init__(self):
            Large.num_alive += 1

        def __del__(self):
            Large.num_alive -= 1

    def function(architecture, **_):
        large = Large()
        raise ValueError(sys.getsizeof(large))

    train(function)

    assert Large.num_alive == 0


def test_a_figure_that_is_not_finite_is_no_report():
    def function(architecture, *, report, **_):
        report(float("nan"))
        return 1.0

    assert train(function).reason == "report=nan: must be finite"


def test_a_child_that_never_reports_is_over_its_time_all_the_same():
    clock = FakeClock()

    def function(architecture, **_):
        clock.advance(11.0)
        return 1.0

    result = train(function, clock=clock, time_limit_s=10.0)

    assert result.reason == "time_limit_s=10: over after 11.0 s, as it ended"


def test_what_a_child_does_to_its_options_is_not_the_next_ones():
    def function(architecture, *, seen, **_):
        seen.append(1)
        return float(len(seen))

    trainer = CustomTrainer(function, {"seen": []}, CustomTrainingSettings(), CPU)
    architecture = CustomArchitecture.of([1])

    assert [trainer.train(architecture, 0, print).reward for _ in range(2)] == [1.0, 1.0]
