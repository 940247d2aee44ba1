"""One slice of the parameters in memory: values, optimizer moments, version, last pushes."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from ps.description import ShardDescription
from ps.errors import (
    InitializedOtherwise,
    InvalidRequest,
    NotInitialized,
    OutOfSequence,
    PastIncarnation,
)
from ps.layout import FlatVector, Layout
from ps.push import Push, PushAnswer

_MAX_GRADIENT = 1e18  # the square of more does not fit float32
_SIMD_FLOATS = 16  # the widest vector of any processor that torch has kernels for: 512 bits


class OptimizerSettings(BaseModel):
    """How a shard applies a gradient to its slice."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: Literal["adam"] = "adam"
    learning_rate: float = Field(0.0006, gt=0, description="Zoph & Le 2017, s4.1: CIFAR-10.")
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    epsilon: float = Field(1e-8, gt=0)


@dataclass(frozen=True)
class _LastPush:
    sequence: int
    incarnation: int
    answer: PushAnswer


class Store:
    """The state of one shard, without network or disk.

    Laws:
        A push is named (replica, sequence); a replica's sequence starts at 1. Only last + 1 is
        applied; the last one again gets its first answer; anything else is refused. A push of
        an older incarnation than the store has seen is refused.
        A refused call changes nothing but the count of refusals.
        ``version`` is the number of accepted pushes. Pulled values are those at one version.

    Threads: every method may be called from many; one lock guards all state.
    """

    def __init__(self, layout: Layout, shard: int, optimizer: OptimizerSettings) -> None:
        self._layout = layout
        self._shard = shard
        self._settings = optimizer
        owned = layout.slices[shard]
        self._num_parameters = owned.stop - owned.start
        self._lock = threading.Lock()
        # Everything below is guarded by the lock.
        self._initial_sha256: bytes | None = None
        # A fused step rounds the last few elements, those that fill no SIMD vector, otherwise than
        # the rest. Zeros after the slice fill it, so that values do not depend on num_shards.
        self._padded = torch.zeros(-(-self._num_parameters // _SIMD_FLOATS) * _SIMD_FLOATS)
        self._padded.grad = torch.zeros_like(self._padded)
        self._values = self._padded[: self._num_parameters]
        self._gradient = self._padded.grad[: self._num_parameters]
        self._optimizer = torch.optim.Adam(
            [self._padded],
            lr=optimizer.learning_rate,
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.epsilon,
            fused=True,
        )
        self._version = 0
        self._last: dict[int, _LastPush] = {}
        self._num_repeated = 0
        self._num_refused = 0
        self._staleness_sum = 0
        self._staleness_max = 0

    def initialize(self, layout_sha256: bytes, values: FlatVector) -> int:
        """Give the slice its first values, (P,) float32, copied; returns the version.

        Repeats: the same values and layout again change nothing.

        Raises:
            InvalidRequest: wrong length, or a value that is not finite.
            InitializedOtherwise: the shard is laid out, or was initialized, another way.
        """
        self._check_vector("values", values)
        if layout_sha256 != self._layout.sha256:
            raise InitializedOtherwise(
                f"layout {layout_sha256.hex()[:12]}: shard {self._shard} of "
                f"{self._layout.num_shards} is laid out as {self._layout.sha256.hex()[:12]}; "
                "its tensors, their order or the number of shards differ"
            )
        with self._lock:
            given = hashlib.sha256(values.tobytes()).digest()
            if self._initial_sha256 is None:
                self._values.copy_(torch.from_numpy(values.copy()))
                self._initial_sha256 = given
            elif self._initial_sha256 != given:
                raise InitializedOtherwise(
                    f"shard {self._shard} of {self._layout.num_shards} was initialized with other "
                    "values; they are a function of the search's seed: is this another search?"
                )
            return self._version

    def pull(self) -> tuple[int, FlatVector]:
        """Give the version and the values at that version, (P,) float32, a copy.

        Raises:
            NotInitialized: the shard holds no values.
        """
        with self._lock:
            self._check_initialized()
            values: FlatVector = self._values.numpy().copy()
            return self._version, values

    def push(self, push: Push) -> PushAnswer:
        """Apply one gradient, at most once however often it is sent.

        Repeats: the replica's last push again gets its first answer, marked as repeated.

        Raises:
            NotInitialized, InvalidRequest, OutOfSequence, PastIncarnation: see `ps.errors`.
        """
        with self._lock:
            try:
                return self._push(push)
            except Exception:
                self._num_refused += 1
                raise

    def describe(self) -> ShardDescription:
        """Give a copy of everything that can be said about the shard in a few numbers."""
        with self._lock:
            return ShardDescription(
                shard=self._shard,
                num_shards=self._layout.num_shards,
                num_parameters=self._num_parameters,
                layout_sha256=self._layout.sha256,
                is_initialized=self._initial_sha256 is not None,
                version=self._version,
                updates=self._version,
                num_repeated=self._num_repeated,
                num_refused=self._num_refused,
                staleness_sum=self._staleness_sum,
                staleness_max=self._staleness_max,
            )

    def _push(self, push: Push) -> PushAnswer:
        self._check_initialized()
        name = f"push r{push.replica}#{push.sequence}"
        if push.incarnation < 1:
            raise InvalidRequest(f"{name}: incarnation={push.incarnation}: must be >= 1")
        last = self._last.get(push.replica)
        if last is not None:
            if push.incarnation < last.incarnation:
                raise PastIncarnation(
                    f"{name} refused: incarnation {push.incarnation} < {last.incarnation}, which "
                    "has pushed already; this life of the replica is over and must end"
                )
            if push.sequence == last.sequence:
                self._num_repeated += 1
                self._last[push.replica] = replace(last, incarnation=push.incarnation)
                return replace(last.answer, is_repeated=True)
        expected = last.sequence + 1 if last is not None else 1
        if push.sequence != expected:
            raise OutOfSequence(
                f"{name} refused: sequence must be {expected}, the next of this replica"
                + (f", or {last.sequence}, its last" if last is not None else "")
            )
        if not 0 <= push.base_version <= self._version:
            raise InvalidRequest(
                f"{name}: base_version={push.base_version}: must be between 0 and the shard's "
                f"version, {self._version}; was it pulled from another shard?"
            )
        self._check_vector("gradient", push.gradient)
        largest = float(np.abs(push.gradient).max())
        if largest > _MAX_GRADIENT:
            raise InvalidRequest(
                f"{name}: largest element of the gradient {largest:.3g}: must be at most "
                f"{_MAX_GRADIENT:.0e}; its square would overflow in the optimizer and stay there"
            )
        np.copyto(self._gradient.numpy(), push.gradient)
        self._optimizer.step()
        staleness = self._version - push.base_version
        self._version += 1
        self._staleness_sum += staleness
        self._staleness_max = max(self._staleness_max, staleness)
        answer = PushAnswer(version=self._version, updates=self._version, staleness=staleness)
        self._last[push.replica] = _LastPush(push.sequence, push.incarnation, answer)
        return answer

    def _check_initialized(self) -> None:
        if self._initial_sha256 is None:
            raise NotInitialized(
                f"shard {self._shard} of {self._layout.num_shards} holds no values; a new search "
                "initializes it, and in a running search it has lost its state"
            )

    def _check_vector(self, name: str, vector: FlatVector) -> None:
        if vector.dtype != np.float32 or vector.shape != (self._num_parameters,):
            raise InvalidRequest(
                f"{name} of type {vector.dtype} and shape {vector.shape}: shard {self._shard} of "
                f"{self._layout.num_shards} owns float32 of shape ({self._num_parameters},)"
            )
        finite = np.isfinite(vector)
        if not finite.all():
            worst = int(finite.argmin())
            raise InvalidRequest(
                f"{name}[{worst}]={vector[worst]}: must be finite; a loss or reward before it "
                "was not"
            )
