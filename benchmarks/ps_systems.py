"""The systems that `parameter_server.py` compares: for each, how it is served and called."""

from __future__ import annotations

import itertools
import logging
import os
import tempfile
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ps_processes import Process, Timed, answer, processes, receive_all, repeat

Vector = NDArray[np.float32]
Call = Callable[[], Any]  # one push-and-pull, or one of whatever the form's name says

NUM_CLIENTS = 4
LEARNING_RATE = 0.0006
PUSH_AND_PULL = "push_and_pull"
NOT_MODIFIED = "pull, not modified"

_START_TIMEOUT_S = 120.0
_CALL_TIMEOUT_S = 60.0
_MB = 1_000_000
_LARGE_BYTES = _MB  # from here on, large frames pay
_NUM_THREADS = 16  # of a server, where it has them to choose
_HEALTH_PAUSE_S = 0.005


@dataclass(frozen=True)
class Setup:
    """What is measured."""

    system: str
    num_parameters: int
    num_shards: int = 1
    durability: str | None = None

    @property
    def num_bytes(self) -> int:
        return 4 * self.num_parameters

    @property
    def forms(self) -> tuple[str, ...]:
        """The ways in which this system is called; each is measured."""
        if self.system == "raw grpcio" and self.num_bytes >= _LARGE_BYTES:
            return tuple(_RAW_FORMS)
        if self.system == "raw grpcio":
            return (_WHOLE,)
        if self.system == "torch rpc":
            return tuple(_TORCH_FORMS)
        return (PUSH_AND_PULL,)

    @property
    def name(self) -> str:
        words = [self.system, self.durability and f"durability: {self.durability}"]
        words.append(f"{self.num_shards} shards" if self.num_shards > 1 else None)
        return ", ".join(filter(None, words))


def first_values(setup: Setup) -> Vector:
    """The values that every server begins with."""
    return np.random.default_rng(0).standard_normal(setup.num_parameters, np.float32)


def gradient_of(setup: Setup, client: int) -> Vector:
    """The gradient that a client sends, with every call the same one."""
    return np.random.default_rng(1 + client).standard_normal(setup.num_parameters, np.float32)


class Session:
    """One system with its processes, ready to be measured."""

    def __init__(
        self, servers: Sequence[Process], clients: Sequence[Process], prober: Process | None
    ) -> None:
        self._servers, self._clients, self._prober = servers, clients, prober
        self.num_pushed = 0

    def run(self, form: str, seconds: float) -> list[Timed]:
        """Have all clients call at the same time."""
        return self._ask(self._clients, form, seconds)[0]

    def run_probed(self, form: str, seconds: float) -> tuple[list[Timed], Timed]:
        """Do the same, and ask for the server's health from one more process meanwhile."""
        assert self._prober is not None, "this session has no prober"
        timed, [health] = self._ask(self._clients, form, seconds, self._prober)
        return timed, health

    def run_alone(self, form: str, seconds: float) -> Timed:
        """Have the first client call alone."""
        return self._ask(self._clients[:1], form, seconds)[0][0]

    def check_applied(self) -> None:
        """Compare what the servers have applied with what the clients have sent.

        Raises:
            RuntimeError: they differ, so that what was measured means nothing.
        """
        for server in self._servers:
            server.send(("count", ()))
        for count in receive_all(self._servers, _CALL_TIMEOUT_S):
            if count is not None and count != self.num_pushed:
                raise RuntimeError(f"{count} gradients were applied, and {self.num_pushed} sent")

    def _ask(
        self, clients: Sequence[Process], form: str, seconds: float, *others: Process
    ) -> tuple[list[Timed], list[Timed]]:
        asked = [*clients, *others]
        for process in asked:  # they wait for this; the last gets it some 0.1 ms after the first
            process.send(("run", (form, seconds)))
        answers = receive_all(asked, 3 * seconds + 3 * _CALL_TIMEOUT_S)
        timed = [each for given in answers[: len(clients)] for each in given]
        if form != NOT_MODIFIED:
            self.num_pushed += sum(each.num_all for each in timed)
        return timed, [each for given in answers[len(clients) :] for each in given]


