"""Tasks of Ray that are granted GPUs, which are pretended: CUDA stays on the first that it sees."""

from __future__ import annotations

import os

import pytest
import ray

from deploy.ray_start import start_ray
from workers.remote import THIS_MACHINE, call


@pytest.fixture(scope="module", autouse=True)
def _gpus():
    start_ray(print, num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def look():
    """Yield the process, the GPU that it has seen first, and the one that it is granted now."""
    granted = os.environ["CUDA_VISIBLE_DEVICES"]
    yield os.getpid(), os.environ.setdefault("FIRST_GPU", granted), granted


def test_task_never_gets_a_process_that_has_begun_with_another_gpu():
    tasks = [call(look, num_cpus=1, num_gpus=1.0, place=THIS_MACHINE) for _ in range(8)]
    seen = [ray.get(next(task)) for task in tasks]
    assert {granted for *_, granted in seen} == {"0", "1"}
    assert all(first == granted for _, first, granted in seen), seen
    assert len({process for process, *_ in seen}) == 8
