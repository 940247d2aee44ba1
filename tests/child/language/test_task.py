from __future__ import annotations

import pickle

import pytest
import torch
from support.cells import random_cell
from support.language import CPU, NO_DROPOUT, settings_of, text_of

from child.language.layers import LSTM, CellLayer, LstmLayer
from child.language.model_settings import LanguageModelSettings
from child.language.passes import TextPasses
from child.language.task import LanguageTask
from child.recurrent.equations import equations
from child.recurrent.space_settings import RecurrentSettings
from child.result import Infeasible
from child.task import Task
from child.training import ChildTrainer
from child.zoo import NAS_CELL

DATA = text_of([*range(12)] * 4)


def task_of(unit="words", training=None, **model):
    return LanguageTask(
        RecurrentSettings(), LanguageModelSettings(**model), training or settings_of(), unit
    )


def num_weights(model):
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [(NAS_CELL, CellLayer), (random_cell(0, 3), CellLayer), (LSTM, LstmLayer)],
    ids=["nas", "random", "lstm"],
)
def test_model_has_layers_of_its_cell_and_about_the_budget_of_parameters(architecture, kind):
    task = task_of(num_parameters=5000, num_layers=3)

    model = task.build(architecture, DATA)

    assert [type(layer) for layer in model.layers] == [kind] * 3
    assert model.size.num_tokens == 12
    assert 4000 < num_weights(model) <= 5000
    logits, states = model(torch.zeros(4, 2, dtype=torch.int64))
    assert logits.shape == (4, 2, 12)
    assert len(states) == 3


def test_cell_of_the_model_is_the_architecture():
    architecture = random_cell(0, 3)

    model = task_of().build(architecture, DATA)

    assert {layer.recurrence.architecture for layer in model.layers} == {architecture}


def test_layout_of_the_model_is_that_of_the_settings():
    task = task_of(num_parameters=None, hidden_size=6, embedding_size=4, num_layers=1)

    shapes = [tuple(weight.shape) for weight in task.build(LSTM, DATA).parameters()]

    assert shapes == [(12, 4), (24, 4), (24, 6), (12, 6), (12,)]


def test_weights_and_dropout_of_the_model_are_those_of_the_settings():
    tokens = torch.arange(12).view(6, 2)
    plain = task_of(num_parameters=5000, dropout=NO_DROPOUT, init_range=0.5).build(LSTM, DATA)
    dropping = task_of(num_parameters=5000).build(LSTM, DATA)

    assert 0.45 < plain.embedding.weight.abs().max() <= 0.5
    assert torch.equal(plain(tokens)[0], plain(tokens)[0])
    assert not torch.equal(dropping(tokens)[0], dropping(tokens)[0])


@pytest.mark.parametrize("unit", ["words", "characters"])
def test_budget_for_not_even_one_unit_makes_every_child_infeasible(unit):
    # One unit in each of two layers: 12 + 2 * 8 * 2 + 24.
    task = task_of(unit, num_parameters=67)

    with pytest.raises(
        Infeasible,
        match=f"^num_parameters=67: 12 different {unit} make more than that with one unit in each",
    ):
        task.build(NAS_CELL, DATA)
    assert num_weights(task_of(num_parameters=68).build(NAS_CELL, DATA)) == 68


def test_model_of_too_many_parameters_is_infeasible_before_it_is_built():
    training = settings_of(max_parameters=1000)
    task = task_of(training=training, num_parameters=None, hidden_size=1_000_000)

    # Built, it would take 256 terabytes.
    with pytest.raises(Infeasible, match=r"^max_parameters=1000: the network has 32000024000012$"):
        task.build(NAS_CELL, DATA)


@pytest.mark.parametrize(("limit", "state"), [(67, "infeasible"), (68, "completed")])
def test_limit_of_parameters_is_the_last_that_is_trained(limit, state):
    task = task_of(training=settings_of(max_parameters=limit), num_parameters=68)

    result = ChildTrainer(task.passes(DATA, CPU)).train(lambda: task.build(NAS_CELL, DATA), seed=0)

    assert result.state == state
    assert result.num_parameters == 68
    assert result.reason == {67: "max_parameters=67: the network has 68", 68: ""}[limit]


@pytest.mark.parametrize(
    ("unit", "text"), [("words", "118.2"), ("characters", "118.250")], ids=["words", "characters"]
)
def test_metric_is_that_of_the_unit(unit, text):
    names = {"words": "perplexity", "characters": "bits per character"}
    task: Task = task_of(unit)

    assert task.metric.name == names[unit]
    assert task.metric.text(118.25) == text
    assert task.unit == unit


def test_space_is_that_of_the_settings():
    assert task_of().space.num_architectures == 8**16 * 15**2


def test_passes_are_over_the_text_in_its_unit():
    # Two bits are four equally likely tokens.
    passes = task_of("characters").passes(DATA, CPU)

    assert isinstance(passes, TextPasses)
    assert passes.reward(2.0) == pytest.approx(80 / 4**2)
    assert task_of("words").passes(DATA, CPU).reward(2.0) == pytest.approx(80 / 2**2)


def test_learning_rate_is_that_of_the_settings_for_every_architecture():
    assert task_of().learning_rate(NAS_CELL) is None
    assert task_of().learning_rate(LSTM) is None


def test_architecture_is_read_back_from_its_description_and_told_in_equations():
    task = task_of()

    assert task.architecture(NAS_CELL.to_json()) == NAS_CELL
    assert task.details(NAS_CELL) == equations(NAS_CELL)
    assert task.details(LSTM) == ""
    assert all(isinstance(each, task.architectures) for each in (NAS_CELL, LSTM))
    with pytest.raises(ValueError, match="a cell with layers: must have"):
        task.architecture({"layers": []})


def test_task_is_a_value():
    task = task_of("characters", is_tied=True)

    assert pickle.loads(pickle.dumps(task)) == task
    assert hash(task) == hash(task_of("characters", is_tied=True))
    assert task != task_of("words", is_tied=True)
