import json

import pytest

from deploy.cli import main
from deploy.settings_file import load_settings
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

    def start(identities=(None, None), is_searched=True, **settings):
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
        given = [] if is_searched else addresses
        chosen = load_settings(overrides=[f"shards.addresses={json.dumps(given)}"])
        (tmp_path / "settings.yaml").write_text(chosen.to_yaml())
        if is_searched:
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


@pytest.fixture
def authority(tmp_path):
    authority = CertificateAuthority.open_or_create(tmp_path / "certificates", "a run")
    authority.issue("observer")
    return authority


def test_shards_that_somebody_else_started_are_shown_without_a_search(
    authority, start, tmp_path, capsys
):
    addresses = start([authority.issue("shard-0"), authority.issue("shard-1")], is_searched=False)
    assert main(["shards", str(tmp_path)]) == 1
    assert [row[:4] for row in rows_of(capsys.readouterr().out)] == [
        [addresses[0], "NOT_SERVING", "0", "of"],
        [addresses[1], "NOT_SERVING", "1", "of"],
    ]


def test_address_is_asked_with_the_certificates_that_are_given(authority, start, tmp_path, capsys):
    _, second = start([authority.issue("shard-0"), authority.issue("shard-1")])
    assert main(["shards", second, "--certificates", str(tmp_path / "certificates")]) == 1
    assert rows_of(capsys.readouterr().out)[-1][:4] == [second, "NOT_SERVING", "1", "of"]


def test_address_that_has_tls_is_asked_for_its_run_directory(authority, start, capsys):
    address, _ = start([authority.issue("shard-0"), authority.issue("shard-1")])
    assert main(["shards", address]) == 1
    printed = capsys.readouterr()
    assert "UNREACHABLE" in printed.out
    assert printed.err == (
        "A shard that has TLS is asked by its run directory, or with --certificates.\n"
    )


def test_run_whose_settings_cannot_be_read_any_more_is_a_mistake_that_is_named(tmp_path, capsys):
    (tmp_path / "settings.yaml").write_text("seed: [\n")
    assert main(["shards", str(tmp_path)]) == 2
    assert "settings.yaml cannot be read: " in capsys.readouterr().err


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "127.0.0.1:0", "nowhere"])
def test_target_that_is_no_address_is_refused(address, capsys):
    assert main(["shards", address]) == 2
    assert "must be host:port, with a port from 1 to 65535" in capsys.readouterr().err


def test_shards_whose_certificates_are_broken_are_a_mistake_that_is_named(start, tmp_path, capsys):
    start()
    (tmp_path / "certificates").mkdir()
    assert main(["shards", str(tmp_path)]) == 2
    assert "certificates/run: cannot be used" in capsys.readouterr().err
