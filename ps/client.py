"""Pull and push across all shards at once: resends, epochs, status codes → errors."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn, Protocol, TypeVar

import grpc
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ps.connection import Answer, ShardConnection
from ps.credentials import Identity
from ps.description import ShardDescription
from ps.errors import (
    ERRORS,
    InvalidRequest,
    ShardError,
    ShardUnavailable,
    StateLost,
    UnexpectedStatus,
)
from ps.layout import FlatVector, Layout
from ps.push import Push, PushAnswer

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LOOK_UP_S = 0.5  # how often a shard that does not answer is looked up again


class ClientSettings(BaseModel):
    """How long a replica waits for the shards, and how often it asks again."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    pull_timeout_s: float = Field(
        10.0, gt=0, le=3600, description="How long one attempt may take to read the weights."
    )
    push_timeout_s: float = Field(
        15.0, gt=0, le=3600, description="How long one attempt may take to send a gradient."
    )
    max_attempts: int = Field(6, ge=1, le=30, description="Attempts at a call before it fails.")
    backoff_s: float = Field(
        0.2, gt=0, le=10, description="Wait before the second attempt; it doubles each time."
    )


@dataclass(frozen=True)
class Pulled:
    """All parameters, (P,) float32, read-only, and the version of each shard's slice of them.

    The slices may be of different versions: that is the asynchrony of the method.
    """

    values: FlatVector
    versions: tuple[int, ...]


@dataclass
class _Known:
    """What is known of one shard: the newest epoch and version, and the last slice pulled."""

    epoch: int = 0
    version: int = 0
    pulled: tuple[int, int] | None = None  # epoch and version of the slice
    values: FlatVector | None = field(default=None, repr=False)


class _PastLife(Exception):
    """An older life of a shard has answered, which nobody may listen to any more."""


class CallObserver(Protocol):
    """Whoever is told of the calls of a client."""

    def __call__(self, method: str, seconds: float, num_attempts: int) -> None:
        """Take note of a call to all shards, such as Push, with its resends and waits."""


