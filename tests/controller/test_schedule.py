from __future__ import annotations

from collections import Counter

import pytest
from pydantic import ValidationError

from controller.schedule import ScheduleSettings


def test_schedule_by_default_is_that_of_the_paper():
    depths = Counter(ScheduleSettings().depth(trial) for trial in range(1, 12_801))

    assert depths == {6: 1600, 8: 1600, 10: 1600, 12: 1600, 14: 1600, 16: 1600, 18: 1600, 20: 1600}


@pytest.mark.parametrize(
    ("trial", "depth"),
    [(1, 6), (1600, 6), (1601, 8), (3200, 8), (3201, 10), (11_200, 18), (11_201, 20)],
)
def test_depth_grows_with_the_first_trial_after_a_step(trial, depth):
    assert ScheduleSettings().depth(trial) == depth


def test_depth_without_increase_stays():
    schedule = ScheduleSettings(num_layers=3, increase=0, increase_every=1)

    assert {schedule.depth(trial) for trial in range(1, 100)} == {3}


def test_depth_follows_the_settings():
    schedule = ScheduleSettings(num_layers=1, increase=3, increase_every=2)

    assert [schedule.depth(trial) for trial in range(1, 8)] == [1, 1, 4, 4, 7, 7, 10]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_layers": 0}, "num_layers"),
        ({"increase": -1}, "increase"),
        ({"increase_every": 0}, "increase_every"),
        ({"layers": 3}, "layers\n.*not permitted"),
    ],
)
def test_settings_that_make_no_schedule_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        ScheduleSettings(**settings)
