"""One whole search through the command line's own function, with real Ray and real shards."""

import csv
import io
import json
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.runs import is_alive, overrides, pid_of
from support.waiting import wait_until

from child.convolutional.layer import Layer
from deploy.cli import main
from deploy.kept_network import KeptNetwork
from deploy.run import Run
from ps.status import read_status

PROCESSES = [
    *("shard-0", "shard-1", "shard-2", "ledger", "replica-0", "replica-1"),
    *("child-0-0", "child-0-1", "child-1-0", "child-1-1", "test"),
]


@dataclass
class Observer:
    """Asks the shards for their health, from beside the search, with the public stub."""

    run: Path
    seen: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self.stop.wait(0.05):
            try:
                addresses = json.loads((self.run / "endpoints.json").read_text())["shards"]
            except FileNotFoundError:
                continue
            answers = {
                (address, service): ask(address, service)
                for address in addresses
                for service in ("", "nasrl.ps.v1.ParameterShard")
            }
            self.metrics |= metrics_at(set(addresses) - set(self.metrics))
            # The addresses are withdrawn before the shards drain: until then they must serve.
            if (self.run / "endpoints.json").exists():
                for asked, answer in answers.items():
                    self.seen.setdefault(asked, set()).add(answer)


def ask(address: str, service: str) -> str:
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=5
            )
        except grpc.RpcError as error:
            return str(error.code())
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def metrics_at(addresses: set[str]) -> dict[str, str]:
    """Give what Prometheus sees of the shards at these addresses, if they have answered yet."""
    pages = {}
    for address in addresses:
        described = read_status(address).description
        if described is not None:
            with urlopen(f"http://127.0.0.1:{described.metrics_port}/metrics", timeout=5) as page:
                pages[address] = page.read().decode()
    return pages


