"""How values travel: vectors as raw little-endian float32, in messages of limited size."""

from __future__ import annotations

import numpy as np

from ps.description import ShardDescription
from ps.errors import InvalidRequest
from ps.layout import FlatVector
from ps.rpc import parameter_shard_pb2 as messages

SERVICE = messages.DESCRIPTOR.services_by_name["ParameterShard"].full_name

_FLOAT32 = np.dtype("<f4")
_MARGIN_BYTES = 1 << 20  # headers and the fields beside the vector


def pack(vector: FlatVector) -> bytes:
    """Give the bytes of a float32 vector as they travel."""
    return vector.astype(_FLOAT32, copy=False).tobytes()


def unpack(data: bytes) -> FlatVector:
    """Give the float32 vector in the bytes, read-only where the machine is little-endian.

    Raises:
        InvalidRequest: the bytes are not a whole number of float32.
    """
    if len(data) % _FLOAT32.itemsize:
        raise InvalidRequest(f"{len(data)} bytes: must be a multiple of 4, one float32 each")
    return np.frombuffer(data, _FLOAT32).astype(np.float32, copy=False)


def unpack_description(message: messages.DescribeResponse) -> ShardDescription:
    """Give the description in the message, field by field."""
    return ShardDescription(**{f.name: getattr(message, f.name) for f in message.DESCRIPTOR.fields})


def message_limits(num_parameters: int) -> list[tuple[str, int]]:
    """Give the channel and server options that admit one slice and little more."""
    limit_bytes = num_parameters * _FLOAT32.itemsize + _MARGIN_BYTES
    return [
        ("grpc.max_receive_message_length", limit_bytes),
        ("grpc.max_send_message_length", limit_bytes),
    ]
