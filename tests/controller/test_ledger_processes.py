"""The ledger's laws hold between processes, each with a ledger of its own."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from controller.ledger import Ledger
from controller.ledger_reader import LedgerReader

NUM_PROCESSES = 2
NUM_TRIALS = 40

# Each waits for the others, runs trials until none is left, and prints their numbers.
RUN = """
import sys, time
from child.result import TrialResult
from controller.ledger import Ledger
from controller.trial import Start

with Ledger(sys.argv[1]) as ledger:
    owner = ledger.enlist(int(sys.argv[2]), 1).owner
    print("ready", flush=True)
    input()
    for places in iter(lambda: ledger.reserve(owner, 1), []):
        trial = places[0].trial
        ledger.start(owner, [Start(trial, (("color", 1),), (-0.5,), {}, "", trial, (3,))])
        time.sleep(0.01)  # a child trains; the others get their turn
        ledger.record(owner, {trial: TrialResult("completed", 0.5, (0.5,), 0.5, 10, 1.0)})
        sequence = ledger.open_push(owner, [trial], (3,), (2,), b"1234")
        ledger.close_push(owner, sequence, (4,), (0,), (1,))
        print(trial)
"""

# Each waits for the others, makes the same ledger, and prints how that went.
CREATE = """
import sys
from child.metric import ACCURACY
from controller.baseline import Baseline
from controller.errors import WrongState
from controller.ledger import Ledger
from controller.records import SearchRecord
from controller.schedule import ScheduleSettings

print("ready", flush=True)
input()
try:
    search = SearchRecord(int(sys.argv[2]), Baseline(0.5), ScheduleSettings(), ACCURACY, {}, {})
    Ledger.create(sys.argv[1], search).close()
    print("made", sys.argv[2])
except WrongState:
    print("refused")
"""


def at_once(program, url):
    """Run processes at once, told the URL and their number, and give what each prints, in lines."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, url, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(1, NUM_PROCESSES + 1)
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        printed = [process.communicate(timeout=60)[0].splitlines() for process in processes]
        assert [process.returncode for process in processes] == [0] * NUM_PROCESSES
        return printed
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


def test_processes_that_run_trials_at_once_spend_the_budget_exactly(create_ledger, url):
    create_ledger(NUM_TRIALS)

    by_process = at_once(RUN, url)

    assert all(by_process), "one of them came too late"
    trials = sorted(int(line) for lines in by_process for line in lines)
    assert trials == list(range(1, NUM_TRIALS + 1))
    with Ledger(url) as ledger:
        assert ledger.progress().is_complete
        rows = sorted(ledger.trials(), key=lambda row: row.record_number)
        assert [row.record_number for row in rows] == list(range(1, NUM_TRIALS + 1))
        assert Counter(t for push in ledger.pushes() for t in push.trials) == Counter(trials)


def test_ledger_that_processes_make_at_once_is_made_by_one(empty_url):
    printed = ["\n".join(lines) for lines in at_once(CREATE, empty_url)]

    assert sorted(printed) in (["made 1", "refused"], ["made 2", "refused"])
    with LedgerReader(empty_url) as ledger:
        assert ledger.progress().num_trials == int(min(printed).removeprefix("made "))
