"""The ledger's laws under replicas that do anything they may, at once, and die at any time."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.children import completed, infeasible, start_of
from support.clock import FakeClock

from controller.errors import NotOwner, StillAlive, Superseded
from controller.ledger import Ledger
from controller.trial import LEASE_S, Stamp

NUM_TRIALS = 30
NUM_THREADS = 4
NUM_REPLICAS = 3  # fewer than threads: they supersede each other
NUM_SIZES = 30  # so that some architectures come twice
MOST_STEPS = 4000  # of one thread
STEPS_PER_LOOK = 8  # at how far the search is


class Walker:
    """Somebody who is one replica after the other, and does at random what a replica may do."""

    def __init__(self, ledger, clock, seed):
        self._ledger = ledger
        self._clock = clock
        self._random = random.Random(seed)
        self.done = Counter()  # what was done how often
        self.stamps = []  # (trial, stamp) as answered
        self.starts = []  # what was handed over with a trial
        self.gradients = []  # (replica, sequence, gradient) as opened or replaced
        self.handed_over = []  # the same, as handed over
        self._forget()

    def _forget(self):
        self._owner = None
        self._reserved, self._started = set(), set()
        self._unpushed, self._open = set(), None

    def walk(self):
        """Go on until the search is complete, and give way after each step."""
        for step in range(MOST_STEPS):
            if step % STEPS_PER_LOOK == 0 and self._ledger.progress().is_complete:
                return
            try:
                self._step()
            except Superseded:
                self.done["was superseded"] += 1
                self._forget()
            yield
        raise AssertionError(f"{MOST_STEPS} steps, and the search does not end: {self.done}")

    def _step(self):
        if self._owner is None:
            return self._enlist()
        steps = [
            (self._reserve, 3),
            (self._start, 4),
            (self._record, 4),
            (self._release, 1),
            (self._open_push, 2),
            (self._replace_push, 1),
            (self._close_push, 3),
            (self._die, 0.3),
            (self._pause, 0.4),
            (self._resume_search, 0.2),
        ]
        [step] = self._random.choices([s for s, _ in steps], [weight for _, weight in steps])
        if step() is not False:
            self.done[step.__name__.strip("_")] += 1
        return None

    def _enlist(self):
        replica = self._random.randrange(NUM_REPLICAS)
        enlisted = self._ledger.enlist(replica, self._ledger.lives()[-1].life)
        self._owner = enlisted.owner
        self._unpushed = {trial.trial for trial in enlisted.unpushed}
        if enlisted.open_push is not None:
            push = enlisted.open_push
            self._open = push.sequence
            self.handed_over.append((replica, push.sequence, push.gradient))
            assert {trial.trial for trial in enlisted.carried} == set(push.trials)

    def _reserve(self):
        held = self._reserved | self._started
        places = self._ledger.reserve(self._owner, self._random.randint(1, 4), held)
        if self._random.random() < 0.1:
            return  # the answer was lost
        for place in places:
            # It may be held: another had it since, because of a lease, and is gone.
            if place.start is None:
                assert place.trial not in self._started
                self._reserved.add(place.trial)
            else:
                self.starts.append(place.start)
                self._reserved.discard(place.trial)
                self._started.add(place.trial)

    def _start(self):
        if not self._reserved:
            return False
        trial = self._random.choice(sorted(self._reserved))
        # Another attempt at the same trial would be another start.
        start = start_of(trial, self._random.randrange(NUM_SIZES))
        self._reserved.discard(trial)
        try:
            known = self._ledger.start(self._owner, [start], reuse=self._random.random() < 0.5)
        except NotOwner:
            self.done["lost a trial"] += 1
            return None
        if trial in known:
            self.stamps.append((trial, known[trial]))
            self._unpushed.add(trial)
        else:
            self._started.add(trial)
        return None

    def _record(self):
        if not self._started:
            return False
        trial = self._random.choice(sorted(self._started))
        self._started.discard(trial)
        result = self._random.choice([infeasible(), *(completed(i / 16) for i in range(1, 17))])
        stamps = self._ledger.record(self._owner, {trial: result})
        if not stamps:
            self.done["lost a trial"] += 1
            return None
        if self._random.random() < 0.2:
            assert self._ledger.record(self._owner, {trial: completed(0.99)}) == stamps
        self.stamps += stamps.items()
        self._unpushed.add(trial)
        return None

    def _release(self):
        in_flight = sorted(self._reserved | self._started)
        given = set(self._random.sample(in_flight, self._random.randint(0, len(in_flight))))
        self._ledger.release(self._owner, given)
        self._reserved -= given
        self._started -= given

    def _open_push(self):
        if self._open is not None or not self._unpushed:
            return False
        number = self._random.randint(1, len(self._unpushed))
        trials = self._random.sample(sorted(self._unpushed), number)
        gradient = self._random.randbytes(8)
        self._open = self._ledger.open_push(self._owner, trials, (1,), (0,), gradient)
        self.gradients.append((self._owner.replica, self._open, gradient))
        if self._random.random() < 0.2:
            again = self._ledger.open_push(self._owner, trials, (1,), (0,), gradient)
            assert again == self._open
        self._unpushed -= set(trials)
        return None

    def _replace_push(self):
        if self._open is None:
            return False
        gradient = self._random.randbytes(8)
        # Before the call: another may see it before this one goes on.
        self.gradients.append((self._owner.replica, self._open, gradient))
        self._ledger.replace_push(self._owner, self._open, (2,), (0,), gradient)
        return None

    def _close_push(self):
        if self._open is None:
            return False
        for _ in range(self._random.choice([1, 1, 2])):
            self._ledger.close_push(self._owner, self._open, (3,), (0,), (1,))
        self._open = None
        return None

    def _die(self):
        self._forget()

    def _pause(self):
        """Let so much time pass that leases may end."""
        self._clock.advance(LEASE_S * self._random.choice([0.6, 1.1]))

    def _resume_search(self):
        last = self._ledger.lives()[-1]
        try:
            self._ledger.begin_life("there", 1, last=last)
        except StillAlive:
            return False
        return None


def in_turn(walkers):
    """Let one step after the other be done, by whom chance will have it: always the same."""
    choose = random.Random(1)
    walks = [walker.walk() for walker in walkers]
    while walks:
        walk = choose.choice(walks)
        if next(walk, "ended") == "ended":
            walks.remove(walk)


def side_by_side(walkers):
    """Let every one go in a thread of its own."""
    barrier = threading.Barrier(len(walkers))

    def walk(walker):
        barrier.wait(timeout=10)
        for _ in walker.walk():
            pass

    with ThreadPoolExecutor(len(walkers)) as threads:
        list(threads.map(walk, walkers))


@pytest.fixture
def walk(create_ledger, url):
    """Give a function that has a search walked to its end, and gives the walkers and the record."""
    create_ledger(NUM_TRIALS)
    clock = FakeClock(now=2000.0, step=2**-10)
    with contextlib.ExitStack() as stack:
        ledgers = [stack.enter_context(Ledger(url, clock)) for _ in range(NUM_THREADS)]
        walkers = [Walker(one, clock, f"{i}") for i, one in enumerate(ledgers)]

        def run(order):
            order(walkers)
            return walkers, ledgers[0].trials(), ledgers[0].pushes()

        yield run


def check_is_exact(walkers, rows, pushes):
    """Check the record of a search that ended, and what the walkers were told, against the laws."""
    # Each trial of the budget is recorded once, and the records are numbered without a gap.
    assert [row.trial for row in rows] == list(range(1, NUM_TRIALS + 1))
    assert {row.state for row in rows} <= {"completed", "infeasible"}
    in_order = sorted(rows, key=lambda row: row.record_number)
    assert [row.record_number for row in in_order] == list(range(1, NUM_TRIALS + 1))
    # The stamps are the averages of the rewards recorded before.
    average = None
    for row in in_order:
        assert row.baseline == pytest.approx(average or 0.0, rel=1e-12)
        average = row.reward if average is None else 0.75 * average + 0.25 * row.reward
    # Whoever was answered was told what is in the row.
    by_number = {row.trial: row for row in rows}
    answered = [(t, s) for walker in walkers for t, s in walker.stamps]
    assert len(answered) >= NUM_TRIALS / 2
    for trial, stamp in answered:
        assert stamp == Stamp(by_number[trial].reward, by_number[trial].baseline)
    # What was handed over with a trial is what had been written down for it.
    starts = [start for walker in walkers for start in walker.starts]
    for start in starts:
        row = by_number[start.trial]
        assert (list(start.decisions), start.seed) == (row.decisions, row.seed)
    # Each reward is in one push, each push is closed, and sequences have no gap.
    assert Counter(t for push in pushes for t in push.trials) == Counter(by_number.keys())
    assert {push.closed_at is None for push in pushes} == {False}
    for replica in range(NUM_REPLICAS):
        sequences = [push.sequence for push in pushes if push.replica == replica]
        assert sequences == list(range(1, len(sequences) + 1))
    # A push that was handed over was sent as somebody had made it durable.
    opened = {g for walker in walkers for g in walker.gradients}
    assert {g for walker in walkers for g in walker.handed_over} <= opened
    # A reused reward is that of a trained network, known before.
    for row in (row for row in rows if row.reused_from is not None):
        trained = by_number[row.reused_from]
        assert (trained.state, trained.reused_from) == ("completed", None)
        assert trained.architecture == row.architecture
        assert trained.reward == row.reward
        assert trained.record_number < row.record_number


def test_search_ends_exact_whatever_replicas_do_and_whenever_they_die(walk):
    walkers, rows, pushes = walk(in_turn)

    check_is_exact(walkers, rows, pushes)
    # Everything that may happen has happened.
    done = sum((walker.done for walker in walkers), Counter())
    steps = {"reserve", "start", "record", "release", "open_push", "replace_push", "close_push"}
    faults = {"die", "pause", "resume_search", "was superseded", "lost a trial"}
    assert set(done) == steps | faults
    assert any(walker.starts for walker in walkers)
    assert any(walker.handed_over for walker in walkers)
    assert any(row.reused_from for row in rows)


def test_search_of_replicas_side_by_side_ends_exact(walk):
    check_is_exact(*walk(side_by_side))
