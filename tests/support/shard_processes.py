"""Shards in processes of their own, which a test kills, freezes and starts again; replicas, too.

Run as a script, this file is the parent of all of them. It takes its orders, a line of JSON each,
from its standard input, and they end with it, so that none outlives the test.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.waiting import wait_until

from ps.client import ClientSettings, ShardClient
from ps.errors import ShardUnavailable
from ps.layout import FlatVector, Layout

ADDRESS_FILE = "address"  # of the newest life, host:port; with a process number, of that process
FAULTS_FILE = "faults"  # what was done to the calls of all lives, a line each
SERVICE = "nasrl.ps.v1.ParameterShard"

LOST_REQUEST = "lost request"  # the call never ran
LOST_REPLY = "lost reply"  # it ran, and its caller does not know
DUPLICATE = "duplicate"  # it ran twice, one after the other
LATE_DUPLICATE = "late duplicate"  # an earlier call ran once more, when others had followed it
KINDS = (LOST_REQUEST, LOST_REPLY, DUPLICATE, LATE_DUPLICATE)

_ROOT = Path(__file__).resolve().parents[2]
_MAX_FAILURES = 5  # of one push; then the replica ends
_START_S = 60.0  # a machine that is busy takes long to import torch


@dataclass(frozen=True)
class Addresses:
    """Where the shards are now, by the files they write; a ShardClient asks it again and again."""

    folders: tuple[Path, ...]

    def __call__(self) -> list[str]:
        return [(folder / ADDRESS_FILE).read_text() for folder in self.folders]


class ShardProcess:
    """One process that serves, or tries to serve, one life of a shard."""

    def __init__(self, nursery: _Nursery, pid: int, folder: Path, log: Path) -> None:
        self.pid = pid
        self._nursery = nursery
        self._folder = folder
        self._log = log
        self._code: int | None = None

    @property
    def address(self) -> str | None:
        """Where it listens, or has listened; None before it has recovered."""
        try:
            return _address_file(self._folder, self.pid).read_text()
        except FileNotFoundError:
            return None

    @property
    def log(self) -> str:
        """What it has written to its standard error."""
        return self._log.read_text()

    @property
    def exit_code(self) -> int | None:
        """What it has ended with, minus the signal that ended it; None while it runs."""
        if self._code is None:
            self._code = self._nursery.exit_code(self.pid)
        return self._code

    def is_serving(self, timeout_s: float = 1.0) -> bool:
        """Tell whether it says, by grpc.health.v1, that it serves."""
        address = self.address
        return address is not None and is_serving(address, timeout_s)

    def kill(self) -> None:
        """End it at this instant, even when it is frozen; nothing happens if it has ended."""
        self._send(signal.SIGKILL)
        self.wait()

    def freeze(self) -> None:
        """Let it stand still, connections and all."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if nothing had been."""
        self._send(signal.SIGCONT)

    def end(self) -> int:
        """Have it drain, and give its exit code."""
        self._send(signal.SIGTERM)
        return self.wait()

    def wait(self, timeout_s: float = 30.0) -> int:
        """Give its exit code when it has ended."""
        wait_until(lambda: self.exit_code is not None, f"process {self.pid} ends", timeout_s)
        assert self.exit_code is not None
        return self.exit_code

    def _send(self, number: signal.Signals) -> None:
        # Until its exit code is asked for, its number cannot become that of another process.
        if self.exit_code is None:
            os.kill(self.pid, number)