@contextmanager
def session(setup: Setup, is_probed: bool) -> Iterator[Session]:
    """Start the processes of a system; at the end they are gone, and so is what they wrote."""
    with (
        # The journal is where the caller is; sockets need a short path.
        tempfile.TemporaryDirectory(prefix=".parameter-server-", dir=Path.cwd()) as state,
        tempfile.TemporaryDirectory(prefix="ps-") as scratch,
        processes() as start,
    ):
        if setup.system == "ray":
            driver = start("ray driver", _drive_ray, setup, Path(scratch))
            receive_all([driver], _START_TIMEOUT_S)
            yield Session([driver], [driver], None)
            return
        folders = [Path(state) / f"shard-{shard}" for shard in range(setup.num_shards)]
        folder = Path(scratch)
        servers = [
            start(f"server {shard}", _serve, setup, shard, folders[shard], folder)
            for shard in range(setup.num_shards)
        ]
        clients = [start(f"client {i}", _drive, setup, i) for i in range(NUM_CLIENTS)]
        callers = [*clients, start("prober", _probe)] if is_probed else clients
        addresses = receive_all(servers, _START_TIMEOUT_S)
        for caller in callers:
            caller.send(addresses)
        receive_all(callers, _START_TIMEOUT_S)
        yield Session(servers, clients, callers[-1] if is_probed else None)


def _serve(pipe: Connection, setup: Setup, shard: int, folder: Path, scratch: Path) -> None:
    """Be a server: announce the address, then answer how many gradients were applied."""
    serve: dict[str, Callable[[], AbstractContextManager[Call]]] = {
        "nasrl": lambda: serve_nasrl(setup, shard, folder, pipe.send),
        "raw grpcio": lambda: serve_raw(setup, pipe.send),
        "torch rpc": lambda: serve_torch(setup, scratch / "rendezvous", pipe.send),
    }
    with serve[setup.system]() as count:
        answer(pipe, {"count": count})


def _drive(pipe: Connection, setup: Setup, client: int) -> None:
    """Be a client: open, then call as often as asked."""
    clients = {"nasrl": nasrl_client, "raw grpcio": raw_client, "torch rpc": torch_client}
    addresses = pipe.recv()
    with clients[setup.system](setup, addresses, client) as calls:
        pipe.send("ready")
        answer(pipe, {"run": lambda form, s: [measure(setup, calls[form], s)]})


def measure(setup: Setup, call: Call, seconds: float) -> Timed:
    """Repeat a call, and look at the values that the last one gave, if any."""
    timed, values = repeat(call, seconds)
    if values is not None:
        received = np.asarray(values)
        assert received.shape == (setup.num_parameters,), received.shape
        assert np.isfinite(received).all(), "values are not finite"
        assert not np.array_equal(received, first_values(setup)), "no gradient was applied"
    return timed


# nasrl


@contextmanager
def serve_nasrl(
    setup: Setup, shard: int, folder: Path, announce: Callable[[str], None]
) -> Iterator[Call]:
    """Serve one shard; give the function that reads its version."""
    import torch

    from ps.optimizer import AdamSettings
    from ps.plan import ShardPlan
    from ps.server import ServerSettings, ShardServer

    torch.set_num_threads(1)
    plan = ShardPlan(_layout(setup), shard, AdamSettings(learning_rate=LEARNING_RATE))
    settings = ServerSettings.model_validate({"durability": setup.durability})
    with ShardServer(plan, settings, folder) as server:
        announce(server.address)
        yield lambda: server.describe().version


@contextmanager
def nasrl_client(setup: Setup, addresses: Sequence[str], client: int) -> Iterator[dict[str, Call]]:
    """Open a client; all give the shards the same first values."""
    from ps.client import ClientSettings, ShardClient

    settings = ClientSettings(pull_timeout_s=_CALL_TIMEOUT_S, push_timeout_s=_CALL_TIMEOUT_S)
    gradient = gradient_of(setup, client)
    with ShardClient(_layout(setup), addresses, settings) as shards:
        shards.initialize(first_values(setup))
        pulled = shards.pull()
        sequences = itertools.count(1)

        def push_and_pull() -> Vector:
            nonlocal pulled
            _, pulled = shards.push_and_pull(client, 1, next(sequences), pulled.versions, gradient)
            return pulled.values

        def pull() -> None:
            nonlocal pulled
            before, pulled = pulled, shards.pull()
            # The first one after others have pushed is another matter.
            is_first = before.versions != pulled.versions
            assert is_first or pulled.values is before.values, "values were sent again"

        yield {PUSH_AND_PULL: push_and_pull, NOT_MODIFIED: pull}


def _layout(setup: Setup) -> Any:
    from ps.layout import Layout

    return Layout((("weights", (setup.num_parameters,)),), setup.num_shards)


