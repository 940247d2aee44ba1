"""How values travel: vectors as raw little-endian float32, spliced into messages without copies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message

from ps.description import ShardDescription
from ps.errors import InvalidRequest
from ps.layout import FlatVector
from ps.rpc import parameter_shard_pb2 as messages

_SERVICE = messages.DESCRIPTOR.services_by_name["ParameterShard"]
SERVICE = _SERVICE.full_name
METHODS = {method.name: method for method in _SERVICE.methods}

WHOLE_BYTES = 16 << 20  # a longer vector travels in pieces
PIECE_BYTES = 4 << 20

_FLOAT32 = np.dtype("<f4")
_LIMIT_BYTES = WHOLE_BYTES + (1 << 20)  # of a message: its other fields are short
_VECTOR_FIELD = 15
_VECTOR_TAG = _VECTOR_FIELD << 3 | 2  # one byte; 2: a length follows, then so many bytes
_LARGE_BYTES = 1 << 20
_PADDING_TAG = 14 << 3 | 2
# Field 14 in as many bytes as are wanted, modulo 4.
_PADDING = (
    b"",
    bytes((_PADDING_TAG, 3, 0, 0, 0)),
    bytes((_PADDING_TAG, 0)),
    bytes((_PADDING_TAG, 1, 0)),
)

M = TypeVar("M", bound=Message)


def pack(vector: FlatVector) -> bytes:
    """Give the bytes of a float32 vector as they travel."""
    return vector.astype(_FLOAT32, copy=False).tobytes()


def unpack(data: bytes | memoryview) -> FlatVector:
    """Give the float32 vector in the bytes, read-only where the machine is little-endian.

    Raises:
        InvalidRequest: the bytes are not a whole number of float32.
    """
    if len(data) % _FLOAT32.itemsize:
        raise InvalidRequest(f"{len(data)} bytes: must be a multiple of 4, one float32 each")
    return np.frombuffer(data, _FLOAT32).astype(np.float32, copy=False)


def is_whole(num_parameters: int) -> bool:
    """Tell whether a slice travels in one message."""
    return num_parameters * _FLOAT32.itemsize <= WHOLE_BYTES


def pieces_of(vector: FlatVector) -> Iterator[FlatVector]:
    """Give a vector piece by piece, as views; an empty vector is one empty piece."""
    length = PIECE_BYTES // _FLOAT32.itemsize
    for start in range(0, max(1, len(vector)), length):
        yield vector[start : start + length]


def join(message: Message, vector: FlatVector) -> bytes:
    """Give a message with a vector as its field 15, serialized with one copy of the vector.

    Field 14 is filled so that the vector lies at a multiple of 4, where numpy is fastest.
    """
    head = message.SerializeToString()
    data = vector.astype(_FLOAT32, copy=False).data.cast("B")
    field, size = bytearray((_VECTOR_TAG,)), len(data)
    while size >= 0x80:
        field.append(size & 0x7F | 0x80)
        size >>= 7
    field.append(size)
    return b"".join((head, _PADDING[-(len(head) + len(field)) % 4], field, data))


def split(data: bytes, kind: type[M]) -> tuple[M, memoryview]:
    """Give a message without its field 15, and the bytes of that field, if any, not copied.

    `join` and protobuf's own libraries write the vector last; other orders are read all the same.

    Raises:
        InvalidRequest: the bytes are no such message.
    """
    try:
        start = _vector_start(data)
        if start is not None:
            head_end, vector_start = start
            return kind.FromString(data[:head_end]), memoryview(data)[vector_start:]
        message = kind.FromString(data)
    except (DecodeError, IndexError) as error:
        raise InvalidRequest(f"{len(data)} bytes: must be a {kind.__name__}: {error}") from error
    field = message.DESCRIPTOR.fields_by_number.get(_VECTOR_FIELD)
    return message, memoryview(b"" if field is None else getattr(message, field.name))


def _vector_start(data: bytes) -> tuple[int, int] | None:
    """Give where the vector's field and its content begin, if the content ends the message."""
    at = 0
    while at < len(data):
        field, tag = at, data[at]
        at += 1
        if tag & 0x87 not in (0, 2):  # a number below 16, with a number or bytes for a value
            return None
        value, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                return None
        if tag == _VECTOR_TAG:
            return (field, at) if at + value == len(data) else None
        if tag & 7 == 2:
            at += value
    return None


def assemble(pieces: Iterable[memoryview], into: FlatVector, name: str) -> None:
    """Copy the pieces of a vector one after the other into a vector, which they must fill.

    Args:
        name: of the vector, for messages.

    Raises:
        InvalidRequest: they are more or fewer, or one is not a whole number of float32.
    """
    filled = 0
    for piece in pieces:
        vector = unpack(piece)
        if filled + len(vector) > len(into):
            raise InvalidRequest(
                f"{name}: pieces of {filled + len(vector)} parameters so far: must be {len(into)} "
                "in all"
            )
        into[filled : filled + len(vector)] = vector
        filled += len(vector)
    if filled != len(into):
        raise InvalidRequest(f"{name}: pieces of {filled} parameters: must be {len(into)} in all")


_DURABILITIES: dict[int, Any] = {
    messages.DURABILITY_NONE: "none",
    messages.DURABILITY_CHECKPOINT: "checkpoint",
    messages.DURABILITY_JOURNAL: "journal",
}


def unpack_description(message: messages.DescribeResponse) -> ShardDescription:
    """Give the description in the message, field by field."""
    fields = {f.name: getattr(message, f.name) for f in message.DESCRIPTOR.fields}
    durability = _DURABILITIES.get(message.durability, "none")
    return ShardDescription(**fields | {"durability": durability})


def pack_description(described: ShardDescription) -> messages.DescribeResponse:
    """Give the message of a description."""
    numbers = {name: number for number, name in _DURABILITIES.items()}
    fields = vars(described) | {"durability": numbers[described.durability]}
    return messages.DescribeResponse(**fields)


def channel_options(slices: Sequence[slice]) -> list[tuple[str, int]]:
    """Give the options, of channel and server alike, that suit messages with such slices."""
    options = [
        ("grpc.max_receive_message_length", _LIMIT_BYTES),
        ("grpc.max_send_message_length", _LIMIT_BYTES),
    ]
    longest = max(owned.stop - owned.start for owned in slices)
    if longest * _FLOAT32.itemsize >= _LARGE_BYTES:
        # A quarter to a half more pushes a second; gRPC's default is 16 KiB.
        options.append(("grpc.http2.max_frame_size", 2**24 - 1))
    return options
