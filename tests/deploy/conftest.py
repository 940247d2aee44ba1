from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from support.children import infeasible
from support.rounds import record_one

from child.training import ChildTrainer
from controller.baseline import Baseline
from controller.ledger import Ledger
from controller.records import SearchRecord
from controller.trial import Start
from deploy.kept_network import KeptNetwork
from deploy.run import Run
from deploy.settings_file import load_settings
from ps.authority import CertificateAuthority
from ps.folder import shard_folder
from ps.plan import ShardPlan
from ps.server import ServerSettings, ShardServer

CPU = torch.device("cpu")
SMALL_IMAGES = [
    "data.num_validation=1400", "data.num_test=297", "training.num_epochs=2",
    "training.batch_size=20", "space.num_filters=[2,3]",
]  # fmt: skip
SMALL_TEXT = [
    "model.num_parameters=null", "model.hidden_size=6", "training.num_epochs=1", "space.base=3",
    "training.num_steps=10", "training.batch_size=4",
]  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    # On tensors as small as these several threads only wait for each other.
    torch.set_num_threads(1)


@dataclass
class Searched:
    """A run whose trials 1 and 2 were trained; 3 is infeasible, 4 has the result of 1, 5 is begun.

    tested: of the best of the two.
    """

    run: Run
    settings: object
    data: object
    results: dict
    best: int
    tested: object

    def keep(self):
        """Keep the network that was tested, as the end of a search does."""
        with self.run.ledger() as ledger:
            row = ledger.progress().best
        kept = KeptNetwork(
            row.trial, row.architecture_sha256, self.tested.result.validations,
            self.tested.test, self.tested.weights,
        )  # fmt: skip
        kept.write(self.run.network_path(row.trial))
        return kept

    def record_test(self):
        with Ledger(self.run.ledger_url) as ledger:
            ledger.record_test(self.best, self.tested.test)


def searched(path, settings, change=lambda result: result):
    """Make the run of a search; change is done to results before they are recorded."""
    run = Run.create(path, settings)
    task, data = settings.task, settings.data.load()
    record = SearchRecord(5, Baseline(0.9), settings.depths, task.metric, {}, {})
    trainer = ChildTrainer(task.passes(data.search, CPU))
    results, tests = {}, {}
    with Ledger.create(run.ledger_url, record) as ledger:
        owner = ledger.enlist(0, ledger.begin_life("here", 1)).owner
        ledger.reserve(owner, 5)
        for trial, choice in {1: 1, 2: 0, 3: 2, 4: 1, 5: 3}.items():
            taken, architecture = written(task.space, settings.depths.depth(1), choice)
            seed = 70 + trial
            start = Start(
                trial, taken, (0.0,) * len(taken), architecture.to_json(), str(architecture),
                seed, (0,),
            )  # fmt: skip
            ledger.start(owner, [start], reuse=trial == 4)
            if trial < 3:
                build = partial(task.build, architecture, data.search)
                results[trial] = change(trainer.train(build, seed))
                tests[trial] = trainer.test(build, seed, data.test)
                record_one(ledger, owner, trial, results[trial])
        record_one(ledger, owner, 3, infeasible("max_parameters=9: the network has 10"))
    best = max(results, key=lambda trial: results[trial].reward)
    return Searched(run, settings, data, results, best, tests[best])


def written(space, depth, choice):
    """Give the decisions of a list in which the same is chosen wherever it can be."""
    taken = []
    while decision := space.next_decision([c for _, c in taken], depth):
        taken.append((decision.kind, choice % decision.num_choices))
    return tuple(taken), space.decode([c for _, c in taken], depth)


@pytest.fixture
def images(tmp_path):
    return searched(tmp_path / "digits-run", load_settings("digits", SMALL_IMAGES))


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat; é. " * 60, encoding="utf-8")
    data = f"data={{name: text, path: {path}, unit: characters}}"
    return searched(tmp_path / "text-run", load_settings("cells", [data, *SMALL_TEXT]))


@pytest.fixture
def unrepeatable(tmp_path):
    """A run whose results were those of other processors."""

    def change(result):
        return replace(result, validations=tuple(v * 0.5 for v in result.validations))

    return searched(tmp_path / "gpu-run", load_settings("digits", SMALL_IMAGES), change)


@pytest.fixture
def started():
    """The servers, for those who close one; closed at the end."""
    servers = []
    yield servers
    for server in servers:
        server.close()


@pytest.fixture
def strategy():
    """What two shards are given to hold."""
    return load_settings(overrides=["num_shards=2"]).untrained()


@pytest.fixture
def start(strategy, tmp_path, started):
    """Give a function that starts two shards whose run directory is tmp_path."""

    def start(identities=(None, None), is_searched=True, metrics_ports=(None, None), **settings):
        for shard, identity in enumerate(identities):
            started.append(
                ShardServer(
                    ShardPlan(strategy.layout, shard),
                    ServerSettings(**settings),
                    shard_folder(tmp_path, shard),
                    identity=identity,
                    metrics_port=metrics_ports[shard],
                )
            )
        addresses = [server.address for server in started]
        given = [] if is_searched else addresses
        chosen = load_settings(overrides=[f"shards.addresses={json.dumps(given)}"])
        (tmp_path / "settings.yaml").write_text(chosen.to_yaml())
        if is_searched:
            (tmp_path / "endpoints.json").write_text(json.dumps({"shards": addresses}))
        return addresses

    return start


@pytest.fixture
def authority(tmp_path):
    """The certificate authority of that run."""
    authority = CertificateAuthority.open_or_create(tmp_path / "certificates", "a run")
    authority.issue("observer")
    return authority
