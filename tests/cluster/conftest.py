import time

import pytest
from support.hosts import Hosts, obstacle


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Hosts with Ray on them, for the tests of one module."""
    if reason := obstacle():
        pytest.skip(reason)
    with Hosts(tmp_path_factory.mktemp("hosts")) as made:
        began = time.monotonic()
        made.start_ray()
        print(f"\nray up to three nodes: {time.monotonic() - began:.1f} s")
        yield made
