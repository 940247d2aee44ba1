"""Every call of a run is lost once, on the way there and on the way back."""

from dataclasses import replace

import numpy as np
import pytest
from support.faults import CUT_REPLY, LOST_REPLY, LOST_REQUEST, FailNth

from ps import wire
from ps.layout import Layout
from ps.optimizer import AdamSettings

LAYOUT = Layout((("weight", (3, 4)), ("bias", (5,))), num_shards=2)
OPTIMIZER = AdamSettings(learning_rate=0.1)
NUM_PUSHES = 3
CALLS = ["Initialize"] + ["Pull", "Push"] * NUM_PUSHES + ["Push", "Pull", "Describe"]


def run(client):
    """Train a little: the gradient depends on the values, so that every mistake is carried on."""
    client.initialize(np.linspace(-1, 1, LAYOUT.num_parameters, dtype=np.float32))
    answers = []
    for sequence in range(1, NUM_PUSHES + 1):
        pulled = client.pull()
        answers.append(client.push(0, 1, sequence, pulled.versions, pulled.values * sequence))
    last, pulled = client.push_and_pull(0, 1, NUM_PUSHES + 1, pulled.versions, pulled.values)
    again = client.pull()
    assert (again.versions, again.values.tobytes()) == (pulled.versions, pulled.values.tobytes())
    return pulled, client.describe(), [*answers, last]


def forget_repeats(answers):
    return [tuple(replace(answer, is_repeated=False) for answer in shards) for shards in answers]


@pytest.fixture(params=["whole, journal", "in pieces, none"])
def durability(request, monkeypatch):
    """What shards keep; vectors travel whole, or in pieces of 3 parameters."""
    way, durability = request.param.split(", ")
    limit = {"whole": wire.WHOLE_BYTES, "in pieces": 4}[way]
    monkeypatch.setattr(wire, "WHOLE_BYTES", limit)
    monkeypatch.setattr(wire, "PIECE_BYTES", 12)
    return durability


@pytest.mark.parametrize("faulty_shard", [0, 1])
@pytest.mark.parametrize(
    ("kind", "num_repeated_by_call"),
    [
        (LOST_REQUEST, [0] * len(CALLS)),
        (LOST_REPLY, [int(call == "Push") for call in CALLS]),
        (CUT_REPLY, [int(call == "Push") for call in CALLS]),
    ],
    ids=[LOST_REQUEST, LOST_REPLY, CUT_REPLY],
)
def test_every_push_is_applied_once_whichever_call_is_lost(
    serve, connect, tmp_path, kind, num_repeated_by_call, faulty_shard, durability
):
    undisturbed, _, first_answers = run(
        connect(LAYOUT, serve(LAYOUT, optimizer=OPTIMIZER), max_attempts=1)
    )
    num_repeated = []
    for n in range(1, 100):
        fault = FailNth(n, kind)
        options = {
            "optimizer": OPTIMIZER,
            "durability": durability,
            "folder": tmp_path / str(n),
        }
        shards = [
            *serve(LAYOUT, shards=[1 - faulty_shard], **options),
            *serve(LAYOUT, shards=[faulty_shard], interceptors=[fault], **options),
        ][:: 2 * faulty_shard - 1]

        pulled, descriptions, answers = run(connect(LAYOUT, shards, max_attempts=2))

        assert pulled.versions == (NUM_PUSHES + 1, NUM_PUSHES + 1), f"call {n}"
        assert pulled.values.tobytes() == undisturbed.values.tobytes(), f"call {n}"
        assert forget_repeats(answers) == first_answers, f"call {n}"
        assert descriptions[1 - faulty_shard].num_repeated == 0, f"call {n}"
        assert [each.num_refused for each in descriptions] == [0, 0], f"call {n}"
        if not fault.fired:
            break
        num_repeated.append(descriptions[faulty_shard].num_repeated)

    assert n == len(CALLS) + 1, "the loop ended before every call had been lost once"
    assert num_repeated == num_repeated_by_call
