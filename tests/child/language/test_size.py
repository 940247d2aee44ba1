from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cells import random_cell

from child.language.layers import LSTM
from child.language.model import LanguageModel
from child.language.model_settings import LanguageModelSettings
from child.language.size import ModelSize
from child.zoo import NAS_CELL

CELLS = st.sampled_from([LSTM, *(random_cell(3, base) for base in range(1, 9))])
LAYOUTS = st.fixed_dictionaries(
    {
        "num_layers": st.integers(1, 3),
        "embedding_size": st.none() | st.integers(1, 9),
        "is_tied": st.just(False),
    }
) | st.fixed_dictionaries({"num_layers": st.integers(1, 3), "is_tied": st.just(True)})


def model_of_width(hidden_size, architecture, num_tokens, layout):
    wanted = LanguageModelSettings(num_parameters=None, hidden_size=hidden_size, **layout)
    size = ModelSize.of(wanted, num_tokens, architecture.base)
    return LanguageModel(architecture, size, wanted)


def counted(hidden_size, architecture, num_tokens, layout):
    """Give the number of weights that a model has when it is built."""
    model = model_of_width(hidden_size, architecture, num_tokens, layout)
    return sum(weight.numel() for weight in model.parameters())


def fitting(num_parameters, architecture, num_tokens, layout):
    wanted = LanguageModelSettings(num_parameters=num_parameters, **layout)
    return ModelSize.of(wanted, num_tokens, architecture.base)


@settings(deadline=None, max_examples=60)
@given(CELLS, st.integers(1, 30), st.integers(1, 9), LAYOUTS)
def test_number_of_parameters_is_that_of_the_model(architecture, num_tokens, hidden_size, layout):
    model = model_of_width(hidden_size, architecture, num_tokens, layout)

    assert model.size.num_parameters == sum(weight.numel() for weight in model.parameters())
    assert model.size.hidden_size == hidden_size


@settings(deadline=None, max_examples=60)
@given(CELLS, st.integers(1, 30), LAYOUTS, st.integers(0, 20_000))
def test_width_is_the_largest_within_the_budget(architecture, num_tokens, layout, excess):
    budget = counted(1, architecture, num_tokens, layout) + excess

    width = fitting(budget, architecture, num_tokens, layout).hidden_size

    one_less, one_more = (
        counted(each, architecture, num_tokens, layout) for each in (width, width + 1)
    )
    assert one_less <= budget < one_more


@settings(deadline=None, max_examples=60)
@given(CELLS, st.integers(1, 30), LAYOUTS, st.integers(1, 40))
def test_budget_of_just_a_model_gives_it_and_one_weight_less_gives_one_unit_less(
    architecture, num_tokens, layout, width
):
    budget = counted(width + 1, architecture, num_tokens, layout)

    found = [fitting(each, architecture, num_tokens, layout) for each in (budget, budget - 1)]

    assert [size.hidden_size for size in found] == [width + 1, width]


@settings(deadline=None, max_examples=60)
@given(CELLS, st.integers(1, 30), LAYOUTS)
def test_budget_below_one_unit_gives_no_size(architecture, num_tokens, layout):
    least = counted(1, architecture, num_tokens, layout)

    assert fitting(least - 1, architecture, num_tokens, layout) is None


def test_medium_model_of_zaremba_has_its_number_of_parameters():
    # 10,000 words, twice 650 LSTM units, a softmax with biases: 6.5M + 6.76M + 6.51M.
    model = model_of_width(650, LSTM, 10_000, {})

    assert model.size.num_parameters == 19_770_000
    assert sum(weight.numel() for weight in model.parameters()) == 19_770_000


@pytest.mark.parametrize(
    ("architecture", "given", "hidden_size"),
    [
        # Two layers of N blocks over V = 10,000 words: 4 N U² + 2 V U + V <= the budget, V U tied.
        (NAS_CELL, {}, 537),
        (LSTM, {}, 655),
        (NAS_CELL, {"num_parameters": 25_000_000, "is_tied": True}, 741),
        (NAS_CELL, {"num_parameters": 54_000_000, "is_tied": True}, 1152),
    ],
    ids=["paper's child", "LSTM as large", "shared, 25M", "shared, 54M"],
)
def test_model_for_penn_treebank_has_as_many_units_as_fit(architecture, given, hidden_size):
    size = ModelSize.of(LanguageModelSettings(**given), 10_000, architecture.base)

    assert (size.hidden_size, size.embedding_size) == (hidden_size, hidden_size)
