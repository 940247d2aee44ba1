import json

import pytest

from deploy.cli import main
from deploy.settings import load_settings
from ps.client import ClientSettings, ShardClient
from ps.server import ServerSettings, ShardServer
from ps.store import OptimizerSettings


@pytest.fixture
def strategy():
    return load_settings(overrides=["num_shards=2"]).untrained()


@pytest.fixture
def servers(strategy):
    started = [
        ShardServer(strategy.layout, shard, OptimizerSettings(), ServerSettings())
        for shard in range(2)
    ]
    yield started
    for server in started:
        server.close()


def test_serving_shards_are_shown_with_their_numbers(strategy, servers, tmp_path, capsys):
    addresses = [server.address for server in servers]
    with ShardClient(strategy.layout, addresses, ClientSettings()) as client:
        client.initialize(strategy.values)
        for sequence in (1, 2, 3):
            client.push(0, 1, sequence, (0, 0), strategy.values)
    (tmp_path / "settings.yaml").write_text(load_settings().to_yaml())
    (tmp_path / "endpoints.json").write_text(json.dumps({"shards": addresses}))
    assert main(["shards", str(tmp_path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    for shard, (line, owned) in enumerate(zip(lines, strategy.layout.slices, strict=True)):
        number = f"{owned.stop - owned.start:,}"
        assert line[:7] == [addresses[shard], "SERVING", str(shard), "of", "2", number, "3"]
        # Stale by 0, 1 and 2 pushes.
        assert line[7:11] == ["mean", "1.00,", "max", "2"]
        assert line[11:] == ["3", "accepted,", "0", "repeated,", "0", "refused"]


def test_shard_without_values_is_not_serving(servers, capsys):
    assert main(["shards", servers[0].address]) == 1
    assert "NOT_SERVING" in capsys.readouterr().out
