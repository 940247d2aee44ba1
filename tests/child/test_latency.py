"""How long a network takes to answer, by a clock that stands still while it does not."""

from __future__ import annotations

import pytest
import torch
from support.clock import FakeClock

from child.latency import NUM_PASSES, NUM_WARM_UPS, latency_s


def test_latency_is_the_median_without_the_first_answers():
    clock = FakeClock()
    # In any order; the median of 1 to N is (N + 1) / 2.
    counted = sorted(range(1, NUM_PASSES + 1), key=lambda number: number * 7 % 31)
    takes = iter([1000.0] * NUM_WARM_UPS + counted)

    found = latency_s(lambda: clock.advance(next(takes)), torch.device("cpu"), clock)

    assert found == pytest.approx((NUM_PASSES + 1) / 2)
    assert next(takes, None) is None


def test_gpu_is_waited_for_before_the_clock_is_read(monkeypatch):
    clock, begun = FakeClock(), []

    def wait(device):
        assert device == torch.device("cuda", 1)
        clock.advance(0.25 * len(begun))
        begun.clear()

    monkeypatch.setattr(torch.cuda, "synchronize", wait)
    assert latency_s(lambda: begun.append(1), torch.device("cuda", 1), clock) == 0.25
