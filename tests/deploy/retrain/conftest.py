from __future__ import annotations

import pytest
import ray


@pytest.fixture(scope="package")
def ray_for_all():
    """One Ray for all tests: to start takes longer than they do. Scenarios have their own."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
