"""Actors for tests: what they wrap is light, and they say which process they are."""

from __future__ import annotations

import os
import signal
from typing import Any

import ray
from support.runs import is_alive
from support.waiting import wait_until

from workers.remote import control

START_S = 60.0  # until an actor answers, on a busy machine


class Living:
    """Answers whether it lives, and which process it is."""

    @control
    def ping(self) -> int:
        """Answer with the process id."""
        return os.getpid()

    @control
    def device(self) -> str:
        return f"host: cpu {os.getpid()}"


class Unborn(Living):
    """Cannot be constructed."""

    def __init__(self, *_: Any) -> None:
        raise RuntimeError("children.num_gpus=1: no CUDA device")


def pid_of(actor: Any) -> int:
    """Give the process of an actor, once it lives."""
    pid: int = ray.get(actor.ping.remote(), timeout=START_S)
    return pid


def kill(actor: Any) -> int:
    """Kill the process of an actor, as the system does when memory runs out; give which it was."""
    pid = pid_of(actor)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "the end of the process")
    return pid


def freeze(actor: Any) -> int:
    """Stop the process of an actor, which Ray never notices; give which it is."""
    pid = pid_of(actor)
    os.kill(pid, signal.SIGSTOP)
    return pid
