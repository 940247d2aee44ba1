"""The state of a training as bytes, and back."""

from __future__ import annotations

import pytest
import torch

from child.snapshot import SnapshotError, packed, unpacked

SHARED = torch.arange(6.0).view(2, 3)
STATE = {
    "network": {"a": SHARED, "tied": SHARED, "turned": SHARED.t(), "count": torch.tensor(7)},
    "optimizer": {"state": {0: {"step": torch.tensor(3.0)}, 11: {}}, "betas": (0.9, 0.999)},
    "numbers": [0.1, 1e-300, 2**62, None, True, "text", float("inf")],
}


def flat(state):
    """Give a state with its tensors as their type, shape and bits."""
    if isinstance(state, torch.Tensor):
        return state.dtype, tuple(state.shape), state.contiguous().numpy().tobytes()
    if isinstance(state, dict):
        return {key: flat(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(flat(value) for value in state)
    return state


def test_state_comes_back_as_it_was():
    assert flat(unpacked(packed(STATE))) == flat(STATE)


def test_tensors_that_come_back_are_copies():
    state = {"a": torch.zeros(3)}
    snapshot = packed(state)
    state["a"] += 1
    assert unpacked(snapshot)["a"].tolist() == [0, 0, 0]


def test_every_damaged_byte_is_noticed():
    snapshot = packed({"a": torch.zeros(3), "b": [1, 2.5]})
    for place in range(len(snapshot)):
        damaged = bytearray(snapshot)
        damaged[place] ^= 1
        with pytest.raises(SnapshotError):
            unpacked(bytes(damaged))


@pytest.mark.parametrize("num_bytes", [0, 5, 17, 20, 40, -1])
def test_snapshot_that_was_cut_off_is_refused(num_bytes):
    with pytest.raises(SnapshotError):
        unpacked(packed(STATE)[:num_bytes])
