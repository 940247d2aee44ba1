from __future__ import annotations

import pytest
import torch

from child.precision import Precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("auto", torch.float32),
        ("float32", torch.float32),
        ("bfloat16", torch.bfloat16),
        ("float16", torch.float16),
    ],
)
def test_network_on_a_cpu_computes_in_the_format_of_that_name(name, dtype):
    precision = Precision(name, CPU)

    with precision.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)

    assert product.dtype == dtype
    assert precision.dtype == dtype


@pytest.mark.parametrize(("is_supported", "dtype"), [(True, "bfloat16"), (False, "float16")])
def test_gpu_computes_in_bfloat16_where_it_has_it_else_in_float16(monkeypatch, is_supported, dtype):
    def is_bf16_supported(including_emulation):
        assert not including_emulation
        return is_supported

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)

    assert Precision("auto", GPU).dtype == getattr(torch, dtype)
    assert Precision("float32", GPU).dtype == torch.float32


@pytest.mark.parametrize("name", ["auto", "float32", "bfloat16"])
def test_gradients_are_scaled_in_no_format_of_float32_s_range(name):
    loss = torch.ones(())

    assert Precision(name, CPU).scaler().scale(loss) is loss


def test_gradients_are_scaled_up_in_float16():
    assert Precision("float16", CPU).scaler().scale(torch.ones(())) > 1000


@pytest.mark.parametrize(("name", "is_allowed"), [("float32", False), ("bfloat16", True)])
def test_float32_is_whole_while_a_child_is_computed_and_as_before_after(name, is_allowed):
    cudnn = torch.backends.cudnn
    assert cudnn.allow_tf32, "torch has another default now"

    def compute():
        with Precision(name, CPU).kept():
            assert cudnn.allow_tf32 is is_allowed
            raise ValueError("meanwhile")

    with pytest.raises(ValueError, match="meanwhile"):
        compute()

    assert cudnn.allow_tf32
