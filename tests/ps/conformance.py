"""The laws of a store, once, for whatever claims to be one."""

import hashlib
from dataclasses import replace
from itertools import pairwise
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
    StalePush,
)
from ps.layout import FlatVector, Layout
from ps.optimizer import AdamSettings
from ps.plan import ShardPlan, UpdateSettings
from ps.push import Push, PushAnswer
from ps.store import Store

LAYOUT = Layout((("weight", (3, 4)), ("bias", (5,))), num_shards=1)
# With a small epsilon Adam's steps would not tell the mean of gradients from their sum.
OPTIMIZER = AdamSettings(learning_rate=0.1, epsilon=0.3)
INITIAL = np.linspace(-1, 1, LAYOUT.num_parameters, dtype=np.float32)


def plan_of(**updates):
    """Give the plan of shard 0 of LAYOUT with OPTIMIZER; updates are UpdateSettings' fields."""
    return ShardPlan(LAYOUT, 0, OPTIMIZER, UpdateSettings(**updates))


class AnyStore(Protocol):
    """What the laws are about: shard 0 of LAYOUT, with OPTIMIZER.

    initialize: the digest is that of the values, unless another is given.
    pull_unless: nothing, if the store still stands at this version in this life of it.
    """

    def initialize(self, layout: Layout, values: FlatVector, digest: bytes = b"") -> object: ...
    def pull(self) -> tuple[int, FlatVector]: ...
    def pull_unless(self, epoch: int, version: int) -> tuple[int, FlatVector] | None: ...
    def push(self, push: Push) -> PushAnswer: ...
    def push_and_pull(self, push: Push) -> tuple[PushAnswer, int, FlatVector]: ...
    def describe(self) -> ShardDescription: ...


class ShardAsStore:
    """A shard of this process that is called as a store is; where it is called, it may be anew."""

    def __init__(self, shard):
        self._the_shard = shard

    def shard(self):
        """Give the shard that takes the next call."""
        return self._the_shard

    def initialize(self, layout, values, digest=b""):
        return self.shard().initialize(layout.sha256, digest or digest_of(values), values)

    def pull(self):
        return self.shard().pull(lambda version, values: (version, values.copy()))

    def pull_unless(self, epoch, version):
        shard = self.shard()
        known = version if epoch == shard.epoch else None
        return shard.pull(lambda version, values: (version, values.copy()), known)

    def push(self, push):
        return self.push_and_pull(push)[0]

    def push_and_pull(self, push):
        return self.shard().push(push, lambda answer, version, v: (answer, version, v.copy()))

    def describe(self):
        return self.shard().describe()


def digest_of(values):
    return hashlib.sha256(values.data).digest()


def gradient_of(replica, sequence):
    generator = np.random.default_rng([replica, sequence])
    return generator.standard_normal(LAYOUT.num_parameters).astype(np.float32)


def push_of(
    sequence, *, replica=0, incarnation=1, base_version=0, gradient=None, sample_version=None
):
    if gradient is None:
        gradient = gradient_of(replica, sequence)
    return Push(replica, sequence, incarnation, base_version, gradient, sample_version)


def state_of(store):
    """Everything that outlives a store, and can be seen of it."""
    version, values = store.pull()
    return version, values.tobytes(), lasting(store.describe())


def lasting(description):
    """Give a description without what is of one life of the store."""
    return replace(description, num_repeated=0, num_refused=0, epoch=0)


def with_value(index, value):
    vector = INITIAL.copy()
    vector[index] = value
    return vector


def values_after(*pushes, **updates):
    """The values of a store in memory to which nothing else has happened."""
    store = Store(plan_of(**updates))
    store.initialize(digest_of(INITIAL), INITIAL)
    for push in pushes:
        store.push(push)
    return store.values.copy()


def adam(initial, gradients, settings):
    """Values after each gradient, in float64: Kingma & Ba 2015, algorithm 1."""
    values, m, v = initial.astype(np.float64), 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        m = settings.beta1 * m + (1 - settings.beta1) * gradient
        v = settings.beta2 * v + (1 - settings.beta2) * gradient.astype(np.float64) ** 2
        m_hat = m / (1 - settings.beta1**step)
        v_hat = v / (1 - settings.beta2**step)
        values = values - settings.learning_rate * m_hat / (np.sqrt(v_hat) + settings.epsilon)
        yield values


def assert_close(values, expected, message=""):
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=2e-6, err_msg=message)


