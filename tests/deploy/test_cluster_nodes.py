"""What is found out about the nodes of a cluster, on a real one whose nodes come and go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import ray
from ray.cluster_utils import Cluster
from support.autoscaled import AutoscaledCluster
from support.waiting import wait_until

from deploy.autoscaler import has_autoscaler
from deploy.cluster import Shortage, check_folder
from deploy.run import Run
from deploy.settings_file import load_settings
from workers.node import nodes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

START_S = 120.0
OTHER = "127.0.0.2"
# A node that does not answer is taken for dead after two seconds.
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 4,
}
HIDDEN = ["unshare", "--map-root-user", "--mount", "sh", "-c"]


@pytest.fixture
def cluster():
    """A Ray cluster of one node, joined."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"include_dashboard": False, "_system_config": HEALTH},
    )
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "shared" / "run", load_settings())


@pytest.fixture
def start_elsewhere(cluster, run):
    """Start a node that has a disk of its own at the shared folder, as another machine does."""
    if subprocess.run([*HIDDEN, "true"], capture_output=True).returncode:
        pytest.skip("mounts cannot be made here")
    started = []

    def start(prepare):
        ray_start = f"{sys.executable} -m ray.scripts.scripts start --block --num-cpus=1"
        node = subprocess.Popen(
            [
                *HIDDEN,
                f"mount -t tmpfs none {run.path.parent} && {prepare} && exec {ray_start}"
                f" --address={cluster.address} --node-ip-address={OTHER}",
            ],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        started.append(node)
        await_node(OTHER)

    yield start
    for node in started:
        node.terminate()  # and with it what it has started
        node.wait()


def await_node(name):
    wait_until(lambda: name in {node.name for node in nodes()}, f"node {name}", START_S)


def test_folder_that_all_nodes_see_is_good(cluster, run):
    cluster.add_node(node_ip_address=OTHER)
    await_node(OTHER)
    check_folder(run)


def test_node_that_does_not_see_the_folder_is_named(start_elsewhere, run):
    start_elsewhere("true")
    with pytest.raises(Shortage, match=rf"node {OTHER} does not see it \(.*No such file"):
        check_folder(run)


def test_node_with_another_run_at_the_same_path_is_named(start_elsewhere, run):
    start_elsewhere(f"mkdir {run.path} && echo of-another > {run.path}/id")
    with pytest.raises(Shortage, match=rf"node {OTHER} does not see it \(of-another\)"):
        check_folder(run)


def test_node_that_dies_while_it_looks_is_passed_over(cluster, run, caplog):
    other = cluster.add_node(node_ip_address=OTHER)
    await_node(OTHER)
    [raylet] = other.all_processes["raylet"]
    raylet.process.send_signal(signal.SIGSTOP)  # Ray does not know yet
    check_folder(run)
    assert f"node {OTHER} has gone" in caplog.text


def test_cluster_of_nodes_started_by_hand_has_no_autoscaler(cluster):
    assert not has_autoscaler()
    other = cluster.add_node(node_ip_address=OTHER)
    await_node(OTHER)
    assert not has_autoscaler()
    cluster.remove_node(other, allow_graceful=False)
    assert not has_autoscaler()


def test_cluster_whose_autoscaler_has_started_no_node_yet_has_one():
    with AutoscaledCluster({"CPU": 1}, max_workers=1) as cluster:
        ask = "import ray; from deploy.autoscaler import has_autoscaler; ray.init(); "
        asked = subprocess.run(
            [sys.executable, "-c", ask + "print(has_autoscaler())"],
            env=os.environ | cluster.environment,
            capture_output=True,
            text=True,
        )
        assert asked.stdout == "True\n", asked.stderr
        assert cluster.num_workers() == 0