class ShardProcesses:
    """The shards of one layout, each in a process and a folder of its own, with SGD of rate 1.

    Threads: one at a time starts shards.
    """

    def __init__(
        self,
        root: Path,
        shapes: Sequence[tuple[str, tuple[int, ...]]],
        num_shards: int,
        *,
        settings: Mapping[str, object] | None = None,
        fault_rate: float = 0.0,
    ) -> None:
        """Start no shard yet.

        Args:
            settings: ServerSettings' fields.
            fault_rate: the fraction of pulls and pushes that each kind of fault befalls.
        """
        root.mkdir(exist_ok=True)
        self.folders = tuple(root / f"shard-{shard}" for shard in range(num_shards))
        self.addresses = Addresses(self.folders)
        self._root = root
        self._orders = {
            "shapes": shapes,
            "num_shards": num_shards,
            "settings": {"durability": "journal", **(settings or {})},
            "fault_rate": fault_rate,
        }
        self._nursery = _Nursery(root / "nursery.log")
        self._started: list[ShardProcess] = []

    def start(
        self,
        shard: int,
        *,
        is_taking_over: bool = False,
        address: str = "127.0.0.1:0",
        begin_at: float = 0.0,
    ) -> ShardProcess:
        """Start a life of a shard, and do not wait for it.

        Args:
            begin_at: by time.monotonic(), so that several can begin at the same moment.
        """
        folder, log = self.folders[shard], self._root / f"process-{len(self._started)}.log"
        pid = self._nursery.start(
            self._orders
            | {
                "shard": shard,
                "folder": str(folder),
                "log": str(log),
                "address": address,
                "is_taking_over": is_taking_over,
                "begin_at": begin_at,
            }
        )
        self._started.append(ShardProcess(self._nursery, pid, folder, log))
        return self._started[-1]

    def start_all(self) -> list[ShardProcess]:
        """Start every shard, and return when all are there, if not initialized."""
        started = [self.start(shard) for shard in range(len(self.folders))]
        for process in started:
            wait_until_there(process)
        return started

    def num_faults(self) -> Counter[str]:
        """Count the faults of each kind that have happened."""
        files = [folder / FAULTS_FILE for folder in self.folders]
        return Counter(
            line for file in files if file.exists() for line in file.read_text().splitlines()
        )

    def __enter__(self) -> ShardProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        """End every process that was started here, whatever state it is in."""
        try:
            for started in self._started:
                started.kill()
        finally:
            self._nursery.close()


class _Nursery:
    """A process that has imported all a shard needs, of which each shard is a fork.

    So a shard is there after tens of milliseconds, where torch alone takes seconds to import.

    Threads: may be called from many.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._lock = threading.Lock()  # held for one question and its answer
        with log.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).resolve())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'tests'}"},
            )

    def start(self, orders: Mapping[str, object]) -> int:
        """Start a shard; give the number of its process."""
        return int(self._ask(orders))

    def exit_code(self, pid: int) -> int | None:
        """Give what a shard has ended with, once; None while it runs."""
        code: int | None = self._ask({"ended": pid})
        return code

    def close(self) -> None:
        """End the nursery, and with it whatever it has started."""
        self._process.kill()
        self._process.communicate(timeout=10)

    def _ask(self, question: Mapping[str, object]) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with self._lock:
            stdin.write(json.dumps(question) + "\n")
            stdin.flush()
            answer = stdout.readline()
        assert answer, f"no shards can be started any more:\n{self._log.read_text()}"
        return json.loads(answer)


def is_serving(address: str, timeout_s: float = 1.0) -> bool:
    """Tell whether the shard at an address says, by grpc.health.v1, that it serves."""
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=SERVICE), timeout=timeout_s
            )
        except grpc.RpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


def wait_until_there(process: ShardProcess, timeout_s: float = _START_S) -> str:
    """Give the address of a process as soon as it has recovered; without values it serves none."""

    def is_there() -> bool:
        code = process.exit_code
        assert code is None, f"the shard has ended with {code}:\n{process.log}"
        return process.address is not None

    wait_until(is_there, "the shard listens", timeout_s)
    address = process.address
    assert address is not None
    return address


def wait_until_serving(process: ShardProcess, timeout_s: float = _START_S) -> str:
    """Give the address of a process that has been initialized, as soon as it is SERVING."""
    address = wait_until_there(process, timeout_s)
    wait_until(lambda: process.is_serving(), "the shard is SERVING", timeout_s)
    return address


@dataclass
class Pushed:
    """What one replica has done: its last sequence, and how often and when it was answered.

    repeated: answers to resends, of all shards. given_up: calls that no shard answered in all their
    attempts. times_s: from the first sending of each push to the answers of all shards.
    """

    sequence: int = 0
    num_acknowledged: int = 0
    num_repeated: int = 0
    num_given_up: int = 0
    times_s: list[float] = field(default_factory=list)


def push_until(
    end: Path,
    layout: Layout,
    addresses: Addresses,
    settings: ClientSettings,
    replica: int,
    gradient: FlatVector,
) -> Pushed:
    """Push the same gradient again and again until there is a file; may run in another process.

    Every push is sent under its own name until all shards have answered.
    """
    done = Pushed()
    with ShardClient(layout, addresses, settings) as client:
        pulled = client.pull()
        while not end.exists():
            done.sequence += 1
            began, num_failures = time.monotonic(), 0
            while True:
                try:
                    answers, pulled = client.push_and_pull(
                        replica, 1, done.sequence, pulled.versions, gradient
                    )
                    break
                except ShardUnavailable:
                    num_failures += 1
                    if num_failures == _MAX_FAILURES:
                        raise
            done.num_given_up += num_failures
            done.times_s.append(time.monotonic() - began)
            done.num_acknowledged += 1
            done.num_repeated += sum(answer.is_repeated for answer in answers)
    return done


# What follows runs in the process of a shard.


class Faults(grpc.ServerInterceptor):
    """Loses and repeats pulls and pushes, each kind at the same rate, and writes down which."""

    def __init__(self, rate: float, file: Path) -> None:
        self._rate = rate
        self._random = random.Random()
        self._lock = threading.Lock()  # guards the call to be repeated later
        self._earlier: Callable[[], object] | None = None
        # Appended to by one write each, so that no kill tears a line.
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Replace what a pull or a push would run."""
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if not method.startswith(f"/{SERVICE}/P") or handler.unary_unary is None:
            return handler
        choice = self._random.random()
        if choice >= self._rate * len(KINDS):
            return handler
        return grpc.unary_unary_rpc_method_handler(
            self._faulty(KINDS[int(choice / self._rate)], handler.unary_unary)
        )

    def _faulty(self, kind: str, run: Callable[[bytes, Any], bytes]) -> Callable[..., bytes]:
        def call(request: bytes, context: grpc.ServicerContext) -> bytes:
            if kind == LATE_DUPLICATE:
                self._run_earlier(lambda: run(request, _Nobody()))
                return run(request, context)
            self._note(kind)
            if kind == LOST_REQUEST:
                context.abort(grpc.StatusCode.UNAVAILABLE, f"{kind} (injected)")
            first = run(request, context)
            if kind == LOST_REPLY:
                context.abort(grpc.StatusCode.UNAVAILABLE, f"{kind} (injected)")
            second = run(request, context)
            return random.choice([first, second])

        return call

    def _run_earlier(self, this: Callable[[], object]) -> None:
        with self._lock:
            earlier, self._earlier = self._earlier, this
        if earlier is None:
            return
        self._note(LATE_DUPLICATE)
        with suppress(_Refused):
            earlier()

    def _note(self, kind: str) -> None:
        os.write(self._file, f"{kind}\n".encode())


