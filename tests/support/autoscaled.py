"""A Ray cluster with Ray's own autoscaler, whose nodes are processes on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from support.waiting import wait_until

HEAD = "ray.head.default"
WORKER = "worker"
START_S = 60.0
END_S = 20.0
# Every process of a cluster has this in its environment.
_MARK = "RAY_TMPDIR"


class AutoscaledCluster:
    """Ray with a head without GPUs, and as many workers as its autoscaler finds to be wanted.

    As `ray.cluster_utils.AutoscalingCluster`, which needs a file that is not in Ray's wheel, and
    ends whatever Ray runs on the machine.
    """

    def __init__(self, worker: Mapping[str, float], max_workers: int, idle_s: float = 6.0) -> None:
        """Start the head, which takes some seconds; worker: what each other node has."""
        # Sockets are in there, and their paths must be short.
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        self.address = f"127.0.0.1:{_free_port()}"
        config = self._config(worker, max_workers, idle_s)
        path = self._folder / "cluster.json"
        path.write_text(json.dumps(config))
        self.environment = {
            _MARK: str(self._folder),
            "RAY_ADDRESS": self.address,
            "RAY_AUTH_MODE": "disabled",
        }
        environment = (
            os.environ
            | self.environment
            | {
                "AUTOSCALER_UPDATE_INTERVAL_S": "1",
                "RAY_FAKE_CLUSTER": "1",
                "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
                "RAY_USAGE_STATS_ENABLED": "0",
                # As `ray up` has it.
                "RAY_enable_autoscaler_v2": "1",
                "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
                "RAY_NODE_TYPE_NAME": HEAD,
            }
        )
        environment.pop("RAY_ADDRESS", None)
        self._output = (self._folder / "output.txt").open("w")
        self._head = subprocess.Popen(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
                f"--autoscaling-config={path}",
                "--node-ip-address=127.0.0.1",
                f"--port={self.address.rpartition(':')[2]}",
                f"--ray-client-server-port={_free_port()}",
                "--dashboard-agent-listen-port=0",
                "--include-dashboard=false",
                "--object-store-memory=100000000",
                "--num-cpus=0",
                "--num-gpus=0",
            ],
            env=environment,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until(lambda: "Ray runtime started" in self._printed(), "Ray", START_S)
        except BaseException:
            self.close()
            raise

    def num_workers(self) -> int:
        """Count the nodes that the autoscaler has started and not ended."""
        return sum(
            name == "raylet" and environment.get("RAY_NODE_TYPE_NAME") == WORKER
            for _, environment, name in self._processes()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process of it, and those that have joined it."""

        def has_ended() -> bool:
            processes = self._processes()
            for pid, *_ in processes:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not processes

        wait_until(has_ended, "the end of the cluster", END_S)
        self._head.wait()
        self._output.close()
        shutil.rmtree(self._folder)

    def _printed(self) -> str:
        return (self._folder / "output.txt").read_text()

    def _config(
        self, worker: Mapping[str, float], max_workers: int, idle_s: float
    ) -> dict[str, Any]:
        lists = ("initialization", "setup", "head_setup", "worker_setup")
        return {
            "cluster_name": "tests",
            "max_workers": max_workers,
            "provider": {
                "type": "external",
                "module": "ray.autoscaler._private.fake_multi_node.node_provider"
                ".FakeMultiNodeProvider",
                "gcs_address": self.address,
                "head_node_id": FAKE_HEAD_NODE_ID,
                "use_node_id_as_ip": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
                "launch_multiple": True,
            },
            "available_node_types": {
                HEAD: {
                    "resources": {"CPU": 0},
                    "node_config": {},
                    "max_workers": 0,
                },
                WORKER: {
                    "resources": dict(worker) | {"object_store_memory": 80_000_000},
                    "node_config": {},
                    "max_workers": max_workers,
                },
            },
            "head_node_type": HEAD,
            "auth": {},
            "upscaling_speed": 100.0,
            "idle_timeout_minutes": idle_s / 60,
            "docker": {},
            **{f"{name}_commands": [] for name in lists},
            "head_start_ray_commands": [],
            "worker_start_ray_commands": [],
            "file_mounts": {},
            "cluster_synced_files": [],
            "file_mounts_sync_continuously": False,
            "rsync_exclude": [],
            "rsync_filter": [],
        }

    def _processes(self) -> list[tuple[int, dict[str, str], str]]:
        """Give the number, the environment and the name of each process of it."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended meanwhile
                lines = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
                environment = dict(line.split("=", 1) for line in lines if "=" in line)
                if environment.get(_MARK) == str(self._folder):
                    name = (folder / "comm").read_text().strip()
                    found.append((int(folder.name), environment, name))
        return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