@dataclass
class Searched:
    run: Run
    output: str
    health: dict[tuple[str, str], set[str]]
    metrics: dict[str, str]
    files: set[str]  # in the run directory, before anybody looked into it


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search of 10 trials that has ended, seen from all sides."""
    home = tmp_path_factory.mktemp("search")
    observer = Observer(home / "run")
    thread = threading.Thread(target=observer.watch, name="observer")
    thread.start()
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", output)
        try:
            changes = overrides(**{"shards.metrics_port_base": 0})
            code = main(["search", *changes, "--run-dir", str(home / "run")])
        finally:
            observer.stop.set()
            thread.join()
    assert code == 0, output.getvalue()
    files = {path.name for path in (home / "run").iterdir()}
    return Searched(Run(home / "run"), output.getvalue(), observer.seen, observer.metrics, files)


@pytest.fixture
def ledger(searched):
    with searched.run.ledger() as ledger:
        yield ledger


def test_every_trial_of_the_budget_is_recorded_once(ledger):
    trials = ledger.trials()
    assert [t.trial for t in trials] == list(range(1, 11))
    assert {t.state for t in trials} == {"completed"}


def test_every_reward_is_in_exactly_one_closed_push(ledger):
    pushes = ledger.pushes()
    carried = [trial for push in pushes for trial in push.trials]
    assert sorted(carried) == list(range(1, 11))
    assert all(push.closed_at is not None and push.gradient is None for push in pushes)


def test_versions_of_every_shard_count_the_pushes_without_a_gap(ledger):
    pushes = ledger.pushes()
    for shard in range(3):
        versions = sorted(push.versions[shard] for push in pushes)
        assert versions == list(range(1, len(pushes) + 1))


def test_staleness_is_what_happened_between_pull_and_push(ledger):
    for push in ledger.pushes():
        expected = [v - 1 - b for v, b in zip(push.versions, push.base_versions, strict=True)]
        assert push.staleness == expected


def test_sequences_of_a_replica_have_no_gap(ledger):
    pushes = ledger.pushes()
    for replica in (0, 1):
        own = [push.sequence for push in pushes if push.replica == replica]
        assert own == list(range(1, len(own) + 1))


def test_rewards_and_baselines_follow_the_method(ledger):
    average = None
    for trial in sorted(ledger.trials(), key=lambda t: t.record_number):
        assert trial.reward == pytest.approx(max(trial.validations) ** 3)
        assert trial.baseline == pytest.approx(average or 0.0)
        average = trial.reward if average is None else 0.9 * average + 0.1 * trial.reward


def test_health_was_serving_on_every_shard_as_the_public_stub_sees_it(searched):
    addresses = {address for address, _ in searched.health}
    assert len(addresses) == 3
    assert set(searched.health) == {
        (address, service)
        for address in addresses
        for service in ("", "nasrl.ps.v1.ParameterShard")
    }
    assert {state for states in searched.health.values() for state in states} == {"SERVING"}


def test_metrics_of_every_shard_are_where_it_says(searched):
    numbers = [
        re.search(r'nasrl_shard_version{shard="(\d)"}', p) for p in searched.metrics.values()
    ]
    assert sorted(number[1] for number in numbers) == ["0", "1", "2"]


def test_best_network_is_tested_once_and_repeats_its_accuracies(searched, ledger):
    best = ledger.trials(top=1)[0]
    assert list(ledger.tests()) == [best.trial]
    assert "tested once" in searched.output
    assert "did not repeat" not in searched.output


@pytest.mark.parametrize("process", PROCESSES)
def test_no_process_is_left_behind(searched, process):
    pid = pid_of(searched.run.path, process)
    wait_until(lambda: not is_alive(pid), f"the end of {process}", 15)


def test_run_directory_of_a_finished_search_holds_these_files(searched):
    assert searched.files == {
        "settings.yaml", "id", "begun", "ledger.sqlite",
        "logs", "networks", "shards", "tensorboard",
    }  # fmt: skip


def test_weights_of_the_network_that_was_tested_are_kept(searched, ledger):
    best = ledger.progress().best
    kept = KeptNetwork.find(searched.run.network_path(best.trial), best)
    assert {best.trial: kept.test} == ledger.tests()
    assert list(kept.validations) == best.validations


def test_output_without_a_terminal_is_plain_lines(searched):
    assert "\x1b" not in searched.output
    assert "the shards are serving at 127.0.0.1:" in searched.output
    assert "Search finished: 10 of 10 trials" in searched.output
    assert f"Run directory  {searched.run.path}" in searched.output


def test_settings_in_the_run_directory_are_those_that_ran(searched):
    written = yaml.safe_load((searched.run.path / "settings.yaml").read_text())
    assert written["num_shards"] == 3
    assert written["space"]["num_filters"] == [4, 8]
    assert searched.run.settings.num_trials == 10


def test_trials_as_json_have_everything_to_train_again(searched, capsys):
    assert main(["trials", str(searched.run.path), "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["trial"] for row in rows] == list(range(1, 11))
    for row in rows:
        assert row["state"] == "completed"
        assert len(row["decisions"]) == len(row["log_probs"]) >= 3 * 2 + 1
        assert len(row["architecture"]["layers"]) == row["depth"] == 3
        assert row["seed"] >= 0
        assert row["validation"] == max(row["validations"])


def test_trials_as_csv_are_one_line_each(searched, capsys):
    assert main(["trials", str(searched.run.path), "--top", "4", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    rewards = [float(row["reward"]) for row in rows]
    assert len(rows) == 4
    assert rewards == sorted(rewards, reverse=True)


def test_trials_as_table_name_the_architectures(searched, ledger, capsys):
    assert main(["trials", str(searched.run.path), "--top", "1"]) == 0
    shown = capsys.readouterr().out
    best = ledger.trials(top=1)[0]
    first = Layer.from_json(best.architecture["layers"][0])
    assert str(first.operation) in shown
    assert f"{best.validation:.1%}" in shown


def test_shards_of_a_finished_search_are_said_to_be_gone(searched, capsys):
    assert main(["shards", str(searched.run.path)]) == 2
    assert "has ended" in capsys.readouterr().err


def test_run_directory_that_exists_is_refused_and_left_as_it_is(searched, capsys):
    before = sorted(p.name for p in searched.run.path.rglob("*"))
    assert main(["search", *overrides(), "--run-dir", str(searched.run.path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert sorted(p.name for p in searched.run.path.rglob("*")) == before


def test_search_that_can_train_no_network_says_why_and_is_code_1(tmp_path, capsys):
    limited = overrides(**{"num_trials": 4, "training.max_parameters": 1})
    assert main(["search", *limited, "--run-dir", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().out
    assert "Search finished: 4 of 4 trials (4 infeasible)" in said
    assert "            4  max_parameters=1: the network has" in said
    with Run(tmp_path / "run").ledger() as ledger:
        assert all(trial.num_parameters > 10 for trial in ledger.trials())
