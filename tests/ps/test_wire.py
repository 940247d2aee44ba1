"""How vectors and descriptions look on the wire."""

from dataclasses import asdict, fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps import wire
from ps.description import ShardDescription
from ps.errors import InvalidRequest
from ps.rpc import parameter_shard_pb2 as messages


@given(st.binary(max_size=64).map(lambda data: data * 4))
@settings(deadline=None)
def test_unpack_and_pack_keep_every_bit(data):
    assert wire.pack(wire.unpack(data)) == data


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_packed_vector_is_little_endian_on_every_machine(byte_order):
    vector = np.array([1.0, -2.0], f"{byte_order}f4")

    assert wire.pack(vector) == b"\x00\x00\x80\x3f\x00\x00\x00\xc0"


@pytest.mark.parametrize("num_bytes", [1, 2, 3, 5])
def test_unpack_of_a_broken_float_is_refused(num_bytes):
    with pytest.raises(InvalidRequest, match=f"^{num_bytes} bytes: must be a multiple of 4"):
        wire.unpack(b"\0" * num_bytes)


def test_description_has_the_fields_of_its_message():
    assert [field.name for field in fields(ShardDescription)] == [
        field.name for field in messages.DescribeResponse.DESCRIPTOR.fields
    ]


def test_unpacked_description_equals_what_was_packed():
    description = ShardDescription(1, 3, 1000, b"\xff" * 32, True, 7, 6, 5, 4, 30, 20)

    message = messages.DescribeResponse(**asdict(description))

    assert wire.unpack_description(message) == description


def test_service_has_the_name_that_health_checks_ask_for():
    assert wire.SERVICE == "nasrl.ps.v1.ParameterShard"
