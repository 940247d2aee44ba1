"""Every call of a run is lost once, on the way there and on the way back."""

from dataclasses import replace

import numpy as np
import pytest
from support.faults import LOST_REPLY, LOST_REQUEST, FailNth

from ps.layout import Layout
from ps.store import OptimizerSettings

LAYOUT = Layout((("weight", (3, 4)), ("bias", (5,))), num_shards=2)
OPTIMIZER = OptimizerSettings(learning_rate=0.1)
NUM_PUSHES = 3
CALLS = ["Initialize"] + ["Pull", "Push"] * NUM_PUSHES + ["Pull", "Describe"]


def run(client):
    """Train a little: the gradient depends on the values, so that every mistake is carried on."""
    client.initialize(np.linspace(-1, 1, LAYOUT.num_parameters, dtype=np.float32))
    answers = []
    for sequence in range(1, NUM_PUSHES + 1):
        pulled = client.pull()
        answers.append(client.push(0, 1, sequence, pulled.versions, pulled.values * sequence))
    return client.pull(), client.describe(), answers


def forget_repeats(answers):
    return [tuple(replace(answer, is_repeated=False) for answer in shards) for shards in answers]


@pytest.mark.parametrize("faulty_shard", [0, 1])
@pytest.mark.parametrize(
    ("kind", "num_repeated_by_call"),
    [(LOST_REQUEST, [0] * len(CALLS)), (LOST_REPLY, [int(call == "Push") for call in CALLS])],
    ids=[LOST_REQUEST, LOST_REPLY],
)
def test_every_push_is_applied_once_whichever_call_is_lost(
    serve, connect, kind, num_repeated_by_call, faulty_shard
):
    undisturbed, _, first_answers = run(
        connect(LAYOUT, serve(LAYOUT, optimizer=OPTIMIZER), max_attempts=1)
    )
    num_repeated = []
    for n in range(1, 100):
        fault = FailNth(n, kind)
        shards = serve(LAYOUT, optimizer=OPTIMIZER)
        (shards[faulty_shard],) = serve(
            LAYOUT, shards=[faulty_shard], optimizer=OPTIMIZER, interceptors=[fault]
        )

        pulled, descriptions, answers = run(connect(LAYOUT, shards, max_attempts=2))

        assert pulled.versions == (NUM_PUSHES, NUM_PUSHES), f"call {n}"
        assert pulled.values.tobytes() == undisturbed.values.tobytes(), f"call {n}"
        assert forget_repeats(answers) == first_answers, f"call {n}"
        assert descriptions[1 - faulty_shard].num_repeated == 0, f"call {n}"
        assert [each.num_refused for each in descriptions] == [0, 0], f"call {n}"
        if not fault.fired:
            break
        num_repeated.append(descriptions[faulty_shard].num_repeated)

    assert n == len(CALLS) + 1, "the loop ended before every call had been lost once"
    assert num_repeated == num_repeated_by_call
