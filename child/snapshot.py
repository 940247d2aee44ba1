"""The state of a training as bytes: tensors, numbers and texts in dictionaries and lists."""

from __future__ import annotations

import json
import zlib
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

_KIND = b"nasrl snapshot 1\n"
_CHECKSUM_BYTES = 4
_SHAPE = "shape of it all"


class SnapshotError(ValueError):
    """What a training is to go on from is not a snapshot of it."""


def packed(state: Any) -> bytes:
    """Give a state as bytes: their kind, a CRC-32 of the rest, and safetensors.

    Args:
        state: nested dictionaries, lists and tuples of tensors, numbers, texts, bools and None;
            keys are texts or whole numbers. Tensors may share memory.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_described(state, tensors)).encode()
    tensors[_SHAPE] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    data = safetensors.torch.save(tensors)
    return _KIND + zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "little") + data


def unpacked(snapshot: bytes) -> Any:
    """Give the state that `packed` was given, with copies of its tensors on the CPU.

    Raises:
        SnapshotError: these are other bytes, or some of them are not what they were.
    """
    head = len(_KIND) + _CHECKSUM_BYTES
    if not snapshot.startswith(_KIND):
        raise SnapshotError(f"it begins with {snapshot[: len(_KIND)]!r}: must be {_KIND!r}")
    data = snapshot[head:]
    if not data or zlib.crc32(data) != int.from_bytes(snapshot[len(_KIND) : head], "little"):
        raise SnapshotError(f"its {len(data):,} bytes do not have their checksum")
    tensors = safetensors.torch.load(data)
    return _restored(json.loads(bytes(tensors[_SHAPE].numpy())), tensors)


def _described(state: Any, tensors: dict[str, Tensor]) -> Any:
    """Give a state as JSON, with the names of its tensors, which are put aside as copies."""
    if isinstance(state, Tensor):
        name = str(len(tensors))
        tensors[name] = state.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(state, dict):
        # As pairs: JSON would make texts of keys that are numbers.
        return {"dict": [[key, _described(value, tensors)] for key, value in state.items()]}
    if isinstance(state, list | tuple):
        return {type(state).__name__: [_described(value, tensors) for value in state]}
    return state


def _restored(described: Any, tensors: dict[str, Tensor]) -> Any:
    match described:
        case {"tensor": name}:
            return tensors[name]
        case {"dict": pairs}:
            return {key: _restored(value, tensors) for key, value in pairs}
        case {"list": values}:
            return [_restored(value, tensors) for value in values]
        case {"tuple": values}:
            return tuple(_restored(value, tensors) for value in values)
    return described
