"""What a whole search exposes, and what deploy/monitoring and its page make of it."""

import contextlib
import re
import socket
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.monitoring import MONITORING, expressions
from support.promql import parse
from support.runs import START_S, SearchProcess
from support.waiting import wait_until

from deploy.run import Run
from deploy.scrape_targets import scrape_targets

# What Prometheus itself adds.
OF_A_TARGET = {"job", "instance", "run", "process"}
OF_PROMETHEUS = {"up": {"run": {"run"}}}
PROCESSES = {"search", "replica-0", "shard-0", "shard-1", "shard-2"}
NUM_TRIALS = 10


@dataclass
class Exposed:
    """Everything that was ever seen: the values of each label of each sample, and each family."""

    labels: dict = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))
    values: dict = field(default_factory=dict)
    families: dict = field(default_factory=dict)
    processes: set = field(default_factory=set)

    def take(self, process, text):
        self.processes.add(process)
        for family in text_string_to_metric_families(text):
            if family.name.endswith("_created"):
                continue  # the library's own
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels}
            own = process.partition("-")[0]  # whose number all of them have
            self.families[name] = self.families.get(name, set()) | labels - {"le", own}
            for sample in family.samples:
                found = self.labels[sample.name]
                for label, value in sample.labels.items():
                    found[label].add(value)
                self.values[process, sample.name, *sorted(sample.labels.items())] = sample.value


def fetch(target):
    [address] = target["targets"]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as page:
        return page.read().decode()


@pytest.fixture(scope="module")
def taken():
    """A port that is taken on loopback, behind one that is free."""
    for port in range(20_000, 30_000, 7):
        with contextlib.suppress(OSError), socket.socket() as free, socket.socket() as held:
            free.bind(("127.0.0.1", port - 1))
            free.close()
            held.bind(("127.0.0.1", port))
            held.listen()
            yield port
            return
    pytest.fail("no two ports beside each other are free")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("monitoring") / "run"


@pytest.fixture(scope="module")
def exposed(path, taken):
    """Run a small search, and scrape all of it for as long as it runs.

    The port of replica 1 is taken by somebody else.
    """
    found = Exposed()
    ports = {
        "shards.metrics_port_base": 0,
        "metrics.search_port": 0,
        "metrics.replica_port_base": taken - 1,
    }
    with SearchProcess.new(path, num_trials=NUM_TRIALS, **ports) as search:
        wait_until((path / "endpoints.json").exists, "the shards", START_S)

        known = {}

        def scrape():
            # The search tells how it ended when shards and replicas are gone, and so are targets.
            new = scrape_targets([str(path)]).targets
            known.update({target["labels"]["process"]: target for target in new})
            for process, target in known.items():
                with contextlib.suppress(OSError):  # it may have ended
                    found.take(process, fetch(target))
            return not search.is_running

        wait_until(scrape, "the end of the search", START_S)
        code, output = search.end(5)
    assert code == 0, output
    return found


def test_every_process_of_a_search_with_a_page_was_a_target(exposed):
    assert exposed.processes == PROCESSES


def test_replica_whose_port_is_taken_warns_and_works_without(exposed, path, taken):
    log = (path / "logs" / "replica-1.log").read_text()
    assert f"port {taken} at 127.0.0.1: metrics cannot be there: " in log
    assert exposed.values["search", "nasrl_search_replicas", ("state", "alive")] == 2
    with Run(path).ledger() as ledger:
        assert {trial.replica for trial in ledger.trials()} == {0, 1}


def test_search_whose_own_port_is_taken_does_not_begin(tmp_path, taken):
    with SearchProcess.new(tmp_path / "run", **{"metrics.search_port": taken}) as search:
        code, output = search.end(START_S)
    assert code == 2
    assert f"metrics.search_port={taken}: must be one that the search can listen on" in output
    assert not (tmp_path / "run").exists()


def test_search_is_told_as_it_ended(exposed):
    of_search = exposed.values.get
    assert of_search(("search", "nasrl_search_recorded_trials_total")) == NUM_TRIALS
    assert of_search(("search", "nasrl_search_budget_trials")) == NUM_TRIALS
    assert of_search(("search", "nasrl_search_replicas", ("state", "wanted"))) == 2
    assert of_search(("search", "nasrl_search_child_workers", ("state", "wanted"))) == 4


@pytest.mark.parametrize(
    "expression", [pytest.param(expression, id=place) for place, expression in expressions()]
)
def test_every_metric_and_label_that_is_asked_for_is_exposed(exposed, expression):
    query = parse(expression)
    assert query.selectors
    for metric, matchers in query.selectors:
        known = OF_PROMETHEUS.get(metric) or exposed.labels.get(metric)
        assert known is not None, f"nobody exposes {metric}"
        unknown = (set(matchers) | query.grouped_by) - set(known) - OF_A_TARGET
        assert not unknown, f"{metric} has no {unknown}, only {set(known)}"
        for label, (sign, value) in matchers.items():
            is_seen = label in OF_A_TARGET or sign != "=" or value in known[label]
            assert is_seen, f"{metric} has no {label}={value}, only {known[label]}"


def test_every_metric_that_is_exposed_is_shown_or_watched(exposed):
    used = {metric for _, expression in expressions() for metric, _ in parse(expression).selectors}
    whole = {re.sub("_(bucket|sum|count)$", "", metric) for metric in used} | used
    assert set(exposed.families) - whole == set()


def test_page_about_monitoring_has_every_metric_with_its_labels(exposed):
    page = (MONITORING.parents[1] / "docs" / "monitoring.md").read_text()
    rows = re.findall(r"^\| `(nasrl_\w+)(?:\{([\w, ]+)\})?` \|", page, re.MULTILINE)
    told = {name: {label for label in labels.split(", ") if label} for name, labels in rows}
    assert len(rows) == len(told)
    assert told == exposed.families
