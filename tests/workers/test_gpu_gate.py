"""Who is let onto a GPU, with processes that die in it."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.waiting import wait_until

from workers.gpu_gate import GpuGate


class Visitor:
    """Somebody with a gate of their own, who enters when told and stays until told."""

    def __init__(self, threads, folder, how):
        self._leave = threading.Event()
        self.is_inside = False
        self._done = threads.submit(self._visit, getattr(GpuGate(folder), how))

    def _visit(self, enter):
        with enter():
            self.is_inside = True
            assert self._leave.wait(30)
        self.is_inside = False

    def leave(self):
        self._leave.set()
        self._done.result(30)


@pytest.fixture
def visit(tmp_path):
    threads = ThreadPoolExecutor(8)
    visitors = []

    def begin(how):
        visitors.append(Visitor(threads, tmp_path / "gate", how))
        return visitors[-1]

    yield begin
    for visitor in visitors:
        visitor.leave()
    threads.shutdown()


def entered(visitor):
    wait_until(lambda: visitor.is_inside, "being let in", timeout_s=10)


def stays_outside(visitor):
    """Tell whether somebody still waits when another one, who needs no leave, would be in."""
    threading.Event().wait(0.3)
    return not visitor.is_inside


def test_children_that_share_are_in_together(visit):
    first, second = visit("shared"), visit("shared")

    entered(first)
    entered(second)


def test_child_that_must_be_alone_waits_for_those_who_share(visit):
    sharing = visit("shared")
    entered(sharing)
    alone = visit("alone")

    assert stays_outside(alone)
    sharing.leave()
    entered(alone)


def test_nobody_enters_beside_a_child_that_is_alone(visit):
    alone = visit("alone")
    entered(alone)
    sharing, other = visit("shared"), visit("alone")

    assert stays_outside(sharing)
    assert stays_outside(other)
    alone.leave()
    wait_until(lambda: sharing.is_inside or other.is_inside, "one of two let in", timeout_s=10)


def test_child_that_waits_to_be_alone_lets_nobody_new_in_before(visit):
    first = visit("shared")
    entered(first)
    alone = visit("alone")
    assert stays_outside(alone)
    late = visit("shared")

    assert stays_outside(late)
    first.leave()
    entered(alone)
    assert stays_outside(late)


@pytest.mark.parametrize("how", ["shared", "alone"])
def test_process_that_dies_inside_holds_nobody_up(visit, tmp_path, how):
    script = (
        "import sys, time; from pathlib import Path; from workers.gpu_gate import GpuGate\n"
        f"with GpuGate(Path(sys.argv[1])).{how}():\n"
        "    print('in', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "gate")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "in\n"
        alone = visit("alone")
        assert stays_outside(alone)
        process.kill()

    entered(alone)
