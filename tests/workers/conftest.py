import pytest
import ray


@pytest.fixture(scope="package")
def cluster():
    """Ray on this machine, with two processors."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
