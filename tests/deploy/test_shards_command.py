import json

import pytest

from deploy.cli import main
from deploy.settings import load_settings
from ps.authority import CertificateAuthority
from ps.client import ClientSettings, ShardClient
from ps.folder import shard_folder
from ps.plan import ShardPlan
from ps.server import ServerSettings, ShardServer


@pytest.fixture
def strategy():
    return load_settings(overrides=["num_shards=2"]).untrained()


@pytest.fixture
def start(strategy, tmp_path):
    started = []

    def start(identities=(None, None), **settings):
        for shard, identity in enumerate(identities):
            started.append(
                ShardServer(
                    ShardPlan(strategy.layout, shard),
                    ServerSettings(**settings),
                    shard_folder(tmp_path, shard),
                    identity=identity,
                )
            )
        addresses = [server.address for server in started]
        (tmp_path / "settings.yaml").write_text(load_settings().to_yaml())
        (tmp_path / "endpoints.json").write_text(json.dumps({"shards": addresses}))
        return addresses

    yield start
    for server in started:
        server.close()


def rows_of(output):
    return [line.split() for line in output.splitlines()[-2:]]


def test_serving_shards_are_shown_with_their_numbers(strategy, start, tmp_path, capsys):
    addresses = start()
    with ShardClient(strategy.layout, addresses, ClientSettings()) as client:
        client.initialize(strategy.values)
        for sequence in (1, 2, 3):
            client.push(0, 1, sequence, (0, 0), strategy.values)
    assert main(["shards", str(tmp_path)]) == 0
    for shard, (row, owned) in enumerate(
        zip(rows_of(capsys.readouterr().out), strategy.layout.slices, strict=True)
    ):
        number = f"{owned.stop - owned.start:,}"
        # version 3, of the shard's first life
        assert row[:8] == [addresses[shard], "SERVING", str(shard), "of", "2", number, "3", "1"]
        # Stale by 0, 1 and 2 pushes.
        assert row[8:12] == ["mean", "1.00,", "max", "2"]
        assert row[12:] == ["3", "accepted,", "0", "repeated,", "0", "refused"]


def test_shard_without_values_is_not_serving(start, capsys):
    addresses = start(durability="none")
    assert main(["shards", addresses[0]]) == 1
    assert "NOT_SERVING" in capsys.readouterr().out


def test_shards_with_certificates_are_asked_with_the_observers(strategy, start, tmp_path, capsys):
    authority = CertificateAuthority.open_or_create(tmp_path / "certificates", "a run")
    launcher = authority.issue("launcher")
    authority.issue("observer")
    addresses = start([authority.issue("shard-0"), authority.issue("shard-1")])
    with ShardClient(strategy.layout, addresses, ClientSettings(), launcher) as client:
        client.initialize(strategy.values)
    assert main(["shards", str(tmp_path)]) == 0
    assert [row[:4] for row in rows_of(capsys.readouterr().out)] == [
        [addresses[0], "SERVING", "0", "of"],
        [addresses[1], "SERVING", "1", "of"],
    ]


def test_shards_whose_certificates_are_broken_are_a_mistake_that_is_named(start, tmp_path, capsys):
    start()
    (tmp_path / "certificates").mkdir()
    assert main(["shards", str(tmp_path)]) == 2
    assert "certificates/run: cannot be used" in capsys.readouterr().err