class _Refused(Exception):
    pass


class _Nobody:
    """The caller of a call that nobody waits for."""

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        raise _Refused(code, details)


def _address_file(folder: Path, pid: int) -> Path:
    return folder / f"{ADDRESS_FILE}-{pid}"


def _write_address(folder: Path, address: str) -> None:
    own = _address_file(folder, os.getpid())
    for path in (own, folder / ADDRESS_FILE):
        beside = own.with_suffix(".tmp")
        beside.write_text(address)
        beside.replace(path)


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)  # returns when the nursery has ended
    os._exit(3)


def _serve(orders: Mapping[str, Any]) -> None:
    """Serve one life of a shard, until SIGTERM or until its state fails it."""
    from ps.optimizer import SgdSettings
    from ps.plan import ShardPlan
    from ps.server import ServerSettings, ShardServer

    shapes = tuple((name, tuple(shape)) for name, shape in orders["shapes"])
    plan = ShardPlan(
        Layout(shapes, orders["num_shards"]),
        orders["shard"],
        SgdSettings(name="sgd", learning_rate=1.0, momentum=0.0),
    )
    folder = Path(orders["folder"])
    folder.mkdir(exist_ok=True)
    rate = orders["fault_rate"]
    while time.monotonic() < orders["begin_at"]:
        pass  # a sleep would end some milliseconds late
    server = ShardServer(
        plan,
        ServerSettings(**orders["settings"]),
        folder,
        orders["address"],
        interceptors=[Faults(rate, folder / FAULTS_FILE)] if rate else [],
        is_taking_over=orders["is_taking_over"],
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with server:
        _write_address(folder, server.address)
        server.wait()


def _fork(orders: Mapping[str, Any], lifeline: tuple[int, int]) -> int:
    """Start a shard; give the number of its process."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        reading, writing = lifeline
        os.close(writing)
        log = os.open(orders["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, replaced in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(number, replaced)
        threading.Thread(target=_end_with, args=[reading], daemon=True).start()
        _serve(orders)
        code = 0
    except SystemExit:
        code = 0
    except BaseException:  # noqa: BLE001 (the edge of the process)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _main() -> None:
    """Fork a shard for every order; forks are safe, for nothing here has threads or channels."""
    import torch

    import ps.server  # noqa: F401 (so that the shards have it)

    torch.set_num_threads(1)
    lifeline = os.pipe()
    while line := sys.stdin.readline():
        question = json.loads(line)
        if "ended" in question:
            pid, status = os.waitpid(question["ended"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = _fork(question, lifeline)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _main()
