from __future__ import annotations

import pytest
import torch

from child.determinism import check_workspace, deterministic


def flags():
    cudnn = torch.backends.cudnn
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.deterministic,
        cudnn.benchmark,
    )


@pytest.fixture
def before(request, monkeypatch):
    """Set the flags for a test, and set them back after it."""
    is_on, warn_only, cudnn_deterministic, cudnn_benchmark = request.param
    kept = flags()
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", cudnn_deterministic)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", cudnn_benchmark)
    torch.use_deterministic_algorithms(is_on, warn_only=warn_only)
    yield request.param
    torch.use_deterministic_algorithms(kept[0], warn_only=kept[1])


EVERY_OTHER = [(False, False, False, True), (True, True, False, True), (True, False, True, False)]


@pytest.mark.parametrize("before", EVERY_OTHER, indirect=True)
def test_flags_are_set_and_then_as_they_were(before):
    with deterministic():
        assert flags() == (True, False, True, False)

    assert flags() == before


@pytest.mark.parametrize("before", EVERY_OTHER[:1], indirect=True)
def test_flags_are_as_they_were_after_an_error(before):
    with pytest.raises(KeyError), deterministic():
        raise KeyError

    assert flags() == before


@pytest.mark.parametrize("environment", [{}, {"CUBLAS_WORKSPACE_CONFIG": ":0:0"}])
def test_gpu_whose_workspace_is_not_set_says_how_to_set_it(environment):
    with pytest.raises(
        ValueError, match=r"CUBLAS_WORKSPACE_CONFIG=(:0:0)?: must be :4096:8 or :16:8 on a GPU"
    ):
        check_workspace(torch.device("cuda"), environment)


@pytest.mark.parametrize(
    ("device", "environment"),
    [
        ("cpu", {}),
        ("cuda", {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}),
        ("cuda:1", {"CUBLAS_WORKSPACE_CONFIG": ":16:8"}),
    ],
)
def test_device_that_repeats_itself_is_taken(device, environment):
    check_workspace(torch.device(device), environment)