NOT_FINITE = [
    pytest.param(with_value(3, np.nan), r"\[3\]=nan: must be finite", id="nan"),
    pytest.param(with_value(0, np.inf), r"\[0\]=inf: must be finite", id="infinity"),
    pytest.param(with_value(16, -np.inf), r"\[16\]=-inf: must be finite", id="minus infinity"),
]
WRONG_LENGTH = [  # in pieces a vector is refused as soon as it is too long
    pytest.param(INITIAL[:-1], r"\b16\b.*: .*\b17\b", id="short"),
    pytest.param(np.append(INITIAL, INITIAL), r"\b(34|18)\b.*: .*\b17\b", id="long"),
]
OTHER_LAYOUTS = [
    pytest.param(Layout((("weight", (3, 4)), ("offset", (5,))), 1), id="renamed"),
    pytest.param(Layout((("bias", (5,)), ("weight", (3, 4))), 1), id="reordered"),
    pytest.param(Layout((("weight", (4, 3)), ("bias", (5,))), 1), id="reshaped"),
]
IMPOSSIBLE_PUSHES = [
    *(
        pytest.param({"gradient": case.values[0]}, f"gradient{case.values[1]}", id=case.id)
        for case in NOT_FINITE
    ),
    *(
        pytest.param({"gradient": case.values[0]}, case.values[1], id=case.id)
        for case in WRONG_LENGTH
    ),
    pytest.param(
        {"base_version": 3}, "base_version=3: must be between 0 and .*version, 2", id="future"
    ),
    pytest.param(
        {"incarnation": 0}, r"incarnation=0: must be between 1 and 2\*\*64 - 1", id="no incarnation"
    ),
    pytest.param(
        {"gradient": with_value(2, -5e18)}, r"norm 5e\+18: must be at most 1e\+18", id="huge"
    ),
    pytest.param({"gradient": with_value(2, 3e38)}, "norm inf: must be at most", id="overflow"),
    pytest.param({"replica": 10_000}, "replica=10000: must be below 10000", id="replica"),
]


