"""The laws of a store, once, for whatever claims to be one."""

from dataclasses import replace
from typing import Protocol

import numpy as np
import pytest

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
from ps.store import OptimizerSettings, Store

LAYOUT = Layout((("weight", (3, 4)), ("bias", (5,))), num_shards=1)
OPTIMIZER = OptimizerSettings(learning_rate=0.1)
INITIAL = np.linspace(-1, 1, LAYOUT.num_parameters, dtype=np.float32)


class AnyStore(Protocol):
    """What the laws are about: shard 0 of LAYOUT, with OPTIMIZER."""

    def initialize(self, layout: Layout, values: FlatVector) -> object: ...
    def pull(self) -> tuple[int, FlatVector]: ...
    def push(self, push: Push) -> PushAnswer: ...
    def describe(self) -> ShardDescription: ...


def gradient_of(replica, sequence):
    generator = np.random.default_rng([replica, sequence])
    return generator.standard_normal(LAYOUT.num_parameters).astype(np.float32)


def push_of(sequence, *, replica=0, incarnation=1, base_version=0, gradient=None):
    if gradient is None:
        gradient = gradient_of(replica, sequence)
    return Push(replica, sequence, incarnation, base_version, gradient)


def state_of(store):
    """Everything that can be seen of a store, but the count of refusals."""
    version, values = store.pull()
    return version, values.tobytes(), replace(store.describe(), num_refused=0)


def with_value(index, value):
    vector = INITIAL.copy()
    vector[index] = value
    return vector


def values_after(*pushes):
    """The values of a store in memory to which nothing else has happened."""
    store = Store(LAYOUT, 0, OPTIMIZER)
    store.initialize(LAYOUT.sha256, INITIAL)
    for push in pushes:
        store.push(push)
    return store.pull()[1]


NOT_FINITE = [
    pytest.param(with_value(3, np.nan), r"\[3\]=nan: must be finite", id="nan"),
    pytest.param(with_value(0, np.inf), r"\[0\]=inf: must be finite", id="infinity"),
    pytest.param(with_value(16, -np.inf), r"\[16\]=-inf: must be finite", id="minus infinity"),
]
WRONG_LENGTH = [
    pytest.param(INITIAL[:-1], r"shape \(16,\): shard 0 of 1 owns .*\(17,\)", id="short"),
    pytest.param(np.append(INITIAL, INITIAL), r"shape \(34,\): shard 0 of 1 owns", id="long"),
]
OTHER_LAYOUTS = [
    pytest.param(Layout((("weight", (3, 4)), ("offset", (5,))), 1), id="renamed"),
    pytest.param(Layout((("bias", (5,)), ("weight", (3, 4))), 1), id="reordered"),
    pytest.param(Layout((("weight", (4, 3)), ("bias", (5,))), 1), id="reshaped"),
]
IMPOSSIBLE_PUSHES = [
    *(
        pytest.param({"gradient": case.values[0]}, f"gradient.*{case.values[1]}", id=case.id)
        for case in (*NOT_FINITE, *WRONG_LENGTH)
    ),
    pytest.param(
        {"base_version": 3}, "base_version=3: must be between 0 and .*version, 2", id="future"
    ),
    pytest.param({"incarnation": 0}, "incarnation=0: must be >= 1", id="no incarnation"),
    pytest.param(
        {"gradient": with_value(2, -1e20)}, "largest element .* 1e.20: must be at most", id="huge"
    ),
]


