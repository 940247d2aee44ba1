"""What Prometheus sees of a shard, through its own endpoint."""

import ssl
import urllib.error
import urllib.request

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.clock import FakeClock

from ps import points
from ps.authority import CertificateAuthority
from ps.client import ClientSettings, ShardClient
from ps.errors import OutOfSequence
from ps.layout import Layout
from ps.metrics import ShardMetrics
from ps.plan import ShardPlan
from ps.push import PushAnswer
from ps.server import ServerSettings, ShardServer

LAYOUT = Layout((("weight", (4,)),), num_shards=1)
VALUES = np.array([1, -2, 3, -4], np.float32)


def samples_of(text):
    return {
        (sample.name, *(v for k, v in sorted(sample.labels.items()) if k != "shard")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(port, scheme="http", context=None):
    url = f"{scheme}://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url, timeout=5, context=context) as answer:
        return answer.read().decode()


def metrics_port(log):
    [line] = [m for m in log.messages if ": metrics at 127.0.0.1:" in m]
    return int(line.rpartition(":")[2].partition("/")[0])


@pytest.fixture
def serve(tmp_path, caplog):
    servers = []

    def start(identity=None):
        settings = ServerSettings(checkpoint_pushes=2)
        with caplog.at_level("INFO", "ps.server"):
            servers.append(
                ShardServer(
                    ShardPlan(LAYOUT, 0),
                    settings,
                    tmp_path / "state",
                    identity=identity,
                    metrics_port=0,
                )
            )
        return servers[-1], metrics_port(caplog)

    yield start
    for server in servers:
        server.close()


def test_scrape_of_a_shard_tells_what_it_has_done(serve):
    server, port = serve()
    with ShardClient(LAYOUT, [server.address], ClientSettings()) as client:
        client.initialize(VALUES)
        for sequence, base in ((1, 0), (1, 0), (2, 1)):
            client.push(3, 1, sequence, [base], VALUES, [0])
        client.checkpoint()
        with pytest.raises(OutOfSequence, match="sequence must be 3"):
            client.push(3, 1, 9, [0], VALUES)

        found = samples_of(scrape(port))

    assert found["nasrl_shard_pushes_total", "accepted"] == 2
    assert found["nasrl_shard_pushes_total", "repeated"] == 1
    assert found["nasrl_shard_pushes_total", "OutOfSequence"] == 1
    assert found["nasrl_shard_staleness_pushes_count",] == 2
    assert found["nasrl_shard_staleness_pushes_sum",] == 0
    assert found["nasrl_shard_sample_staleness_pushes_count",] == 2
    assert found["nasrl_shard_sample_staleness_pushes_sum",] == 1
    assert found["nasrl_shard_version",] == 2
    assert found["nasrl_shard_epoch",] == 1
    assert found["nasrl_shard_calls",] == 0
    assert found["nasrl_shard_apply_seconds_count",] == 3
    # The begin of the journal, the first values, two pushes and what the checkpoints begin with.
    assert found["nasrl_shard_sync_seconds_count",] >= 5
    assert found["nasrl_shard_checkpoint_seconds_count",] >= 1
    assert found["nasrl_shard_journal_bytes",] > 0
    assert 0 < found["nasrl_shard_recovery_seconds",] < 60
    assert 0 <= found["nasrl_shard_last_push_seconds", "3"] < 60
    assert found["nasrl_shard_turned_away_total",] == 0


def test_seconds_since_the_last_push_of_a_replica_grow_until_it_pushes_again():
    clock = FakeClock()
    metrics = ShardMetrics(5, clock)

    def seconds():
        return metrics.registry.get_sample_value(
            "nasrl_shard_last_push_seconds", {"shard": "5", "replica": "7"}
        )

    assert seconds() is None
    metrics.accepted(7, PushAnswer(1, 1, 0, 2))
    clock.advance(3)
    assert seconds() == 3
    metrics.accepted(7, PushAnswer(1, 1, 0, 2, is_repeated=True))
    assert seconds() == 0


def test_health_is_told_from_the_first_values_to_the_drain(serve):
    server, port = serve()
    assert samples_of(scrape(port))["nasrl_shard_is_serving",] == 0
    with ShardClient(LAYOUT, [server.address], ClientSettings()) as client:
        client.initialize(VALUES)
    assert samples_of(scrape(port))["nasrl_shard_is_serving",] == 1
    server.close()
    is_serving = server.metrics.registry.get_sample_value("nasrl_shard_is_serving", {"shard": "0"})
    assert is_serving == 0


def test_scrape_of_a_shard_with_tls_takes_a_certificate_of_its_search(serve, tmp_path):
    authority = CertificateAuthority.open_or_create(tmp_path / "certificates", "a run")
    observer = authority.issue("observer")
    _, port = serve(authority.issue("shard-0"))
    context = ssl.create_default_context(cafile=observer.authority)
    context.check_hostname = False  # names in certificates are no addresses

    with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
        scrape(port, "https", context)
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        scrape(port)
    context.load_cert_chain(observer.certificate, observer.key)

    assert "nasrl_shard_version" in scrape(port, "https", context)


def test_scrape_of_a_shard_that_recovers_is_answered(serve, monkeypatch, caplog):
    scraped = []

    def scrape_once(point):
        if point == "state replayed":
            scraped.append(samples_of(scrape(metrics_port(caplog))))

    monkeypatch.setattr(points, "reached", scrape_once)

    serve()

    assert [found["nasrl_shard_version",] for found in scraped] == [0]


def test_endpoint_is_gone_when_the_shard_is_closed(serve):
    server, port = serve()

    server.close()

    with pytest.raises(urllib.error.URLError):
        scrape(port)