def _probe(pipe: Connection) -> None:
    """Be the one who asks for a shard's health."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from ps import wire

    [address] = pipe.recv()
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=wire.SERVICE)

        def check() -> None:
            try:
                health = stub.Check(request, timeout=5)
            except grpc.RpcError as error:
                # It counts with the time it took.
                if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise
            else:
                assert health.status == health_pb2.HealthCheckResponse.SERVING, health

        stub.Check(health_pb2.HealthCheckRequest(), timeout=_CALL_TIMEOUT_S)
        pipe.send("ready")
        answer(pipe, {"run": lambda _, s: [repeat(check, s, _HEALTH_PAUSE_S)[0]]})


# raw grpcio: as many bytes there and back, and nothing else

_WHOLE = "one message"
_IN_FLIGHT = 3
_RAW_FORMS = {  # size of a piece, and whether pieces share a stream
    _WHOLE: (None, False),
    "1 MB pieces, 3 in flight": (_MB, False),
    "4 MB pieces, 3 in flight": (4 * _MB, False),
    "stream of 1 MB pieces": (_MB, True),
    "stream of 4 MB pieces": (4 * _MB, True),
}


def _raw_options(setup: Setup) -> list[tuple[str, int]]:
    limit = setup.num_bytes + _MB
    options = [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", limit),
    ]
    if setup.num_bytes >= _LARGE_BYTES:
        options.append(("grpc.http2.max_frame_size", 16_777_215))
    return options


@contextmanager
def serve_raw(setup: Setup, announce: Callable[[str], None]) -> Iterator[Call]:
    """Echo bytes; nothing is applied, so nothing is counted."""
    import grpc

    def echo(request: bytes, _: grpc.ServicerContext) -> bytes:
        return request

    def echo_stream(requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        yield from requests

    server = grpc.server(ThreadPoolExecutor(_NUM_THREADS), options=_raw_options(setup))
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(echo),
        "Stream": grpc.stream_stream_rpc_method_handler(echo_stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    announce(f"127.0.0.1:{port}")
    try:
        yield lambda: None
    finally:
        server.stop(5).wait(10)


@contextmanager
def raw_client(setup: Setup, addresses: Sequence[str], client: int) -> Iterator[dict[str, Call]]:
    """Open a channel."""
    import grpc

    [address] = addresses
    data = gradient_of(setup, client).tobytes()
    with grpc.insecure_channel(address, _raw_options(setup)) as channel:
        unary = channel.unary_unary("/Echo/Unary")
        stream = channel.stream_stream("/Echo/Stream")

        def in_flight(pieces: Sequence[bytes]) -> None:
            num_bytes, waiting = 0, deque[Any]()
            for piece in pieces:
                if len(waiting) == _IN_FLIGHT:
                    num_bytes += len(waiting.popleft().result())
                waiting.append(unary.future(piece, timeout=_CALL_TIMEOUT_S))
            check(num_bytes + sum(len(each.result()) for each in waiting))

        def streamed(pieces: Sequence[bytes]) -> None:
            check(sum(map(len, stream(iter(pieces), timeout=_CALL_TIMEOUT_S))))

        def whole() -> None:
            check(len(unary(data, timeout=_CALL_TIMEOUT_S)))

        def check(num_bytes: int) -> None:
            assert num_bytes == setup.num_bytes, f"{num_bytes} bytes came back"

        calls: dict[str, Call] = {_WHOLE: whole}
        for form, (size, is_stream) in _RAW_FORMS.items():
            if size is not None:
                pieces = [data[start : start + size] for start in range(0, len(data), size)]
                calls[form] = partial(streamed if is_stream else in_flight, pieces)
        yield calls


# What torch rpc and Ray serve


class Model:
    """Weights with torch's fused Adam.

    Threads: one at a time.
    """

    def __init__(self, values: Vector) -> None:
        import torch

        torch.set_num_threads(1)
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        self._torch = torch
        self._weights = torch.nn.Parameter(torch.tensor(values))
        self._optimizer = torch.optim.Adam([self._weights], lr=LEARNING_RATE, fused=True)
        self.num_applied = 0

    def apply(self, gradient: Any) -> Any:
        """Take one step, and give a view of the weights; both are tensors."""
        self._weights.grad = gradient
        self._optimizer.step()
        self.num_applied += 1
        return self._weights.detach()

    def apply_gradients(self, gradient: Vector) -> Vector:
        """Do the same with arrays: Ray's copy of what is returned is made before the next call."""
        values: Vector = self.apply(self._torch.from_numpy(gradient)).numpy()
        return values

    def count(self) -> int:
        return self.num_applied