class ShardClient:
    """A connection to all shards of a search.

    Every call goes to all shards at once, each under a deadline. What met no answer is sent again,
    after a growing, jittered wait, to where the shard is then, and under the same name. Channels
    are opened at the first call, so that a client may exist before a fork until then; pickled,
    it travels without them.

    Threads: one at a time. Repeats: all calls are safe to repeat.
    """

    def __init__(
        self,
        layout: Layout,
        addresses: Sequence[str] | Callable[[], Sequence[str]],
        settings: ClientSettings,
        identity: Identity | None = None,
        acknowledged: Sequence[int] = (),
        observe: CallObserver | None = None,
    ) -> None:
        """Remember where shard i listens: at addresses[i], host:port.

        Args:
            addresses: or a function that gives them, which is asked again when a shard does not
                answer; it must be picklable if the client is to be.
            identity: whose certificate to show; None talks without TLS.
            acknowledged: the version that each shard is known to have acknowledged to others; a
                shard that has less is refused.
            observe: is told of every call when it is over; a client with one cannot be pickled
                unless that can.

        Raises:
            ValueError: not one address for each shard.
        """
        if not callable(addresses):
            _check_number("addresses", addresses, layout)
        if acknowledged:
            _check_number("acknowledged", acknowledged, layout)
        self._layout = layout
        self._addresses = addresses
        self._settings = settings
        self._identity = identity
        self._observe = observe
        self._known = [
            _Known(version=acknowledged[shard] if acknowledged else 0)
            for shard in range(layout.num_shards)
        ]
        self._num_attempts = 0  # of the call under way
        self._connections: list[ShardConnection] = []
        self._unreached: list[int] = []  # the shards that the last call gave up on
        self._threads: ThreadPoolExecutor | None = None

    def describe(self) -> tuple[ShardDescription, ...]:
        """Ask every shard what it is and where it stands."""
        timeout_s = self._settings.pull_timeout_s
        return tuple(self._call("Describe", timeout_s, lambda _, c: c.describe(timeout_s)))

    def initialize(self, values: FlatVector) -> None:
        """Give every shard its slice of the first values, (P,) float32.

        Raises:
            InitializedOtherwise: a shard holds the values of another search or layout.
            StateLost: a shard is empty that had acknowledged pushes; it is not filled again.
        """
        parts = self._cut("values", values)
        timeout_s = self._settings.push_timeout_s

        def ask(shard: int, connection: ShardConnection) -> int:
            acknowledged = self._known[shard].version
            if acknowledged and not connection.describe(timeout_s).is_initialized:
                raise StateLost(
                    f"{self._where(shard)}: it holds no values and had acknowledged {acknowledged} "
                    "pushes: end this search, or restore the newest copy of its folder"
                )
            return connection.initialize(parts[shard], timeout_s)

        self._call("Initialize", timeout_s, ask)

    def checkpoint(self) -> tuple[int, ...]:
        """Have every shard write a checkpoint; give the version in each."""
        timeout_s = self._settings.push_timeout_s
        return tuple(self._call("Checkpoint", timeout_s, lambda _, c: c.checkpoint(timeout_s)))

    def pull(self) -> Pulled:
        """Read all parameters; what a shard has not changed since the last pull stays there.

        Raises:
            NotInitialized: a shard holds no values.
            StateLost: a shard has lost what it had acknowledged.
        """
        timeout_s = self._settings.pull_timeout_s

        def ask(shard: int, connection: ShardConnection) -> Answer:
            return self._noted(shard, connection.pull(self._known[shard].pulled, timeout_s))

        return self._pulled(self._call("Pull", timeout_s, ask))

    def push(
        self,
        replica: int,
        incarnation: int,
        sequence: int,
        base_versions: Sequence[int],
        gradient: FlatVector,
        sample_versions: Sequence[int] | None = None,
    ) -> tuple[PushAnswer, ...]:
        """Send every shard its slice of a gradient, (P,) float32, of the loss to minimize.

        Args:
            base_versions: those of the pull that the gradient was computed at.
            sample_versions: those that the oldest rollout was sampled from, none later; the same
                if None. It is counted, and changes nothing else.

        Returns:
            The answer of every shard, when all have acknowledged.

        Raises:
            ShardUnavailable: a shard did not answer; others may have applied their part, so the
                push must be sent again under the same name, or the search has to end.
            InvalidRequest, NotInitialized, OutOfSequence, PastIncarnation, StalePush, NotPermitted,
            StateLost: see `ps.errors`.
        """
        answers = self._push(
            replica, incarnation, sequence, base_versions, gradient, sample_versions, False
        )
        return _push_answers(answers)

    def push_and_pull(
        self,
        replica: int,
        incarnation: int,
        sequence: int,
        base_versions: Sequence[int],
        gradient: FlatVector,
        sample_versions: Sequence[int] | None = None,
    ) -> tuple[tuple[PushAnswer, ...], Pulled]:
        """Do as `push`, and read all parameters as they are after it, in the same calls."""
        answers = self._push(
            replica, incarnation, sequence, base_versions, gradient, sample_versions, True
        )
        return _push_answers(answers), self._pulled(answers)

    def close(self) -> None:
        """Close the channels; calls under way fail."""
        for connection in self._connections:
            connection.close()
        if self._threads is not None:
            self._threads.shutdown()

    def __enter__(self) -> ShardClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, object]:
        """Travel without channels; they are opened anew on arrival."""
        return self.__dict__ | {"_connections": [], "_unreached": [], "_threads": None}

    def _push(
        self,
        replica: int,
        incarnation: int,
        sequence: int,
        base_versions: Sequence[int],
        gradient: FlatVector,
        sample_versions: Sequence[int] | None,
        wants_values: bool,
    ) -> list[Answer]:
        _check_number("base_versions", base_versions, self._layout)
        sampled_at: Sequence[int | None] = [None] * self._layout.num_shards
        if sample_versions is not None:
            _check_number("sample_versions", sample_versions, self._layout)
            sampled_at = sample_versions
        parts = self._cut("gradient", gradient)
        timeout_s = self._settings.push_timeout_s

        def ask(shard: int, connection: ShardConnection) -> Answer:
            push = Push(
                replica,
                sequence,
                incarnation,
                base_versions[shard],
                parts[shard],
                sampled_at[shard],
            )
            return self._noted(shard, connection.push(push, wants_values, timeout_s))

        return self._call("Push", timeout_s, ask)

    def _noted(self, shard: int, answer: Answer) -> Answer:
        """Take note of how far a shard is.

        Raises:
            _PastLife: another life of the shard has answered since.
            StateLost: it is not as far as it was.
        """
        known = self._known[shard]
        if answer.epoch < known.epoch:
            raise _PastLife
        # A repeated push is answered with its own, older version.
        is_present = answer.push is None or not answer.push.is_repeated or answer.values is not None
        if is_present:
            # A push that was accepted just now comes behind all that was acknowledged before.
            is_new = answer.push is not None and not answer.push.is_repeated
            if answer.version < known.version + is_new:
                self._check_loss(shard, answer.version - is_new)
            known.version = answer.version
        known.epoch = answer.epoch
        if answer.values is not None:
            known.pulled, known.values = (answer.epoch, answer.version), answer.values
        return answer

    def _check_loss(self, shard: int, version: int) -> None:
        lost = f"it is at version {version} and had acknowledged {self._known[shard].version}"
        described = self._connections[shard].describe(self._settings.pull_timeout_s)
        where = self._where(shard)
        if described.durability == "journal":
            raise StateLost(
                f"{where}: {lost}; its journal was cut or an old copy was restored: end this "
                "search, or restore the newest copy of its folder"
            )
        logger.warning("%s: %s; it has gone back to its last checkpoint", where, lost)

    def _pulled(self, answers: Sequence[Answer]) -> Pulled:
        slices = []
        for known in self._known:
            assert known.values is not None, "a pull that is not modified follows one that was"
            slices.append(known.values)
        values = slices[0] if len(slices) == 1 else np.concatenate(slices)
        values.flags.writeable = False
        return Pulled(values, tuple(answer.version for answer in answers))

    def _cut(self, name: str, vector: FlatVector) -> list[FlatVector]:
        if vector.shape != (self._layout.num_parameters,) or vector.dtype != np.float32:
            raise InvalidRequest(
                f"{name}.shape={vector.shape}, {vector.dtype}: must be "
                f"({self._layout.num_parameters},), float32"
            )
        whole = np.ascontiguousarray(vector)
        return [whole[owned] for owned in self._layout.slices]

    def _call(
        self, method: str, timeout_s: float, ask: Callable[[int, ShardConnection], T]
    ) -> list[T]:
        """Make one call to every shard; give the answers in the order of the shards."""
        self._open()
        began, self._num_attempts = time.monotonic(), 1
        answers: dict[int, T] = {}
        try:
            self._ask_all(method, timeout_s, ask, answers)
        finally:
            if self._observe is not None:
                self._observe(method, time.monotonic() - began, self._num_attempts)
        return [answers[shard] for shard in range(self._layout.num_shards)]

    def _ask_all(
        self,
        method: str,
        timeout_s: float,
        ask: Callable[[int, ShardConnection], T],
        answers: dict[int, T],
    ) -> None:
        """Put the answers of all shards into a mapping, in as many attempts as it takes."""
        for shard in self._unreached:
            self._reconnect(shard)
        self._unreached = []
        missing = list(range(self._layout.num_shards))
        for attempt in range(1, self._settings.max_attempts + 1):
            self._num_attempts = attempt
            attempts = self._at_once(missing, partial(self._attempt, method, ask))
            failed: dict[int, grpc.RpcError | _PastLife] = {}
            for shard, outcome in zip(missing, attempts, strict=True):
                if not isinstance(outcome, grpc.RpcError | _PastLife):
                    answers[shard] = outcome
                elif _kind(outcome) is ShardUnavailable:
                    failed[shard] = outcome
                else:
                    self._raise(outcome, shard, method, timeout_s, attempt)
            if not failed:
                break
            missing = list(failed)
            if attempt == self._settings.max_attempts:
                self._unreached = missing
                self._raise(failed[missing[0]], missing[0], method, timeout_s, attempt)
            # Jitter keeps replicas that failed together from coming back together.
            time.sleep(self._settings.backoff_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # noqa: S311 (not a secret)
            self._at_once(missing, partial(self._look_up, timeout_s=timeout_s))
        if attempt > 1:
            logger.warning("%s was answered by all shards at attempt %d", method, attempt)

    def _attempt(
        self, method: str, ask: Callable[[int, ShardConnection], T], shard: int
    ) -> T | grpc.RpcError | _PastLife:
        try:
            return ask(shard, self._connections[shard])
        except (grpc.RpcError, _PastLife) as error:
            return error

    def _at_once(self, shards: Sequence[int], work: Callable[[int], T]) -> list[T]:
        """Do the work for all these shards at the same time."""
        *others, last = shards
        if not others:
            return [work(last)]
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._layout.num_shards - 1, "shard-client")
        started = [self._threads.submit(work, shard) for shard in others]
        done = work(last)  # this thread would only wait
        return [*(each.result() for each in started), done]

    def _look_up(self, shard: int, timeout_s: float) -> None:
        """Return when a shard can be reached where it is said to be, or the time is over."""
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            self._reconnect(shard)
            patience_s = min(left_s, _LOOK_UP_S) if callable(self._addresses) else left_s
            if self._connections[shard].wait_until_reached(patience_s):
                return

    def _reconnect(self, shard: int) -> None:
        """Open a channel to where a shard is said to be, if that is elsewhere now."""
        address = self._find()[shard]
        if address != self._connections[shard].address:
            self._connections[shard].close()
            self._connections[shard] = self._connect(shard, address)

    def _raise(
        self,
        error: grpc.RpcError | _PastLife,
        shard: int,
        method: str,
        timeout_s: float,
        attempts: int,
    ) -> NoReturn:
        kind, where = _kind(error), self._where(shard)
        if isinstance(error, _PastLife):
            raise ShardUnavailable(
                f"{where}: {method} is answered by an older life of it, {attempts} attempts; a "
                "newer one was seen: is it up? `nasrl shards`"
            ) from error
        if kind is ShardUnavailable:
            raise ShardUnavailable(
                f"{where}: no answer to {method} within {timeout_s} s, {attempts} attempts "
                f"({error.code().name}: {error.details()}); is it up? `nasrl shards`"
            ) from error
        if kind is UnexpectedStatus:
            raise UnexpectedStatus(
                f"{where}: {method} ended with {error.code().name}: {error.details()}"
            ) from error
        raise kind(f"{where}: {error.details()}") from error

    def _where(self, shard: int) -> str:
        address = self._connections[shard].address
        return f"shard {shard} of {self._layout.num_shards} at {address}"

    def _find(self) -> Sequence[str]:
        if not callable(self._addresses):
            return self._addresses
        addresses = self._addresses()
        _check_number("addresses", addresses, self._layout)
        return addresses

    def _open(self) -> None:
        if not self._connections:
            self._connections = [self._connect(s, a) for s, a in enumerate(self._find())]

    def _connect(self, shard: int, address: str) -> ShardConnection:
        is_waiting = not callable(self._addresses)
        return ShardConnection(self._layout, shard, address, self._identity, is_waiting)


def _kind(error: grpc.RpcError | _PastLife) -> type[ShardError]:
    if isinstance(error, _PastLife):
        return ShardUnavailable
    return ERRORS.get(error.code(), UnexpectedStatus)


def _check_number(name: str, given: Sequence[object], layout: Layout) -> None:
    if len(given) != layout.num_shards:
        raise ValueError(f"{name}={list(given)}: must be {layout.num_shards}, one a shard")


def _push_answers(answers: Sequence[Answer]) -> tuple[PushAnswer, ...]:
    pushes = [answer.push for answer in answers if answer.push is not None]
    assert len(pushes) == len(answers), "every push has an answer"
    return tuple(pushes)
