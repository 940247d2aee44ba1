"""Language models that cannot be trained, and why."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.cells import random_cell
from support.clock import FakeClock
from support.language import Bigram, Scripted, passes_of, settings_of, text_of, text_trainer

from child.language.layers import LSTM
from child.language.model import LanguageModel
from child.language.model_settings import LanguageModelSettings
from child.language.size import ModelSize
from child.result import Infeasible

TEXT = [0, 1] * 30


def assert_infeasible(result):
    assert (result.state, result.reward, result.validation) == ("infeasible", 0.0, None)


class Breaking(Bigram):
    """Multiplies its logits with a factor from its n-th call in a mode on."""

    def __init__(self, is_training, n, factor):
        super().__init__(2, np.eye(2))
        self._is_training, self._calls_left, self._factor = is_training, n, factor

    def forward(self, tokens, states):
        logits, states = super().forward(tokens, states)
        self._calls_left -= self.training == self._is_training
        return logits * (self._factor if self._calls_left <= 0 else 1.0), states


@pytest.mark.parametrize(
    ("n", "factor", "epoch"),
    [(1, math.nan, 1), (5, math.inf, 1), (6, math.inf, 2)],
    ids=["first step", "last step", "second epoch"],
)
def test_loss_that_is_not_finite_makes_the_child_infeasible(n, factor, epoch):
    # 59 tokens in 3 parts of 20, 4 at a time.
    trainer = text_trainer(settings_of(num_epochs=3), text_of(TEXT, TEXT))

    result = trainer.train(lambda: Breaking(True, n, factor), seed=0)

    assert_infeasible(result)
    assert len(result.validations) == epoch - 1
    assert result.reason == f"the training loss of epoch {epoch} is nan"


@pytest.mark.parametrize(
    ("n", "factor", "unit"),
    [(1, math.nan, "words"), (8, math.inf, "words"), (8, math.nan, "characters")],
)
def test_answer_that_is_not_finite_makes_the_child_infeasible(n, factor, unit):
    # 59 tokens in 2 parts of 30, 4 at a time.
    trainer = text_trainer(settings_of(num_epochs=3), text_of(TEXT, TEXT), unit)

    result = trainer.train(lambda: Breaking(False, n, factor), seed=0)

    assert_infeasible(result)
    assert result.validations == ()
    assert result.reason == "the cross-entropy of the trained network is nan nats"


@pytest.mark.parametrize(
    ("nats", "unit"), [(355.0, "words"), (355.0, "characters"), (1e30, "words")]
)
def test_perplexity_beyond_floats_makes_the_child_infeasible(nats, unit):
    result = text_trainer(settings_of(), text_of([0, 1]), unit).train(
        lambda: Scripted([nats]), seed=0
    )

    assert_infeasible(result)
    assert result.reason == f"the cross-entropy of the trained network is {nats:g} nats"


def test_perplexity_that_is_just_a_float_has_a_reward():
    result = text_trainer(settings_of(), text_of([0, 1])).train(lambda: Scripted([354.0]), seed=0)

    assert result.state == "completed"
    assert math.isfinite(result.validation)
    assert 0 < result.reward < 1e-300


def test_test_of_a_network_whose_answers_are_not_finite_is_told():
    passes = passes_of(settings_of(), text_of(TEXT))

    with pytest.raises(Infeasible, match="the cross-entropy of the trained network is nan nats"):
        passes.test(Bigram(2, np.full((2, 2), np.nan)), np.array(TEXT))


@pytest.mark.parametrize(
    ("architecture", "optimizer"),
    [(LSTM, "sgd"), (random_cell(0, 4), "adam")],
    ids=["lstm", "random"],
)
def test_learning_rate_too_large_makes_the_child_infeasible(architecture, optimizer):
    wanted = LanguageModelSettings(num_parameters=None, hidden_size=4)
    size = ModelSize.of(wanted, 2, architecture.base)
    settings = settings_of(num_epochs=3, learning_rate=1e30, optimizer=optimizer)

    result = text_trainer(settings, text_of(TEXT, TEXT)).train(
        lambda: LanguageModel(architecture, size, wanted), seed=0
    )

    assert_infeasible(result)


def test_child_over_its_time_is_stopped_before_the_next_step():
    clock = FakeClock()

    class Slow(Bigram):
        def forward(self, tokens, states):
            clock.advance(1.0)
            return super().forward(tokens, states)

    network = Slow(2)
    trainer = text_trainer(settings_of(time_limit_s=2.5), text_of(TEXT), clock=clock)

    result = trainer.train(lambda: network, seed=0)

    assert_infeasible(result)
    assert len(network.calls) == 3
    assert result.reason == "time_limit_s=2.5: over after 3.0 s, in epoch 1 of 1"


def test_child_after_an_infeasible_one_trains_as_if_it_had_not_been():
    trainer = text_trainer(settings_of(), text_of(TEXT, TEXT))
    one, other = Bigram(2), Bigram(2)
    trainer.train(lambda: one, seed=3)

    spoiler = trainer.train(lambda: Breaking(True, 3, math.nan), seed=3)
    trainer.train(lambda: other, seed=3)

    assert spoiler.state == "infeasible"
    assert torch.equal(other.table, one.table)
