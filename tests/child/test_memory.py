from __future__ import annotations

import gc
import weakref

import pytest
import torch

from child.memory import forget_locals, is_device_lost, is_out_of_memory, release

CPU = torch.device("cpu")


class Held:
    """Something whose end can be seen."""


def fail(held, error):
    local = held  # noqa: F841 - what is not to stay
    raise error


def fail_behind(held, error):
    try:
        fail(held, KeyError("first"))
    except KeyError as first:
        raise error from first


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB."), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] ... can't allocate memory"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("shape '[2, 3]' is invalid for input of size 5"), False),
        (ValueError("can't allocate memory"), False),
    ],
    ids=str,
)
def test_error_that_means_there_is_no_memory_is_known(error, is_one):
    assert is_out_of_memory(error, CPU) is is_one


@pytest.mark.parametrize(("free_bytes", "is_one"), [(4, True), (5, False), (90, False)])
@pytest.mark.parametrize(
    "text",
    [
        "GET was unable to find an engine to execute this computation",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "NVML_SUCCESS == r INTERNAL ASSERT FAILED",
    ],
)
def test_error_that_may_mean_there_is_no_memory_does_so_where_a_gpu_is_full(
    monkeypatch, text, free_bytes, is_one
):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free_bytes, 100))

    assert is_out_of_memory(RuntimeError(text), torch.device("cuda")) is is_one


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUDA error: unspecified launch failure"), True),
        (RuntimeError("CUDA error: out of memory"), False),
        (torch.OutOfMemoryError("CUDA out of memory. CUDA error: "), False),
        (RuntimeError("shape '[2, 3]' is invalid for input of size 5"), False),
        (ValueError("CUDA error: "), False),
    ],
    ids=str,
)
def test_error_after_which_a_gpu_is_lost_is_known(error, is_lost):
    assert is_device_lost(error) is is_lost


def test_cpu_that_cannot_allocate_is_out_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)

    assert is_out_of_memory(caught.value, CPU)


@pytest.mark.parametrize("fails", [fail, fail_behind])
def test_error_that_is_kept_keeps_no_variables(fails):
    held = Held()
    end = weakref.ref(held)
    with pytest.raises(ValueError, match="second") as caught:
        fails(held, ValueError("second"))
    del held
    assert end() is not None, "the error keeps its variables until they are forgotten"

    forget_locals(caught.value)

    assert end() is None
    assert caught.traceback[-1].name == fails.__name__


def test_errors_behind_each_other_in_a_ring_are_forgotten_once():
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one

    forget_locals(one)


def test_release_frees_cycles():
    gc.disable()
    try:
        held = Held()
        held.itself = held
        end = weakref.ref(held)
        del held
        assert end() is not None

        release(torch.device("cpu"))

        assert end() is None
    finally:
        gc.enable()


def test_release_empties_the_cache_of_a_gpu_alone(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append(gc.get_count()))

    release(torch.device("cpu"))
    assert not calls
    release(torch.device("cuda"))

    assert len(calls) == 1
