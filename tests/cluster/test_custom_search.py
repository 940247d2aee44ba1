"""A search over a space of the user's, submitted to a cluster whose hosts have none of the code."""

from __future__ import annotations

import re

import pytest
from support.audit import audit
from support.hosts import RunOnHosts

from deploy.run import Run

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

SPACE = """
from nasrl import ChoiceSpace
from my_layer import Layer

class Space(ChoiceSpace):
    choices = {"units": [4, 8, 16]}

    def write(self, choose):
        return Layer(choose("units"))
"""
# A class of the user's own is what travels from the replica to the worker.
LAYER = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Layer:
    units: int
"""
TRAINING = """
import socket, time
from my_layer import Layer
from nasrl import Outcome

def train(architecture, *, device, seed, report, hosts):
    assert isinstance(architecture, Layer)
    time.sleep(1)
    return Outcome(architecture.units / 16, metrics={"host": hosts.index(socket.gethostname())})
"""
SETTINGS = """
space: my_space:Space
trainer: my_training:train
trainer_options: {hosts: [head, w1, w2]}
num_trials: 24
num_replicas: 3
num_shards: 1
children: {per_replica: 2, num_cpus: 1, num_gpus: 0}
"""


def test_code_reaches_the_workers_of_all_hosts(hosts):
    there = "/share/not-on-any-path"
    for name, text in {
        "my_space.py": SPACE,
        "my_layer.py": LAYER,
        "my_training.py": TRAINING,
        "search.yaml": SETTINGS,
    }.items():
        hosts.run("driver", "mkdir", "-p", there)
        hosts.run("driver", "sh", "-c", f"cat > {there}/{name} <<'END'\n{text}\nEND")
    run = RunOnHosts(hosts, "custom")
    said = hosts.run(
        "driver", "nasrl", "submit", f"{there}/search.yaml", "--run-dir", "/share/runs/custom",
        "--no-wait",
    )  # fmt: skip
    [job] = re.findall(r"nasrl-share-runs-custom-\w+", said)
    # From here on the originals are of no use to anybody.
    hosts.run("driver", "rm", "-r", there)

    printed = hosts.end_of(job, 300)

    assert "Search finished: 24 of 24 trials" in printed
    audit(run.path, 24, num_shards=1, decay=0.95)
    with Run(run.path).ledger() as ledger:
        trials = ledger.trials()
    assert {trial.state for trial in trials} == {"completed"}, [t.reason for t in trials]
    assert len({trial.metrics["host"] for trial in trials}) > 1, "all children were on one host"