class StoreLaws:
    """A subclass gives the fixture `store`: an AnyStore without values, a new one for each test."""

    @pytest.fixture
    def store(self) -> AnyStore:
        raise NotImplementedError

    @pytest.fixture
    def filled(self, store):
        """The store, initialized."""
        store.initialize(LAYOUT, INITIAL)
        return store

    @pytest.fixture
    def pushed(self, filled):
        """The store after pushes 1 and 2 of replica 0, so that 3 comes next."""
        filled.push(push_of(1))
        filled.push(push_of(2))
        return filled

    # Initialize

    def test_description_before_initialize_says_so(self, store):
        assert store.describe() == ShardDescription(
            shard=0,
            num_shards=1,
            num_parameters=17,
            layout_sha256=LAYOUT.sha256,
            is_initialized=False,
            version=0,
            updates=0,
            num_repeated=0,
            num_refused=0,
            staleness_sum=0,
            staleness_max=0,
        )

    def test_pull_before_initialize_is_refused(self, store):
        with pytest.raises(NotInitialized, match="shard 0 of 1 holds no values"):
            store.pull()

    def test_push_before_initialize_is_refused_and_uses_up_no_sequence(self, store):
        with pytest.raises(NotInitialized, match="shard 0 of 1 holds no values"):
            store.push(push_of(1))

        assert not store.describe().is_initialized
        store.initialize(LAYOUT, INITIAL)
        assert store.push(push_of(1)).version == 1

    def test_pull_after_initialize_gives_the_values_at_version_zero(self, filled):
        version, values = filled.pull()

        assert (version, values.dtype) == (0, np.float32)
        assert values.tobytes() == INITIAL.tobytes()
        assert filled.describe().is_initialized

    def test_initialize_again_with_the_same_changes_nothing(self, pushed):
        before = state_of(pushed)

        pushed.initialize(LAYOUT, INITIAL)

        assert state_of(pushed) == before

    def test_initialize_again_with_other_values_is_refused(self, pushed):
        before = state_of(pushed)

        with pytest.raises(InitializedOtherwise, match="was initialized with other values"):
            pushed.initialize(LAYOUT, with_value(4, np.nextafter(INITIAL[4], np.float32(9))))

        assert state_of(pushed) == before

    @pytest.mark.parametrize("layout", OTHER_LAYOUTS)
    def test_initialize_again_with_another_layout_is_refused(self, pushed, layout):
        before = state_of(pushed)

        with pytest.raises(InitializedOtherwise, match=layout.sha256.hex()[:12]):
            pushed.initialize(layout, INITIAL)

        assert state_of(pushed) == before

    @pytest.mark.parametrize("layout", OTHER_LAYOUTS)
    def test_initialize_with_another_layout_leaves_the_store_without_values(self, store, layout):
        with pytest.raises(InitializedOtherwise, match=layout.sha256.hex()[:12]):
            store.initialize(layout, INITIAL)

        assert not store.describe().is_initialized

    @pytest.mark.parametrize(("values", "complaint"), NOT_FINITE)
    def test_initialize_with_a_value_that_is_not_finite_is_refused(self, store, values, complaint):
        with pytest.raises(InvalidRequest, match=f"values{complaint}"):
            store.initialize(LAYOUT, values)

        assert not store.describe().is_initialized

    @pytest.mark.parametrize(("values", "complaint"), WRONG_LENGTH)
    def test_initialize_with_the_wrong_length_is_refused(self, store, values, complaint):
        with pytest.raises(InvalidRequest, match=f"values .*{complaint}"):
            store.initialize(Layout((("weight", values.shape),), 1), values)

        assert not store.describe().is_initialized

    # The name of a push: replica and sequence

    def test_version_and_updates_count_the_pushes_of_all_replicas(self, filled):
        pushes = [push_of(s, replica=r) for s in (1, 2, 3) for r in (0, 7)]

        answers = [filled.push(push) for push in pushes]

        assert [answer.version for answer in answers] == [1, 2, 3, 4, 5, 6]
        assert [answer.updates for answer in answers] == [1, 2, 3, 4, 5, 6]
        assert not any(answer.is_repeated for answer in answers)
        description = filled.describe()
        assert (description.version, description.updates, filled.pull()[0]) == (6, 6, 6)
        assert filled.pull()[1].tobytes() == values_after(*pushes).tobytes()

    def test_last_push_again_gets_its_first_answer_and_changes_nothing(self, filled):
        first = filled.push(push_of(1))
        filled.push(push_of(1, replica=1, base_version=1))
        before = state_of(filled)

        again = filled.push(push_of(1))

        assert again == replace(first, is_repeated=True)
        version, values, description = state_of(filled)
        assert (version, values) == before[:2]
        assert description == replace(before[2], num_repeated=1)

    def test_push_is_known_by_its_name_and_not_by_what_it_carries(self, filled):
        first = filled.push(push_of(1))
        before = filled.pull()[1].tobytes()

        again = filled.push(push_of(1, base_version=1, gradient=gradient_of(9, 9)))

        assert again == replace(first, is_repeated=True)
        assert filled.pull()[1].tobytes() == before

    def test_repeats_leave_no_trace_in_later_values(self, filled):
        for push in (push_of(1), push_of(1), push_of(2), push_of(2), push_of(2), push_of(3)):
            filled.push(push)

        assert filled.pull()[1].tobytes() == (
            values_after(push_of(1), push_of(2), push_of(3)).tobytes()
        )

    @pytest.mark.parametrize("sequence", [0, 2, 2**63])
    def test_first_push_of_a_replica_out_of_sequence_is_refused(self, pushed, sequence):
        before = state_of(pushed)

        with pytest.raises(OutOfSequence, match=rf"r5#{sequence} refused: sequence must be 1\b"):
            pushed.push(push_of(sequence, replica=5))

        assert state_of(pushed) == before

    @pytest.mark.parametrize("sequence", [0, 1, 4, 2**63])
    def test_later_push_out_of_sequence_is_refused(self, pushed, sequence):
        before = state_of(pushed)

        with pytest.raises(
            OutOfSequence, match=rf"r0#{sequence} refused: sequence must be 3\b.*, or 2, its last"
        ):
            pushed.push(push_of(sequence))

        assert state_of(pushed) == before

    # Incarnations

    def test_newer_incarnation_goes_on_with_the_sequence(self, pushed):
        assert pushed.push(push_of(3, incarnation=2)).version == 3

        with pytest.raises(OutOfSequence, match="sequence must be 4"):
            pushed.push(push_of(1, incarnation=3))

    @pytest.mark.parametrize("sequence", [3, 4], ids=["its last push", "its next push"])
    def test_older_incarnation_is_refused_once_a_newer_one_has_pushed(self, pushed, sequence):
        pushed.push(push_of(3, incarnation=5))
        before = state_of(pushed)

        with pytest.raises(PastIncarnation, match=f"r0#{sequence} refused: incarnation 4 < 5"):
            pushed.push(push_of(sequence, incarnation=4))

        assert state_of(pushed) == before

    def test_older_incarnation_is_refused_once_a_newer_one_has_repeated_a_push(self, pushed):
        repeated = pushed.push(push_of(2, incarnation=3))
        before = state_of(pushed)

        with pytest.raises(PastIncarnation, match="r0#3 refused: incarnation 2 < 3"):
            pushed.push(push_of(3, incarnation=2))

        assert (repeated.is_repeated, repeated.version) == (True, 2)
        assert state_of(pushed) == before
        assert pushed.push(push_of(3, incarnation=3)).version == 3

    def test_incarnations_of_one_replica_fence_no_other(self, filled):
        filled.push(push_of(1, replica=0, incarnation=9))

        assert filled.push(push_of(1, replica=1, incarnation=1)).version == 2

    # Refusals

    @pytest.mark.parametrize(("change", "complaint"), IMPOSSIBLE_PUSHES)
    def test_impossible_push_is_refused_and_changes_nothing(self, pushed, change, complaint):
        before = state_of(pushed)

        with pytest.raises(InvalidRequest, match=complaint):
            pushed.push(push_of(3, **change))

        assert state_of(pushed) == before

    @pytest.mark.parametrize(("change", "complaint"), IMPOSSIBLE_PUSHES)
    def test_impossible_push_leaves_no_trace_in_later_values(self, pushed, change, complaint):
        with pytest.raises(InvalidRequest, match=complaint):
            pushed.push(push_of(3, **change))

        assert pushed.push(push_of(3)).version == 3, "the refusal used up its sequence"
        assert pushed.pull()[1].tobytes() == (
            values_after(push_of(1), push_of(2), push_of(3)).tobytes()
        )

    def test_refused_push_fences_no_incarnation_off(self, pushed):
        with pytest.raises(OutOfSequence, match="sequence must be 3"):
            pushed.push(push_of(8, incarnation=2))

        assert pushed.push(push_of(3, incarnation=1)).version == 3

    def test_refused_pushes_are_counted(self, pushed):
        for sequence in (7, 8, 9):
            with pytest.raises(OutOfSequence, match="sequence must be 3"):
                pushed.push(push_of(sequence))

        assert pushed.describe().num_refused == 3

    # Copies

    def test_pulled_values_are_a_copy(self, pushed):
        before = state_of(pushed)
        values = pushed.pull()[1]

        values.fill(7)

        assert state_of(pushed) == before

    def test_pulled_values_stay_when_a_later_push_is_applied(self, pushed):
        values = pushed.pull()[1]
        before = values.tobytes()

        pushed.push(push_of(3))

        assert values.tobytes() == before
        assert pushed.pull()[1].tobytes() != before

    def test_vectors_given_to_the_store_are_copied(self, store):
        values, gradient = INITIAL.copy(), gradient_of(0, 1)
        store.initialize(LAYOUT, values)
        values.fill(7)
        store.push(push_of(1, gradient=gradient))
        gradient.fill(7)
        store.push(push_of(2))

        assert store.pull()[1].tobytes() == values_after(push_of(1), push_of(2)).tobytes()

    # Staleness

    def test_staleness_counts_the_pushes_since_the_pull(self, filled):
        pushes = [
            push_of(1, replica=0, base_version=0),
            push_of(1, replica=1, base_version=0),
            push_of(2, replica=0, base_version=2),
            push_of(1, replica=2, base_version=0),
            push_of(2, replica=1, base_version=3),
        ]

        staleness = [filled.push(push).staleness for push in pushes]

        assert staleness == [0, 1, 0, 3, 1]
        description = filled.describe()
        assert (description.staleness_sum, description.staleness_max) == (5, 3)

    def test_staleness_counts_accepted_pushes_only(self, pushed):
        pushed.push(push_of(2))
        with pytest.raises(OutOfSequence, match="sequence must be 3"):
            pushed.push(push_of(9))

        assert pushed.push(push_of(3, base_version=1)).staleness == 1
        assert pushed.describe().staleness_sum == 1 + 1  # push 2 was computed at version 0
