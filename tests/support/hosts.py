"""A Ray cluster on hosts of its own, out of namespaces; tests/cluster/hosts.sh makes them."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from support.waiting import wait_until

from controller.records import Progress
from deploy.run import Run

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "cluster" / "hosts.sh"
TOKEN = "/share/nasrl/ray-token"
UP_S = 180
# The environment of whoever talks to Ray there.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN_PATH": TOKEN,
    "PYTHONPATH": "/share/code:/share/code/tests",
}
ADDRESSES = {"driver": "10.77.0.1", "head": "10.77.0.2", "w1": "10.77.0.3", "w2": "10.77.0.4"}


def obstacle() -> str | None:
    """Say why hosts cannot be made on this machine; None where they can."""
    if os.geteuid() != 0:
        return "hosts are made by root alone"
    missing = [tool for tool in ("sshd", "rsync", "ip", "unshare") if not _path_of(tool)]
    if missing:
        return f"hosts need {', '.join(missing)}: apt install openssh-server rsync iproute2"
    overlay = (
        "mount -t tmpfs tmpfs /mnt && mkdir /mnt/upper /mnt/work /mnt/root && mount -t overlay "
        "overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root"
    )
    probe = [
        "unshare",
        "--net",
        "--pid",
        "--mount",
        "--uts",
        "--ipc",
        "--fork",
        "sh",
        "-c",
        overlay,
    ]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        return "this machine lets nobody make namespaces, or overlays in them"
    return None


def _path_of(tool: str) -> str | None:
    return shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


class Hosts:
    """A driver, a head and two workers, which share the folder /share.

    The head and w1 have two processors each and no GPU; w2 has two processors and two pretended
    GPUs, which Ray places and numbers like real ones.
    """

    def __init__(self, folder: Path) -> None:
        """Make the hosts; folder must be empty."""
        self.share = folder / "share"
        (self.share / "nasrl").mkdir(parents=True)
        (self.share / "nasrl" / "ray-token").write_text(secrets.token_hex(32))
        for name in ("child", "controller", "deploy", "nasrl", "ps", "tests", "workers"):
            shutil.copytree(
                ROOT / name, self.share / "code" / name, ignore=shutil.ignore_patterns("*.pyc")
            )
        self._environment = os.environ | {
            "STATE": str(folder / "state"),
            "SHARE": str(self.share),
            "VENV": sys.prefix,
        }
        self._begun: list[subprocess.Popen[bytes]] = []
        self._script("up", *ADDRESSES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._script("down")
        for process in self._begun:
            process.wait(UP_S)

    def start_ray(self) -> None:
        """Run `ray up`, as docs/clusters.md says, and wait for all nodes."""
        (self.share / "cluster.yaml").write_text(cluster_file())
        print(self.run("driver", "ray", "up", "--yes", "/share/cluster.yaml"))
        self.wait_for(lambda: self.num_nodes() == 3, "three nodes", UP_S)
        self.begin("driver", "ray", "dashboard", "/share/cluster.yaml")
        self.wait_for(lambda: "200" in self._dashboard(), "the dashboard", UP_S)

    def num_nodes(self) -> int:
        """Ask Ray how many nodes are alive."""
        said = self.run("head", "ray", "list", "nodes", "--filter", "state=ALIVE")
        return len(re.findall(r"\bALIVE\b", said))

    def submit(self, name: str, *command: str) -> None:
        """Submit a job from the driver host, and do not wait for it."""
        address = ["--address", "http://127.0.0.1:8265", "--submission-id", name, "--no-wait"]
        self.run("driver", "ray", "job", "submit", *address, "--", *command)

    def end_of(self, name: str, timeout_s: float) -> str:
        """Wait for the end of a job that must succeed; give what it has printed."""
        address = ("--address", "http://127.0.0.1:8265")
        deadline = time.monotonic() + timeout_s
        while True:
            said = self.run("driver", "ray", "job", "status", *address, name).upper()
            status = re.findall(r"PENDING|RUNNING|SUCCEEDED|FAILED|STOPPED", said)[-1]
            if status not in ("PENDING", "RUNNING"):
                break
            assert time.monotonic() < deadline, f"job {name}: no end within {timeout_s} s"
            time.sleep(5)  # to ask costs a second of a processor
        printed = self.run("driver", "ray", "job", "logs", *address, name)
        assert status == "SUCCEEDED", printed
        return printed

    def run(self, host: str, *command: str, code: int | None = 0) -> str:
        """Run a command on a host; give what it printed, and fail unless it ends with the code."""
        done = subprocess.run(
            self._command(host, command),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=UP_S,
            check=False,
        )
        said = done.stdout + done.stderr
        assert code is None or done.returncode == code, f"{command}: {done.returncode}: {said}"
        return said

    def begin(self, host: str, *command: str) -> None:
        """Start a command on a host; it ends with the hosts."""
        process = subprocess.Popen(
            self._command(host, command),
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._begun.append(process)

    def cut_power(self, host: str) -> None:
        self._script("kill", host)

    def replace(self, host: str) -> None:
        """Put a blank host at the address of one whose power was cut."""
        self._script("add", host)

    def pull_cable(self, host: str) -> None:
        self._script("cut", host)

    def put_cable_back(self, host: str) -> None:
        self._script("heal", host)

    @staticmethod
    def wait_for(condition: Callable[[], object], what: str, timeout_s: float) -> None:
        """Look twice a second: what runs there has the processors to itself meanwhile."""

        def look() -> object:
            time.sleep(0.5)
            return condition()

        wait_until(look, what, timeout_s)

    def _dashboard(self) -> str:
        probe = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8265').status)"
        return self.run("driver", "python", "-c", probe, code=None)

    def _command(self, host: str, command: Sequence[str]) -> list[str]:
        settings = [f"{key}={value}" for key, value in ENVIRONMENT.items()]
        return [str(SCRIPT), "exec", host, "env", *settings, *command]

    def _script(self, *arguments: str) -> None:
        done = subprocess.run(
            [str(SCRIPT), *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=UP_S,
            check=False,
        )
        assert done.returncode == 0, f"hosts.sh {arguments}: {done.stdout}{done.stderr}"


class RunOnHosts:
    """The run directory of a search there, as this machine sees it."""

    def __init__(self, hosts: Hosts, name: str) -> None:
        self.path = hosts.share / "runs" / name

    def progress(self) -> Progress | None:
        """Read the ledger, if it is there."""
        if not (self.path / "begun").exists():
            return None
        with Run(self.path).ledger() as ledger:
            return ledger.progress()

    def num_recorded(self) -> int:
        progress = self.progress()
        return 0 if progress is None else progress.num_recorded

    def log(self, process: str) -> str:
        path = self.path / "logs" / f"{process}.log"
        return path.read_text() if path.exists() else ""


def cluster_file() -> str:
    """Give deploy/cluster-local.yaml with the five lines changed, for hosts without a network.

    nasrl is there already, and every host sees the whole machine, so it is told what it has.
    """
    text = (ROOT / "deploy" / "cluster-local.yaml").read_text()
    gpus = "$(test $(hostname) = w2 && echo --num-gpus=2 || echo --num-gpus=0)"
    small = "--num-cpus=2 --object-store-memory=200000000"
    for old, new in {
        "10.0.0.1": ADDRESSES["head"],
        "[10.0.0.2, 10.0.0.3]": f"[{ADDRESSES['w1']}, {ADDRESSES['w2']}]",
        "ssh_user: ubuntu": "ssh_user: root",
        "~/.ssh/id_ed25519": "~/.ssh/id_hosts",
        "{~/nasrl: .}": "{}",
        "PATH=~/nasrl-venv/bin:$PATH": f"PYTHONPATH={ENVIRONMENT['PYTHONPATH']}",
        "~/nasrl-venv/bin/": "",
        "/shared/": "/share/",
        "--num-gpus=0": f"--num-gpus=0 {small}",
        "ray start --address=$RAY_HEAD_IP:6379": f"ray start --address=$RAY_HEAD_IP:6379 {gpus} "
        f"{small}",
    }.items():
        assert old in text, f"{old} is not in deploy/cluster-local.yaml"
        text = text.replace(old, new)
    return re.sub(r"^setup_commands:\n(  [-#] .*\n)+", "setup_commands: []\n", text, flags=re.M)
