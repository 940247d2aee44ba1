"""Processes of a benchmark: asked over pipes, never waited for without end, never left behind."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_END_TIMEOUT_S = 20.0
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


class ProcessFailed(Exception):
    """A process has failed, died, or not answered in time."""


@dataclass(frozen=True)
class _Failure:
    text: str


class Process:
    """A process that sends answers over a pipe; it ends when its end of the pipe is closed."""

    def __init__(self, name: str, target: Callable[..., None], arguments: Sequence[Any]) -> None:
        """Start it, spawned, with target(pipe, *arguments)."""
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_run, args=(theirs, target, arguments), name=name, daemon=True
        )
        self.process.start()
        theirs.close()

    def send(self, request: Any) -> None:
        """Send it what it waits for."""
        try:
            self.pipe.send(request)
        except OSError as error:
            raise ProcessFailed(f"{self.name} has ended: {error}") from error


def _run(pipe: Connection, target: Callable[..., None], arguments: Sequence[Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the parent's business
    try:
        target(pipe, *arguments)
    except Exception as error:  # noqa: BLE001 (it is reported)
        with suppress(OSError):
            pipe.send(_Failure(f"{error!r}\n{traceback.format_exc()}"))
        sys.exit(1)


def answer(pipe: Connection, answers: Mapping[str, Callable[..., Any]]) -> None:
    """Answer requests (name, arguments), in a process, until the parent closes the pipe."""
    while True:
        try:
            name, arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(answers[name](*arguments))


def receive_all(processes: Sequence[Process], timeout_s: float) -> list[Any]:
    """Give one answer of each, in their order.

    Raises:
        ProcessFailed: as soon as one of them has failed, or when the time is over.
    """
    deadline = time.monotonic() + timeout_s
    answers: dict[Process, Any] = {}
    missing: dict[Any, Process] = {process.pipe: process for process in processes}
    while missing:
        arrived = connection.wait(list(missing), max(0.0, deadline - time.monotonic()))
        if not arrived:
            names = ", ".join(process.name for process in missing.values())
            raise ProcessFailed(f"{names}: no answer within {timeout_s} s")
        for ready in arrived:
            process = missing.pop(ready)
            try:
                answers[process] = process.pipe.recv()
            except (EOFError, OSError) as error:
                raise ProcessFailed(f"{process.name} has died: {error!r}") from error
            if isinstance(answers[process], _Failure):
                raise ProcessFailed(f"{process.name}: {answers[process].text}")
    return [answers[process] for process in processes]


@contextmanager
def processes() -> Iterator[Callable[..., Process]]:
    """Give start(name, target, *arguments); at the end all that were started are gone."""
    resource_tracker.ensure_running()  # multiprocessing's own, which stays
    _adopt_orphans()
    before = _children()
    started: list[Process] = []

    def start(name: str, target: Callable[..., None], *arguments: Any) -> Process:
        started.append(Process(name, target, arguments))
        return started[-1]

    patience_s = 2.0  # unless all went well
    try:
        yield start
        patience_s = _END_TIMEOUT_S
    finally:
        deadline = time.monotonic() + patience_s
        for each in started:
            each.pipe.close()
        for each in started:
            each.process.join(max(0.0, deadline - time.monotonic()))
            if each.process.is_alive():
                each.process.kill()
                each.process.join()
        _end_orphans(before, patience_s=5.0)


def _adopt_orphans() -> None:
    """Become the parent of what the children leave behind, so that it can be found."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children() -> set[int]:
    pids = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue  # it has ended
        if int(text.rpartition(")")[2].split()[1]) == os.getpid():
            pids.add(int(stat.parent.name))
    return pids


def _end_orphans(before: set[int], patience_s: float) -> None:
    """Wait for the children that were not there before, and kill those that stay."""
    impatient_at = time.monotonic() + patience_s
    give_up_at = impatient_at + 10
    while (orphans := _children() - before) and time.monotonic() < give_up_at:
        for pid in orphans:
            if time.monotonic() > impatient_at:
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)


@dataclass(frozen=True)
class Timed:
    """How a loop of calls went.

    num_calls in elapsed_s: those that are measured. num_all: with the others. latencies_s: of each
    that is measured.
    """

    num_calls: int
    elapsed_s: float
    num_all: int
    latencies_s: tuple[float, ...]

    @property
    def calls_per_s(self) -> float:
        return self.num_calls / self.elapsed_s


def repeat(call: Callable[[], Any], seconds: float, pause_s: float = 0.0) -> tuple[Timed, Any]:
    """Call again and again; give how that went, and the result of the last call.

    Measured are whole calls, until the first that ends after the time. Callers end at different
    instants, so each goes on afterwards until the others must be done: all calls that are
    measured meet the same load.
    """
    latencies_s: list[float] = []
    start = end = time.perf_counter()
    while end - start < seconds or not latencies_s:
        began = time.perf_counter()
        result = call()
        end = time.perf_counter()
        latencies_s.append(end - began)
        if pause_s:
            time.sleep(pause_s)
    num_calls = num_all = len(latencies_s)
    until = start + seconds + 2 * max(latencies_s)
    while not pause_s and time.perf_counter() < until:
        result = call()
        num_all += 1
    return Timed(num_calls, end - start, num_all, tuple(latencies_s)), result