class StoreLaws:
    """The laws of every store, whatever happens to it between two calls.

    A subclass gives the fixture `make`: a function that makes an AnyStore without values, by the
    rules of updating that it is given, UpdateSettings' fields.
    """

    @pytest.fixture
    def make(self):
        raise NotImplementedError

    @pytest.fixture
    def store(self, make) -> AnyStore:
        """A store without values that makes a step of every push."""
        return make()

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
        described = replace(lasting(store.describe()), durability="none")
        assert described == ShardDescription(
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
        with pytest.raises(InvalidRequest, match=complaint):
            store.initialize(Layout((("weight", values.shape),), 1), values)

        assert not store.describe().is_initialized

    def test_initialize_with_the_digest_of_other_values_is_refused(self, store):
        digest = digest_of(with_value(4, np.nextafter(INITIAL[4], np.float32(9))))

        with pytest.raises(
            InvalidRequest, match=f"values_sha256={digest.hex()[:12]}: must be .*the digest"
        ):
            store.initialize(LAYOUT, INITIAL, digest)

        assert not store.describe().is_initialized

    def test_initialize_again_with_the_digest_of_other_values_is_refused(self, pushed):
        before = state_of(pushed)

        with pytest.raises(InvalidRequest, match=r"values_sha256=.*: must be .*the digest"):
            pushed.initialize(LAYOUT, with_value(4, 9), digest_of(INITIAL))

        assert state_of(pushed) == before

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
        assert state_of(filled) == before

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

    def test_replica_of_the_highest_number_may_push(self, filled):
        assert filled.push(push_of(1, replica=9_999)).version == 1

    @pytest.mark.parametrize("replica", [10_000, 2**32 - 1])
    def test_first_push_of_a_replica_of_too_high_a_number_is_refused(self, filled, replica):
        before = state_of(filled)

        with pytest.raises(InvalidRequest, match=f"replica={replica}: must be below 10000"):
            filled.push(push_of(1, replica=replica))

        assert state_of(filled) == before

    # Copies

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

    def test_sample_staleness_counts_the_pushes_since_the_sampling(self, filled):
        pushes = [
            push_of(1, replica=0),
            push_of(2, replica=0, base_version=1, sample_version=0),
            push_of(1, replica=1, base_version=2, sample_version=2),
            push_of(3, replica=0, base_version=2, sample_version=1),
        ]

        answers = [filled.push(push) for push in pushes]

        assert [answer.staleness for answer in answers] == [0, 0, 0, 1]
        assert [answer.sample_staleness for answer in answers] == [0, 1, 0, 2]
        assert filled.push(pushes[3]) == replace(answers[3], is_repeated=True)

    def test_sampling_has_no_effect_on_the_values(self, pushed):
        pushed.push(push_of(3, base_version=2, sample_version=0))

        expected = values_after(push_of(1), push_of(2), push_of(3, base_version=2))
        assert pushed.pull()[1].tobytes() == expected.tobytes()

    def test_rollout_that_is_younger_than_its_gradient_is_refused(self, pushed):
        with pytest.raises(InvalidRequest, match=r"sample_version=2: must be between 0 and .* 1;"):
            pushed.push(push_of(3, base_version=1, sample_version=2))

        assert pushed.push(push_of(3, base_version=1)).version == 3

    # Values in the answer to a push

    def test_push_may_be_answered_with_the_values_right_after_it(self, filled):
        filled.push(push_of(1))

        answer, version, values = filled.push_and_pull(push_of(1, replica=1))

        assert (answer.version, version) == (2, 2)
        expected = values_after(push_of(1), push_of(1, replica=1))
        assert values.tobytes() == expected.tobytes()
        assert filled.pull()[1].tobytes() == expected.tobytes()

    def test_repeat_is_answered_with_the_values_as_they_are_now(self, filled):
        first = filled.push(push_of(1))
        filled.push(push_of(1, replica=1))
        before = state_of(filled)

        again, version, values = filled.push_and_pull(push_of(1))

        assert again == replace(first, is_repeated=True)
        assert (again.version, version) == (1, 2)
        assert values.tobytes() == values_after(push_of(1), push_of(1, replica=1)).tobytes()
        assert state_of(filled) == before

    def test_values_in_an_answer_stay_when_a_later_push_is_applied(self, filled):
        values = filled.push_and_pull(push_of(1))[2]

        filled.push(push_of(2))

        assert values.tobytes() == values_after(push_of(1)).tobytes()

    # Several pushes to a step

    @pytest.mark.parametrize("accumulate", [2, 3, 5])
    def test_steps_are_of_the_mean_of_so_many_pushes(self, make, accumulate):
        pushes = [push_of(s, replica=r) for s in range(1, 6) for r in (0, 4)]
        store = make(accumulate=accumulate)
        store.initialize(LAYOUT, INITIAL)

        answers = [store.push(push) for push in pushes]

        assert [answer.updates for answer in answers] == [
            version // accumulate for version in range(1, 11)
        ]
        whole = len(pushes) // accumulate
        gradients = np.stack([push.gradient for push in pushes]).astype(np.float64)
        means = gradients[: whole * accumulate].reshape(whole, accumulate, -1).mean(axis=1)
        *_, expected = adam(INITIAL, means, OPTIMIZER)
        assert_close(store.pull()[1], expected)
        assert (store.describe().version, store.describe().updates) == (10, whole)

    def test_unfinished_step_changes_no_value_until_its_last_push(self, make):
        store = make(accumulate=3)
        store.initialize(LAYOUT, INITIAL)
        values = [INITIAL.tobytes()]

        for sequence in range(1, 9):
            answer, version, now = store.push_and_pull(push_of(sequence))
            assert (answer.version, version) == (sequence, sequence)
            assert store.pull()[1].tobytes() == now.tobytes()
            values.append(now.tobytes())

        assert [one == other for one, other in pairwise(values)] == [
            *(True, True, False),
            *(True, True, False),
            *(True, True),
        ]

    def test_repeat_and_refusal_within_a_step_leave_no_trace(self, make):
        store = make(accumulate=3)
        store.initialize(LAYOUT, INITIAL)
        first = store.push(push_of(1))
        store.push(push_of(1, replica=1))

        again = store.push(push_of(1))
        with pytest.raises(OutOfSequence, match="sequence must be 2"):
            store.push(push_of(7))
        last = store.push(push_of(2))

        assert (first.updates, again) == (0, replace(first, is_repeated=True))
        assert (last.version, last.updates) == (3, 1)
        assert store.pull()[1].tobytes() == (
            values_after(push_of(1), push_of(1, replica=1), push_of(2), accumulate=3).tobytes()
        )

    # Stale pushes

    def test_push_within_the_bound_of_staleness_is_accepted(self, make):
        store = make(staleness="refuse", max_staleness=2)
        store.initialize(LAYOUT, INITIAL)
        pushes = [push_of(s, base_version=max(0, s - 3)) for s in range(1, 6)]

        answers = [store.push(push) for push in pushes]

        assert [answer.staleness for answer in answers] == [0, 1, 2, 2, 2]
        assert store.pull()[1].tobytes() == values_after(*pushes).tobytes()

    def test_push_beyond_the_bound_of_staleness_is_refused_and_changes_nothing(self, make):
        store = make(staleness="refuse", max_staleness=2)
        store.initialize(LAYOUT, INITIAL)
        for sequence in (1, 2, 3):
            store.push(push_of(sequence, base_version=sequence - 1))
        before = state_of(store)

        with pytest.raises(
            StalePush,
            match=r"r7#1 refused: staleness 3 > max_staleness 2 \(pulled at version 0, .* at 3\)",
        ):
            store.push(push_of(1, replica=7, base_version=0))

        assert state_of(store) == before

    def test_refusal_of_a_stale_push_uses_up_no_sequence(self, make):
        store = make(staleness="refuse", max_staleness=0)
        store.initialize(LAYOUT, INITIAL)
        store.push(push_of(1))
        with pytest.raises(StalePush, match="staleness 1 > max_staleness 0"):
            store.push(push_of(2, base_version=0, incarnation=6))

        anew = push_of(2, base_version=1, gradient=gradient_of(3, 3))

        assert store.push(anew).version == 2
        assert store.pull()[1].tobytes() == values_after(push_of(1), anew).tobytes()

    def test_repeat_of_a_push_is_answered_however_stale_it_is_by_now(self, make):
        store = make(staleness="refuse", max_staleness=1)
        store.initialize(LAYOUT, INITIAL)
        first = store.push(push_of(1))
        for sequence in (1, 2, 3):
            store.push(push_of(sequence, replica=1, base_version=sequence))

        assert store.push(push_of(1)) == replace(first, is_repeated=True)

    def test_stale_push_is_scaled_down(self, make):
        store = make(staleness="scale")
        store.initialize(LAYOUT, INITIAL)
        bases = [0, 0, 1, 0, 4]
        pushes = [push_of(s, base_version=base) for s, base in enumerate(bases, start=1)]

        answers = [store.push(push) for push in pushes]

        assert [answer.staleness for answer in answers] == [0, 1, 1, 3, 0]
        scales = [1, 1 / 2, 1 / 2, 1 / 4, 1]
        scaled = [
            push.gradient.astype(np.float64) * scale
            for push, scale in zip(pushes, scales, strict=True)
        ]
        *_, expected = adam(INITIAL, scaled, OPTIMIZER)
        assert_close(store.pull()[1], expected)
        assert not np.allclose(expected, values_after(*pushes), rtol=1e-3)

    def test_stale_pushes_to_one_step_are_scaled_down_one_by_one(self, make):
        store = make(staleness="scale", accumulate=2)
        store.initialize(LAYOUT, INITIAL)
        first, second = push_of(1, base_version=0), push_of(1, replica=1, base_version=0)

        store.push(first)
        store.push(second)

        mean = (first.gradient.astype(np.float64) + second.gradient / 2) / 2
        (expected,) = adam(INITIAL, [mean], OPTIMIZER)
        assert_close(store.pull()[1], expected)


class OneLifeLaws(StoreLaws):
    """Also the laws of a store that goes on living: what it counts and knows is not forgotten."""

    durability = "none"
    epoch = 0

    def test_description_says_what_a_push_survives_and_which_life_this_is(self, store):
        described = store.describe()

        assert (described.durability, described.epoch) == (self.durability, self.epoch)

    def test_repeated_pushes_are_counted(self, filled):
        for incarnation in (1, 1, 2):
            filled.push(push_of(1, incarnation=incarnation))

        assert filled.describe().num_repeated == 2

    def test_refused_pushes_are_counted(self, pushed):
        for sequence in (7, 8, 9):
            with pytest.raises(OutOfSequence, match="sequence must be 3"):
                pushed.push(push_of(sequence))
        with pytest.raises(InvalidRequest, match="must be finite"):
            pushed.push(push_of(3, gradient=with_value(0, np.nan)))

        assert pushed.describe().num_refused == 4

    def test_pull_of_the_known_version_gives_no_values(self, pushed):
        epoch = pushed.describe().epoch

        assert pushed.pull_unless(epoch, 2) is None

    @pytest.mark.parametrize("known", [0, 1, 3, 2**64 - 1])
    def test_pull_by_one_who_knows_another_version_gives_the_values(self, pushed, known):
        version, values = pushed.pull_unless(pushed.describe().epoch, known)

        assert (version, values.tobytes()) == (2, values_after(push_of(1), push_of(2)).tobytes())

    @pytest.mark.parametrize("difference", [1, 2**63])
    def test_pull_by_one_who_knows_another_life_gives_the_values(self, pushed, difference):
        version, values = pushed.pull_unless(pushed.describe().epoch + difference, 2)

        assert (version, values.tobytes()) == (2, values_after(push_of(1), push_of(2)).tobytes())

    def test_pull_of_the_known_version_before_initialize_is_refused(self, store):
        with pytest.raises(NotInitialized, match="shard 0 of 1 holds no values"):
            store.pull_unless(store.describe().epoch, 0)
