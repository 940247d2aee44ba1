from __future__ import annotations

import pytest
from pydantic import ValidationError

from child.schedule import LearningRateSchedule


def rates(schedule, num_epochs):
    return [schedule.fraction(epoch, num_epochs) for epoch in range(1, num_epochs + 1)]


def test_schedule_by_default_divides_by_ten_after_half_and_three_quarters_of_the_epochs():
    # 25 of 50 epochs lie behind the 26th; 37.5 would be three quarters, and 38 lie behind the 39th.
    expected = [1.0] * 25 + [0.1] * 13 + [0.01] * 12

    assert rates(LearningRateSchedule(), 50) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("num_epochs", "expected"),
    [(1, [1.0]), (2, [1.0, 0.1]), (3, [1.0, 1.0, 0.1]), (4, [1.0, 1.0, 0.1, 0.01])],
)
def test_schedule_of_few_epochs_begins_with_the_full_rate(num_epochs, expected):
    assert rates(LearningRateSchedule(), num_epochs) == pytest.approx(expected, rel=1e-12)


def test_milestones_and_factor_are_those_of_the_settings():
    schedule = LearningRateSchedule(milestones=(0.1, 0.3, 0.7), factor=0.5)

    assert rates(schedule, 10) == [1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125]


def test_schedule_without_milestones_keeps_the_rate():
    assert rates(LearningRateSchedule(milestones=()), 3) == [1.0] * 3


def test_cosine_falls_along_half_a_wave():
    # cos of 0, 60, 120 degrees is 1, 1/2, -1/2.
    assert rates(LearningRateSchedule(kind="cosine"), 3) == pytest.approx([1.0, 0.75, 0.25])


def test_constant_does_not_fall():
    assert rates(LearningRateSchedule(kind="constant"), 4) == [1.0] * 4


def test_exponential_is_that_of_zaremba_s_medium_model():
    # The full rate in the first six epochs, then 0.8 of the one before.
    schedule = LearningRateSchedule(kind="exponential", constant_epochs=6, factor=0.8)

    expected = [1.0] * 6 + [0.8, 0.64, 0.512, 0.4096]
    assert rates(schedule, 10) == pytest.approx(expected, rel=1e-12)
    assert schedule.fraction(39, 39) == pytest.approx(0.8**33, rel=1e-12)


def test_exponential_does_not_depend_on_how_many_epochs_there_are():
    schedule = LearningRateSchedule(kind="exponential", factor=0.5, constant_epochs=1)

    assert rates(schedule, 3) == [1.0, 0.5, 0.25]
    assert rates(schedule, 50)[:3] == [1.0, 0.5, 0.25]


@pytest.mark.parametrize(("constant_epochs", "expected"), [(0, [0.5, 0.25]), (9, [1.0, 1.0])])
def test_exponential_falls_after_its_constant_epochs(constant_epochs, expected):
    schedule = LearningRateSchedule(kind="exponential", factor=0.5, constant_epochs=constant_epochs)

    assert rates(schedule, 2) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"milestones": (0.75, 0.5)}, r"milestones=\[0.75, 0.5\]: must ascend, each once"),
        ({"milestones": (0.5, 0.5)}, "must ascend, each once"),
        ({"milestones": (0.0,)}, "milestones"),
        ({"milestones": (1.0,)}, "milestones"),
        ({"factor": 0.0}, "factor"),
        ({"kind": "linear"}, "kind"),
        ({"constant_epochs": -1}, "constant_epochs"),
        ({"milestone": 0.5}, "milestone\n.*not permitted"),
    ],
)
def test_schedule_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        LearningRateSchedule(**settings)


def test_milestones_are_taken_as_a_list_from_a_file():
    given = LearningRateSchedule(milestones=[0.25, 0.5])

    assert given.milestones == (0.25, 0.5)
