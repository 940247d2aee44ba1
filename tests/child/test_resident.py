from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from child.resident import resident

CPU = torch.device("cpu")


@pytest.mark.parametrize("is_writable", [True, False], ids=["writable", "read-only"])
def test_array_on_a_cpu_is_the_same_memory(is_writable):
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    array.flags.writeable = is_writable

    tensor = resident(array, CPU)

    assert np.shares_memory(tensor.numpy(), array)
    assert tensor.dtype == torch.uint8
    assert tensor.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.fixture
def read_only():
    """A read-only array, while torch warns of every one and not only of a process's first."""
    array = np.zeros(3, np.uint8)
    array.flags.writeable = False
    torch.set_warn_always(True)
    yield array
    torch.set_warn_always(False)


def test_read_only_array_is_no_warning(read_only):
    resident(read_only, CPU)  # warnings are errors here


def test_read_only_array_is_a_warning_elsewhere(read_only):
    resident(read_only, CPU)

    with pytest.raises(UserWarning, match="not writable"):
        torch.from_numpy(read_only)


def test_other_warnings_still_come(monkeypatch):
    def from_numpy(array):
        warnings.warn("something else", UserWarning, stacklevel=1)
        return torch.zeros(3)

    monkeypatch.setattr(torch, "from_numpy", from_numpy)

    with pytest.warns(UserWarning, match="something else"):
        resident(np.zeros(3), CPU)
