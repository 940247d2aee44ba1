from __future__ import annotations

import pytest
import ray

from deploy.ray_start import start_ray


@pytest.fixture(scope="module")
def ray_for_all():
    """One Ray for all tests of a module: to start takes longer than they do."""
    start_ray(print, num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
