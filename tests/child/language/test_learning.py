"""Whether language models learn: whole trainings of small ones."""

from __future__ import annotations

from itertools import cycle, islice

import numpy as np
import pytest
from support.language import CPU, NO_DROPOUT, settings_of, text_of

from child.data.pydoc_topics import PydocSettings
from child.language.layers import LSTM
from child.language.model_settings import DropoutSettings, LanguageModelSettings
from child.language.task import LanguageTask
from child.language.training_settings import LanguageTrainingSettings
from child.recurrent.space_settings import RecurrentSettings
from child.training import ChildTrainer
from child.zoo import NAS_CELL


def result_of(architecture, data, model, training, unit="characters"):
    task = LanguageTask(RecurrentSettings(), model, training, unit)
    trainer = ChildTrainer(task.passes(data, CPU))
    return trainer.train(lambda: task.build(architecture, data), seed=0)


@pytest.mark.parametrize(
    ("period", "architecture"),
    [
        ([0, 1, 2], NAS_CELL),
        # What follows on a token depends on the one before it; who knows only one has 2.0.
        ([0, 0, 1, 1], NAS_CELL),
        ([0, 0, 1, 1], LSTM),
    ],
    ids=["abc, nas", "aabb, nas", "aabb, lstm"],
)
def test_text_that_goes_round_and_round_is_learnt(period, architecture):
    model = LanguageModelSettings(
        num_parameters=None, hidden_size=8, init_range=0.3, dropout=NO_DROPOUT
    )
    training = settings_of(
        num_epochs=7, batch_size=8, num_steps=10, optimizer="adam", learning_rate=0.05
    )
    # Every part of either begins where the period does: 576 is 8 of 72, 144 is 2.
    train, validation = ([*islice(cycle(period), length)] for length in (577, 145))

    result = result_of(architecture, text_of(train, validation), model, training, "words")

    assert result.state == "completed"
    assert 1.0 <= result.validation < 1.1
    assert result.reward > 80 / 1.1**2


@pytest.mark.parametrize("architecture", [NAS_CELL, LSTM], ids=["nas", "lstm"])
def test_child_of_a_small_search_learns_characters_of_prose(architecture):
    data = PydocSettings(
        name="pydoc", unit="characters", num_train=10_000, num_validation=2000
    ).load()
    few = DropoutSettings(embedding=0.1, input=0.1, recurrent=0.1, output=0.1)
    model = LanguageModelSettings(num_parameters=20_000, init_range=0.3, dropout=few)
    training = LanguageTrainingSettings(
        num_epochs=2, num_steps=20, optimizer="adam", learning_rate=0.05
    )

    result = result_of(architecture, data.search, model, training)

    # Who knows but how frequent each character is has their entropy.
    _, counts = np.unique(data.search.train, return_counts=True)
    frequencies = counts / counts.sum()
    entropy = -(frequencies * np.log2(frequencies)).sum()
    assert result.state == "completed"
    assert result.validation < entropy - 0.2
    assert list(result.validations) == sorted(result.validations, reverse=True)
    assert result.reward == pytest.approx(80 / 4**result.validation)
