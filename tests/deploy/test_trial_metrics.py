"""How metrics are named and printed."""

import pytest

from deploy.trial_metrics import metric_names, metric_text


def test_names_are_those_of_any_trial_as_they_are_first_met():
    assert metric_names([None, {"b": 1.0}, {}, {"a": 2.0, "b": 3.0}]) == ["b", "a"]


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (4300665312, "4,300,665,312"),
        (4300665312.0, "4,300,665,312"),
        (0.0, "0"),
        (-3.0, "-3"),
        (0.00123456, "0.001235"),
        (1e300, "1e+300"),
    ],
)
def test_whole_numbers_are_printed_in_full_and_others_to_four_digits(figure, text):
    assert metric_text(figure) == text
