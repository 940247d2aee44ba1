import os
from pathlib import Path

import pytest
import ray

from deploy.ray_start import start_ray

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def cluster():
    """Ray on this machine, with two processors, for the tests of one module."""
    with pytest.MonkeyPatch.context() as patch:
        # Actors are of classes that are in support/.
        patch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)
        start_ray(print, num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()
