"""What was answered is in the ledger, whatever becomes of the process that was answered."""

from __future__ import annotations

import subprocess
import sys

from controller.ledger import Ledger

# Answers are printed; then the process ends at once, without closing anything.
PROGRAM = """
import os, sys
from child.result import TrialResult
from controller.baseline import Baseline
from controller.ledger import Ledger
from child.metric import ACCURACY
from controller.records import SearchRecord
from controller.schedule import ScheduleSettings
from controller.trial import Start

search = SearchRecord(5, Baseline(0.5), ScheduleSettings(), ACCURACY, {}, {})
ledger = Ledger.create(sys.argv[1], search)
life = ledger.begin_life("here", 1)
owner = ledger.enlist(0, life).owner
[place, other] = ledger.reserve(owner, 2)
ledger.start(owner, [Start(1, (("color", 1),), (-0.5,), {"color": 1}, "color 1", 7, (3,))])
stamp = ledger.record(owner, {1: TrialResult("completed", 0.5, (0.5,), 0.5, 10, 1.0)})[1]
sequence = ledger.open_push(owner, [1], (3,), (2,), b"12345678")
print(owner.incarnation, place.trial, stamp.reward, stamp.baseline, sequence, flush=True)
os._exit(9)
"""


def test_trial_recorded_just_before_the_process_died_is_in_the_ledger(url):
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, url], capture_output=True, text=True, timeout=60
    )

    assert (process.returncode, process.stdout, process.stderr) == (9, "1 1 0.5 0.0 1\n", "")
    with Ledger(url) as ledger:
        recorded, reserved = ledger.trials()
        assert (recorded.state, recorded.reward, recorded.baseline) == ("completed", 0.5, 0.0)
        assert (recorded.decisions, recorded.seed) == ([("color", 1)], 7)
        assert reserved.state == "reserved"
        [push] = ledger.pushes()
        assert (push.sequence, push.trials, push.gradient) == (1, (1,), b"12345678")


def test_ledger_of_a_process_that_died_goes_on_under_a_new_life(url):
    subprocess.run([sys.executable, "-c", PROGRAM, url], capture_output=True, timeout=60)

    with Ledger(url) as ledger:
        owner = ledger.enlist(0, 1).owner
        assert owner.incarnation == 2
        assert [place.trial for place in ledger.reserve(owner, 9)] == [2, 3, 4, 5]
        ledger.close_push(owner, 1, (4,), (0,), (1,))
        assert ledger.pushes()[0].versions == [4]