# torch.distributed.rpc

_TORCH_FORMS = {"values of one version": True, "values as they change": False}
_SERVER = "server"

# A function that is called by name finds the model here, in the server's process.
_served: list[Model] = []
_serving = threading.Lock()


def apply_remotely(gradient: Any, copies: bool) -> Any:
    """Apply a gradient where the model is; give the weights, or what becomes of them by then."""
    with _serving:
        values = _served[0].apply(gradient)
        return values.clone() if copies else values


@contextmanager
def _rpc(rendezvous: str, rank: int) -> Iterator[Any]:
    os.environ["TP_SOCKET_IFNAME"] = os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    warnings.filterwarnings("ignore")
    import torch
    from torch.distributed import rpc

    if not rpc.is_available():
        raise RuntimeError("this torch was built without torch.distributed.rpc")
    torch.set_num_threads(1)
    rpc.init_rpc(
        _SERVER if rank == 0 else f"client-{rank}",
        rank=rank,
        world_size=1 + NUM_CLIENTS,
        rpc_backend_options=rpc.TensorPipeRpcBackendOptions(
            num_worker_threads=_NUM_THREADS,
            rpc_timeout=_CALL_TIMEOUT_S,
            init_method=f"file://{rendezvous}",
        ),
    )
    yield rpc
    rpc.shutdown(timeout=10)


@contextmanager
def serve_torch(setup: Setup, rendezvous: Path, announce: Callable[[str], None]) -> Iterator[Call]:
    """Hold the model; the clients must come, too, before this one is ready."""
    _served.append(Model(first_values(setup)))
    announce(str(rendezvous))
    with _rpc(str(rendezvous), rank=0):
        yield _served[0].count


@contextmanager
def torch_client(setup: Setup, addresses: Sequence[str], client: int) -> Iterator[dict[str, Call]]:
    """Join the others."""
    [rendezvous] = addresses
    with _rpc(rendezvous, rank=1 + client) as rpc:
        import torch

        gradient = torch.from_numpy(gradient_of(setup, client))
        yield {
            form: partial(rpc.rpc_sync, _SERVER, apply_remotely, (gradient, copies))
            for form, copies in _TORCH_FORMS.items()
        }


# Ray


class RayClient:
    """One client process: it waits for its weights before it sends the next gradient."""

    def __init__(self, setup: Setup, client: int, model: Any) -> None:
        self._setup, self._model = setup, model
        self._gradient = gradient_of(setup, client)

    def run(self, seconds: float) -> Timed:
        return measure(self._setup, self._push_and_pull, seconds)

    def _push_and_pull(self) -> Vector:
        import ray

        weights = self._model.apply_gradients.remote(self._gradient)
        values: Vector = ray.get(weights, timeout=_CALL_TIMEOUT_S)
        return values


def _drive_ray(pipe: Connection, setup: Setup, scratch: Path) -> None:
    """Be the driver: start Ray, the actor with the model, and those that call it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # Ray's processes import this file
    warnings.filterwarnings("ignore")
    import ray

    ray.init(
        address="local",
        num_cpus=2 + NUM_CLIENTS,
        include_dashboard=False,
        # A gradient and its answer for each client, and as much again until both are collected.
        object_store_memory=256 * _MB + 4 * NUM_CLIENTS * setup.num_bytes,
        logging_level=logging.ERROR,
        log_to_driver=False,
        _temp_dir=str(scratch),
    )
    try:
        model = ray.remote(num_cpus=1)(Model).remote(first_values(setup))
        actor = ray.remote(num_cpus=1)(RayClient)
        clients = [actor.remote(setup, client, model) for client in range(NUM_CLIENTS)]

        def run(_: str, seconds: float) -> list[Timed]:
            timed = [client.run.remote(seconds) for client in clients]
            given: list[Timed] = ray.get(timed, timeout=3 * seconds + 2 * _CALL_TIMEOUT_S)
            return given

        def count() -> int:
            num_applied: int = ray.get(model.count.remote(), timeout=_CALL_TIMEOUT_S)
            return num_applied

        count()
        pipe.send("ready")
        answer(pipe, {"run": run, "count": count})
    finally:
        ray.shutdown()
