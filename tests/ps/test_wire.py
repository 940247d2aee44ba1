"""How vectors and descriptions look on the wire."""

import itertools
from dataclasses import fields, replace

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from ps import wire
from ps.description import ShardDescription
from ps.errors import InvalidRequest
from ps.rpc import parameter_shard_pb2 as messages

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


def messages_of(kind, **strategies):
    """Give a strategy of messages of a kind in which any fields are left out."""
    return st.fixed_dictionaries({}, optional=strategies).map(lambda given: kind(**given))


WITH_VECTOR = st.one_of(
    messages_of(messages.InitializeRequest, layout_sha256=st.binary(), values_sha256=st.binary()),
    messages_of(messages.PullResponse, version=U64, epoch=U64, is_not_modified=st.booleans()),
    messages_of(
        messages.PushRequest,
        replica=U32,
        sequence=U64,
        incarnation=U64,
        base_version=U64,
        wants_values=st.booleans(),
    ),
    messages_of(
        messages.PushResponse,
        version=U64,
        updates=U64,
        staleness=U64,
        is_repeated=st.booleans(),
        epoch=U64,
        values_version=U64,
    ),
)
WITHOUT_VECTOR = st.one_of(
    messages_of(messages.PullRequest, known_version=U64, known_epoch=U64),
    messages_of(messages.CheckpointResponse, version=U64, epoch=U64),
)
KINDS = [
    messages.InitializeRequest,
    messages.PullRequest,
    messages.PullResponse,
    messages.PushRequest,
    messages.PushResponse,
]
# Any bits, those of NaNs among them; in lengths whose length takes one, two or three bytes.
VECTORS = st.one_of(
    st.binary(max_size=64).map(lambda data: data * 4),
    st.integers(0, 8192).map(lambda length: bytes(range(256)) * (length // 64) + bytes(4)),
).map(lambda data: np.frombuffer(data, np.float32))


def vector_in(message):
    """Give the name of the field of a message that carries a vector."""
    return message.DESCRIPTOR.fields_by_number[15].name


def with_vector(message, data):
    """Give what protobuf itself makes of a message and the bytes of a vector."""
    whole = type(message)()
    whole.CopyFrom(message)
    setattr(whole, vector_in(message), data)
    return whole


# Vectors


@given(st.binary(max_size=64).map(lambda data: data * 4))
@settings(deadline=None)
def test_unpack_and_pack_keep_every_bit(data):
    assert wire.pack(wire.unpack(data)) == data


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_packed_vector_is_little_endian_on_every_machine(byte_order):
    vector = np.array([1.0, -2.0], f"{byte_order}f4")

    assert wire.pack(vector) == b"\x00\x00\x80\x3f\x00\x00\x00\xc0"
    assert wire.join(messages.PushRequest(), vector).endswith(b"\x00\x00\x80\x3f\x00\x00\x00\xc0")


@pytest.mark.parametrize("num_bytes", [1, 2, 3, 5])
def test_unpack_of_a_broken_float_is_refused(num_bytes):
    with pytest.raises(InvalidRequest, match=f"^{num_bytes} bytes: must be a multiple of 4"):
        wire.unpack(b"\0" * num_bytes)


def test_unpacked_vector_shares_the_memory_of_the_message_and_cannot_be_changed():
    data = wire.join(messages.PushRequest(sequence=1), np.ones(5, np.float32))

    vector = wire.unpack(wire.split(data, messages.PushRequest)[1])

    assert np.shares_memory(vector, np.frombuffer(data, np.uint8))
    assert not vector.flags.writeable


# Messages with a vector


def without_padding(message):
    """Give a copy of a message without the field that says nothing."""
    copy = type(message)()
    copy.CopyFrom(message)
    copy.ClearField("padding")
    return copy


@given(WITH_VECTOR, VECTORS)
@settings(deadline=None)
def test_split_gives_what_was_joined(message, vector):
    data = wire.join(message, vector)

    head, found = wire.split(data, type(message))

    assert without_padding(head) == without_padding(message)
    assert wire.unpack(found).tobytes() == vector.tobytes()


@given(WITH_VECTOR, VECTORS)
@settings(deadline=None)
def test_joined_vector_lies_at_a_multiple_of_its_elements_length(message, vector):
    data = wire.join(message, vector)

    assert (len(data) - vector.nbytes) % 4 == 0
    assert data[len(data) - vector.nbytes :] == vector.tobytes()


@given(WITH_VECTOR, VECTORS)
@settings(deadline=None)
def test_protobuf_reads_what_was_joined(message, vector):
    read = type(message).FromString(wire.join(message, vector))

    assert getattr(read, vector_in(message)) == vector.tobytes()
    read.ClearField(vector_in(message))
    assert without_padding(read) == without_padding(message)


@pytest.mark.parametrize("num_bytes", [2**7, 2**14, 2**21, wire.WHOLE_BYTES], ids=str)
def test_protobuf_reads_what_was_joined_however_it_is_aligned(num_bytes):
    # The length of the vector's length grows with these; that of the head goes round once.
    vector = np.frombuffer(bytes(range(128)) * (num_bytes // 128), np.float32)
    for sequence in (1, 2**7, 2**14, 2**21):
        message = messages.PushRequest(sequence=sequence)

        read = messages.PushRequest.FromString(wire.join(message, vector))

        assert (read.sequence, len(read.gradient)) == (sequence, num_bytes)


@given(WITH_VECTOR, VECTORS)
@settings(deadline=None)
def test_split_reads_what_protobuf_has_serialized(message, vector):
    data = with_vector(message, vector.tobytes()).SerializeToString()

    head, found = wire.split(data, type(message))

    assert (head, bytes(found)) == (message, vector.tobytes())


@given(WITHOUT_VECTOR)
@settings(deadline=None)
def test_split_of_a_message_without_a_vector_gives_the_message(message):
    head, found = wire.split(message.SerializeToString(), type(message))

    assert (head, bytes(found)) == (message, b"")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_split_reads_fields_in_any_order_and_takes_the_last_of_several(order):
    parts = [
        messages.PushRequest(sequence=300).SerializeToString(),
        messages.PushRequest(gradient=b"abcd").SerializeToString(),
        messages.PushRequest(sequence=7, gradient=b"12345678").SerializeToString(),
    ]
    data = b"".join(parts[i] for i in order)

    head, found = wire.split(data, messages.PushRequest)

    expected = messages.PushRequest.FromString(data)
    assert (head.sequence, bytes(found)) == (expected.sequence, expected.gradient)


@pytest.mark.parametrize("field", [b"\xf8\x07\x05", b"\xfa\x07\x02xy", b"\x71" + bytes(8)], ids=str)
def test_split_passes_over_fields_that_it_does_not_know(field):
    data = field + wire.join(messages.PushRequest(sequence=9), np.ones(3, np.float32))

    head, found = wire.split(data, messages.PushRequest)

    assert (head.sequence, len(found)) == (9, 12)


def known_parts(message):
    """Give the fields of a message but for its vector, serialized, and the vector, if it has one.

    Fields that the message does not know are left out.
    """
    message.DiscardUnknownFields()
    vector = message.DESCRIPTOR.fields_by_number.get(15)
    data = b"" if vector is None else getattr(message, vector.name)
    if vector is not None:
        message.ClearField(vector.name)
    return message.SerializeToString(deterministic=True), data


def as_protobuf_reads(kind, data):
    """Give the known parts of the message in the bytes, None if it is no message."""
    try:
        message = kind.FromString(data)
    except DecodeError:
        return None
    return known_parts(message)


def as_split_reads(kind, data):
    try:
        message, vector = wire.split(data, kind)
    except InvalidRequest:
        return None
    if 15 in kind.DESCRIPTOR.fields_by_number:
        message = with_vector(message, bytes(vector))
    return known_parts(message)


@st.composite
def nearly_messages(draw):
    """Give tags, numbers and lengths as they stand in messages, in any order and cut anywhere."""
    piece = st.one_of(
        st.integers(0, 255).map(lambda tag: bytes((tag,))),
        st.sampled_from([b"\x08", b"\x10", b"\x12", b"\x7a", b"\x7a\x04abcd", b"\x7a\x00"]),
        st.lists(st.integers(128, 255), max_size=11).map(bytes),  # a number goes on after these
        st.binary(max_size=6),
        WITH_VECTOR.map(lambda message: message.SerializeToString()),
    )
    data = b"".join(draw(st.lists(piece, max_size=6)))
    return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data


@given(st.sampled_from(KINDS), st.one_of(st.binary(max_size=40), nearly_messages()))
@settings(deadline=None, max_examples=500)
def test_split_of_any_bytes_reads_what_protobuf_reads_and_refuses_the_rest(kind, data):
    assert as_split_reads(kind, data) == as_protobuf_reads(kind, data)


@given(WITH_VECTOR, VECTORS, st.data())
@settings(deadline=None, max_examples=300)
def test_split_of_a_broken_message_reads_what_protobuf_reads_and_refuses_the_rest(
    message, vector, data
):
    broken = bytearray(wire.join(message, vector[:8]))
    for _ in range(data.draw(st.integers(1, 3))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(broken)))
    broken = bytes(broken[:end])

    assert as_split_reads(type(message), broken) == as_protobuf_reads(type(message), broken)


def test_bytes_that_are_no_message_are_refused_by_length_and_kind():
    with pytest.raises(InvalidRequest, match=r"^3 bytes: must be a PushRequest: "):
        wire.split(b"\x7a\x05a", messages.PushRequest)


# Pieces


@pytest.mark.parametrize(("length", "num_pieces"), [(0, 1), (1, 1), (6, 1), (7, 2), (13, 3)])
def test_vector_is_cut_into_pieces_that_are_views(monkeypatch, length, num_pieces):
    monkeypatch.setattr(wire, "PIECE_BYTES", 24)
    vector = np.arange(length, dtype=np.float32)

    pieces = list(wire.pieces_of(vector))

    assert len(pieces) == num_pieces
    assert np.array_equal(np.concatenate(pieces), vector)
    assert all(piece.base is vector or not length for piece in pieces)


@given(st.binary(max_size=32).map(lambda data: data * 4), st.lists(st.integers(0, 32)))
@settings(deadline=None)
def test_pieces_are_assembled_to_the_last_bit_however_they_were_cut(data, cuts):
    cuts = sorted(min(4 * cut, len(data)) for cut in cuts)
    pieces = [data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)])]
    vector = np.full(len(data) // 4, np.nan, np.float32)

    wire.assemble(map(memoryview, pieces), vector, "gradient")

    assert vector.tobytes() == data


@pytest.mark.parametrize(
    ("lengths", "complaint"),
    [
        ([], "pieces of 0 parameters: must be 5 in all"),
        ([4, 8], "pieces of 3 parameters: must be 5 in all"),
        ([20, 4], "pieces of 6 parameters so far: must be 5 in all"),
        ([24], "pieces of 6 parameters so far: must be 5 in all"),
        ([4, 6, 10], "6 bytes: must be a multiple of 4"),
    ],
    ids=str,
)
def test_pieces_that_do_not_make_the_vector_are_refused(lengths, complaint):
    with pytest.raises(InvalidRequest, match=complaint):
        wire.assemble((memoryview(bytes(n)) for n in lengths), np.empty(5, np.float32), "gradient")


def test_pieces_beyond_the_vector_are_not_even_asked_for():
    def endless():
        yield memoryview(bytes(24))
        raise AssertionError("another piece was asked for")

    with pytest.raises(InvalidRequest, match="pieces of 6 parameters so far"):
        wire.assemble(endless(), np.empty(5, np.float32), "gradient")


# Descriptions and the service

DESCRIPTION = ShardDescription(
    1, 3, 1000, b"\xff" * 32, True, 7, 6, 5, 4, 30, 20, 9, "journal", 9100
)


def test_description_has_the_fields_of_its_message():
    assert [field.name for field in fields(ShardDescription)] == [
        field.name for field in messages.DescribeResponse.DESCRIPTOR.fields
    ]


@pytest.mark.parametrize("durability", ["none", "checkpoint", "journal"])
def test_unpacked_description_equals_what_was_packed(durability):
    description = replace(DESCRIPTION, durability=durability)

    message = wire.pack_description(description)

    assert message.durability == messages.Durability.Value(f"DURABILITY_{durability.upper()}")
    assert wire.unpack_description(message) == description


def test_service_has_the_name_that_health_checks_ask_for():
    assert wire.SERVICE == "nasrl.ps.v1.ParameterShard"


def test_vector_is_the_last_field_of_every_message_that_carries_one():
    carriers = {"InitializeRequest", "PullResponse", "PushRequest", "PushResponse"}
    last = {
        name: max(message.fields_by_number)
        for name, message in messages.DESCRIPTOR.message_types_by_name.items()
        if message.fields
    }

    assert {name for name, number in last.items() if number >= 15} == carriers
    assert all(last[name] == 15 for name in carriers)
