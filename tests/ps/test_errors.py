"""Errors travel from a shard to its client, with their text."""

import pickle
from pathlib import Path

import grpc
import pytest
from support.faults import AbortAll

from ps.errors import (
    ERRORS,
    STATUS,
    CorruptState,
    NotPermitted,
    ShardError,
    ShardUnavailable,
    StalePush,
    StateError,
    StateLost,
    UnexpectedStatus,
)
from ps.layout import Layout
from ps.shard import Shard

LAYOUT = Layout((("weight", (4,)),), num_shards=1)
UNKNOWN = [code for code in grpc.StatusCode if code not in {*ERRORS, grpc.StatusCode.OK}]
TEXT = "values=3 %s {x}: must be ½; pull again"


def drawn_in(error):
    """Give the names of the leaves in the tree that a base class draws."""
    lines = error.__doc__.splitlines()
    return [line.split()[0] for line in lines if line.startswith("      ")]


def test_every_shard_error_has_its_own_status():
    assert set(STATUS) == set(ShardError.__subclasses__())
    assert len(set(STATUS.values())) == len(STATUS)
    assert grpc.StatusCode.OK not in STATUS.values()


def test_shard_errors_are_the_leaves_that_the_tree_draws():
    assert not [leaf for error in ShardError.__subclasses__() for leaf in error.__subclasses__()]
    assert drawn_in(ShardError) == [error.__name__ for error in STATUS]


def test_state_errors_are_the_leaves_that_the_tree_draws():
    leaves = StateError.__subclasses__()
    assert not [leaf for error in leaves for leaf in error.__subclasses__()]
    assert drawn_in(StateError) == [error.__name__ for error in leaves]


def test_state_errors_are_no_answer_to_anybody():
    # They end the shard; a caller is told ShardUnavailable.
    assert not issubclass(StateError, ShardError)
    assert not {*StateError.__subclasses__()} & {*STATUS}


@pytest.mark.parametrize("kind", [*STATUS, *StateError.__subclasses__()])
def test_error_travels_to_another_process(kind):
    arguments = {CorruptState: (Path("a/journal"), 17, "a checksum is wrong")}
    error = kind(*arguments.get(kind, (TEXT,)))

    arrived = pickle.loads(pickle.dumps(error))

    assert (type(arrived), str(arrived)) == (kind, str(error))


def test_corrupt_state_names_file_and_offset():
    message = str(CorruptState(Path("a/journal"), 17, "a checksum is wrong"))

    assert message.startswith("a/journal, offset 17: a checksum is wrong; the shard does not start")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StalePush, grpc.StatusCode.OUT_OF_RANGE),
        (NotPermitted, grpc.StatusCode.PERMISSION_DENIED),
        (StateLost, grpc.StatusCode.DATA_LOSS),
    ],
)
def test_status_on_the_wire_is_the_one_that_other_libraries_rely_on(error, code):
    assert STATUS[error] is code


def test_every_status_leads_back_to_its_error():
    assert {error: ERRORS[code] for error, code in STATUS.items()} == {
        error: error for error in STATUS
    }


def test_status_codes_with_two_meanings_are_not_in_the_table():
    # gRPC itself answers with these: an oversize message, a bug of its own, an unknown method.
    assert not ERRORS.keys() & {
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNIMPLEMENTED,
    }


@pytest.mark.parametrize("kind", STATUS)
def test_error_of_a_shard_arrives_at_the_client_with_its_text(serve, connect, monkeypatch, kind):
    def refuse(*_):
        raise kind(TEXT)

    monkeypatch.setattr(Shard, "pull", refuse)
    (server,) = serve(LAYOUT)
    client = connect(LAYOUT, [server], max_attempts=1)

    with pytest.raises(ShardError) as raised:
        client.pull()

    assert type(raised.value) is kind
    assert TEXT in str(raised.value)
    assert f"shard 0 of 1 at {server.address}: " in str(raised.value)
    assert raised.value.__cause__.code() == STATUS[kind]
    assert raised.value.__cause__.details() == TEXT


@pytest.mark.parametrize("code", ERRORS)
def test_status_code_in_the_table_becomes_its_error(serve, connect, code):
    (server,) = serve(LAYOUT, interceptors=[AbortAll(code, TEXT)])

    with pytest.raises(ERRORS[code]) as raised:
        connect(LAYOUT, [server], max_attempts=1).pull()

    assert TEXT in str(raised.value)


def test_deadline_that_passed_means_unavailable():
    assert ERRORS[grpc.StatusCode.DEADLINE_EXCEEDED] is ShardUnavailable


@pytest.mark.parametrize("code", UNKNOWN, ids=str)
def test_status_code_that_is_not_in_the_table_is_raised_whole_and_at_once(serve, connect, code):
    refusal = AbortAll(code, TEXT)
    (server,) = serve(LAYOUT, interceptors=[refusal])

    with pytest.raises(UnexpectedStatus) as raised:
        connect(LAYOUT, [server], max_attempts=3).pull()

    assert str(raised.value) == (
        f"shard 0 of 1 at {server.address}: Pull ended with {code.name}: {TEXT}"
    )
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    assert refusal.num_calls == 1


def test_bug_in_a_shard_arrives_as_an_unknown_error(serve, connect, monkeypatch):
    def break_down(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Shard, "pull", break_down)
    (server,) = serve(LAYOUT)

    with pytest.raises(UnexpectedStatus, match=r"Pull ended with UNKNOWN: .*a bug"):
        connect(LAYOUT, [server]).pull()
