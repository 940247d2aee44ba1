"""One slice of the parameters in memory: values, optimizer moments, version, last pushes."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from ps import points
from ps.description import ShardDescription
from ps.errors import (
    InitializedOtherwise,
    InvalidRequest,
    NotInitialized,
    OutOfSequence,
    PastIncarnation,
    StalePush,
)
from ps.layout import FlatVector
from ps.optimizer import SliceOptimizer
from ps.plan import ShardPlan
from ps.push import MAX_NORM, Push, PushAnswer
from ps.record import Kind
from ps.state import StoreState

MAX_REPLICAS = 10_000  # the table of their last pushes is bounded
_MAX_NUMBER = 2**64 - 1  # of sequences and incarnations, on the wire and on disk


@dataclass(frozen=True)
class _LastPush:
    sequence: int
    incarnation: int
    answer: PushAnswer


class Store:
    """The state of one shard, without network, disk or lock.

    Laws:
        A push is named (replica, sequence); a replica's sequence starts at 1. Only last + 1 is
        accepted; the last one again gets its first answer; anything else is refused. A push of
        an older incarnation than the store has seen is refused.
        A refused call changes nothing but the count of refusals.
        ``version`` is the number of accepted pushes, ``updates`` that of optimizer steps.
        The state is a function of the calls that changed it, to the last bit.

    Threads: one at a time, but for `check_values` and `check_gradient`, which read no state.
    """

    def __init__(self, plan: ShardPlan, may_have_lost: bool = False) -> None:
        """Make the store of a shard, without values.

        Args:
            may_have_lost: accepted pushes may be missing, since the shard goes on from an old
                checkpoint: any higher sequence of a replica, and any version as its base, is taken.
        """
        self._plan = plan
        self._may_have_lost = may_have_lost
        self._optimizer = SliceOptimizer(plan.optimizer, plan.num_parameters)
        self._initial_sha256: bytes | None = None
        # The sum of the gradients since the last step, and their number.
        self._accumulated = np.zeros(
            plan.num_parameters if plan.updates.accumulate > 1 else 0, np.float32
        )
        self._num_accumulated = 0
        self._updates = 0
        self._last: dict[int, _LastPush] = {}
        self._num_repeated = 0
        self._num_refused = 0
        self._staleness_sum = 0
        self._staleness_max = 0
        self.version = 0

    @property
    def is_initialized(self) -> bool:
        return self._initial_sha256 is not None

    @property
    def values(self) -> FlatVector:
        """The values at the present version, (P,) float32: a view, to be copied before a change.

        Raises:
            NotInitialized: the shard holds no values.
        """
        self._check_initialized()
        return self._optimizer.values

    def check_values(self, layout_sha256: bytes, values_sha256: bytes, values: FlatVector) -> None:
        """Return if these can be the first values.

        Raises:
            InvalidRequest: wrong length, a value that is not finite, or another digest.
            InitializedOtherwise: the shard is laid out another way.
        """
        plan = self._plan
        self._check_vector("values", values)
        given = hashlib.sha256(values.data).digest()
        if given != values_sha256:
            raise InvalidRequest(
                f"values_sha256={values_sha256.hex()[:12]}: must be {given.hex()[:12]}, the digest "
                "of the values that came with it"
            )
        if layout_sha256 != plan.layout.sha256:
            raise InitializedOtherwise(
                f"layout {layout_sha256.hex()[:12]}: {plan.who} is laid out as "
                f"{plan.layout.sha256.hex()[:12]}; its tensors, their order or the number of "
                "shards differ"
            )

    def initialize(self, values_sha256: bytes, values: FlatVector) -> bool:
        """Give the slice its first values, copied, that `check_values` let pass.

        Repeats: the same values again change nothing.

        Returns:
            Whether this changed the store.

        Raises:
            InitializedOtherwise: it was initialized with other values.
        """
        if self._initial_sha256 is not None:
            if self._initial_sha256 != values_sha256:
                raise InitializedOtherwise(
                    f"{self._plan.who} was initialized with other values; they are a function of "
                    "the search's seed: is this another search?"
                )
            return False
        np.copyto(self._optimizer.values, values)
        self._initial_sha256 = values_sha256
        return True

    def check_gradient(self, push: Push) -> None:
        """Return if the gradient of a push can be applied.

        Raises:
            InvalidRequest: wrong length, not finite, or too large for the optimizers.
        """
        self._check_vector(f"{push.name}: gradient", push.gradient)

    def push(self, push: Push) -> tuple[PushAnswer, Kind | None]:
        """Accept a push whose gradient `check_gradient` let pass; apply it at most once.

        Repeats: the replica's last push again gets its first answer, marked as repeated.

        Returns:
            The answer, and what changed: PUSH; FENCE where a repeat came from a newer incarnation;
            None where nothing did.

        Raises:
            NotInitialized, InvalidRequest, OutOfSequence, PastIncarnation, StalePush: see
                `ps.errors`.
        """
        self._check_initialized()
        if not 0 <= push.replica < MAX_REPLICAS:
            raise InvalidRequest(
                f"{push.name}: replica={push.replica}: must be below {MAX_REPLICAS}"
            )
        if not 1 <= push.incarnation <= _MAX_NUMBER:
            raise InvalidRequest(
                f"{push.name}: incarnation={push.incarnation}: must be between 1 and 2**64 - 1"
            )
        last = self._last.get(push.replica)
        if last is not None:
            if push.incarnation < last.incarnation:
                raise PastIncarnation(
                    f"{push.name} refused: incarnation {push.incarnation} < {last.incarnation}, "
                    "which has pushed already; this life of the replica is over and must end"
                )
            if push.sequence == last.sequence:
                self._num_repeated += 1
                again = replace(last.answer, is_repeated=True)
                if push.incarnation == last.incarnation:
                    return again, None
                self._last[push.replica] = replace(last, incarnation=push.incarnation)
                return again, Kind.FENCE
        self._check_sequence(push, last)
        staleness = self._staleness_of(push)
        sample_staleness = self._sample_staleness_of(push)
        points.reached("push checked")
        self._apply(push.gradient, staleness)
        points.reached("push applied")
        self.version += 1
        self._staleness_sum += staleness
        self._staleness_max = max(self._staleness_max, staleness)
        answer = PushAnswer(self.version, self._updates, staleness, sample_staleness)
        self._last[push.replica] = _LastPush(push.sequence, push.incarnation, answer)
        return answer, Kind.PUSH

    def fence(self, replica: int, incarnation: int) -> None:
        """Take note that a newer incarnation of a replica was seen."""
        self._last[replica] = replace(self._last[replica], incarnation=incarnation)

    def count_refused(self) -> None:
        """Take note that a push was refused."""
        self._num_refused += 1

    def describe(self) -> ShardDescription:
        """Give everything that can be said about the store in a few numbers."""
        return ShardDescription(
            shard=self._plan.shard,
            num_shards=self._plan.layout.num_shards,
            num_parameters=self._plan.num_parameters,
            layout_sha256=self._plan.layout.sha256,
            is_initialized=self.is_initialized,
            version=self.version,
            updates=self._updates,
            num_repeated=self._num_repeated,
            num_refused=self._num_refused,
            staleness_sum=self._staleness_sum,
            staleness_max=self._staleness_max,
        )

    def state(self) -> StoreState:
        """Give a copy of everything that later answers and values depend on.

        The arrays are the optimizer's (``values`` and moments), ``accumulated``, ``initial_sha256``
        (uint8) and ``last_pushes``: a row (replica, sequence, incarnation, version, updates,
        staleness, sample_staleness) for each replica, (R, 7) uint64.
        """
        rows = [
            (replica, p.sequence, p.incarnation, *_numbers_of(p.answer))
            for replica, p in sorted(self._last.items())
        ]
        arrays = self._optimizer.state() | {
            "accumulated": self._accumulated.copy(),
            "initial_sha256": np.frombuffer(self._initial_sha256 or b"", np.uint8),
            "last_pushes": np.array(rows, np.uint64).reshape(-1, 7),
        }
        numbers = {
            "version": self.version,
            "updates": self._updates,
            "num_accumulated": self._num_accumulated,
            "staleness_sum": self._staleness_sum,
            "staleness_max": self._staleness_max,
        }
        return StoreState(arrays, numbers)

    def load(self, state: StoreState) -> None:
        """Go on from a state of a store of the same plan.

        Raises:
            ValueError: an array is missing, or has another shape.
        """
        arrays, numbers = dict(state.arrays), state.numbers
        np.copyto(self._accumulated, arrays.pop("accumulated"))
        self._initial_sha256 = arrays.pop("initial_sha256").tobytes() or None
        self._last = {
            replica: _LastPush(sequence, incarnation, PushAnswer(*answer))
            for replica, sequence, incarnation, *answer in arrays.pop("last_pushes").tolist()
        }
        self._optimizer.load(arrays)
        self.version = numbers["version"]
        self._updates = numbers["updates"]
        self._num_accumulated = numbers["num_accumulated"]
        self._staleness_sum = numbers["staleness_sum"]
        self._staleness_max = numbers["staleness_max"]

    def _apply(self, gradient: FlatVector, staleness: int) -> None:
        updates = self._plan.updates
        if updates.staleness == "scale" and staleness:
            gradient = gradient * np.float32(1 / (1 + staleness))
        if updates.accumulate == 1:
            self._optimizer.step(gradient)
        else:
            self._accumulated += gradient
            self._num_accumulated += 1
            if self._num_accumulated < updates.accumulate:
                return
            self._accumulated /= np.float32(updates.accumulate)
            self._optimizer.step(self._accumulated)
            self._accumulated.fill(0)
            self._num_accumulated = 0
        self._updates += 1

    def _check_sequence(self, push: Push, last: _LastPush | None) -> None:
        expected = last.sequence + 1 if last is not None else 1
        if push.sequence == expected:
            return
        if self._may_have_lost and expected < push.sequence <= _MAX_NUMBER:
            return
        raise OutOfSequence(
            f"{push.name} refused: sequence must be {expected}, the next of this replica"
            + (f", or {last.sequence}, its last" if last is not None else "")
        )

    def _staleness_of(self, push: Push) -> int:
        if self._may_have_lost and push.base_version > self.version:
            return 0
        if not 0 <= push.base_version <= self.version:
            raise InvalidRequest(
                f"{push.name}: base_version={push.base_version}: must be between 0 and the shard's "
                f"version, {self.version}; was it pulled from another shard?"
            )
        staleness = self.version - push.base_version
        bound = self._plan.updates.max_staleness
        if bound is not None and staleness > bound:
            raise StalePush(
                f"{push.name} refused: staleness {staleness} > max_staleness {bound} (pulled at "
                f"version {push.base_version}, {self._plan.who} is at {self.version}); pull again"
            )
        return staleness

    def _sample_staleness_of(self, push: Push) -> int:
        if not 0 <= push.sampled_at <= push.base_version:
            raise InvalidRequest(
                f"{push.name}: sample_version={push.sampled_at}: must be between 0 and "
                f"base_version, {push.base_version}; a rollout is older than the gradient made of "
                "it, or as old"
            )
        # As a base, it may be ahead of a shard that has gone back.
        return max(0, self.version - push.sampled_at)

    def _check_initialized(self) -> None:
        if self._initial_sha256 is None:
            raise NotInitialized(
                f"{self._plan.who} holds no values; a new search initializes it, and in a running "
                "search it has lost its state"
            )

    def _check_vector(self, name: str, vector: FlatVector) -> None:
        if vector.dtype != np.float32 or vector.shape != (self._plan.num_parameters,):
            raise InvalidRequest(
                f"{name} of type {vector.dtype} and shape {vector.shape}: {self._plan.who} owns "
                f"float32 of shape ({self._plan.num_parameters},)"
            )
        array = torch.from_numpy(vector)
        norm = math.sqrt(float(torch.dot(array, array)))  # not finite if an element is not
        if norm <= MAX_NORM:
            return
        finite = np.isfinite(vector)
        if not finite.all():
            worst = int(finite.argmin())
            raise InvalidRequest(
                f"{name}[{worst}]={vector[worst]}: must be finite; a loss or reward before it "
                "was not"
            )
        raise InvalidRequest(
            f"{name}: norm {norm:.3g}: must be at most {MAX_NORM:.0e}; its square would "
            "overflow in the optimizer and stay there"
        )


def _numbers_of(answer: PushAnswer) -> tuple[int, ...]:
    return answer.version, answer.updates, answer.staleness, answer.sample_staleness
