import json
import re

import pytest

from deploy.cli import main
from ps.authority import CertificateAuthority
from ps.client import ClientSettings, ShardClient
from ps.status import read_status


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


def printed_json(capsys):
    return json.loads(capsys.readouterr().out)


def test_json_has_everything_that_a_shard_says(start, started, tmp_path, capsys):
    addresses = start(metrics_ports=(0, None))
    assert main(["shards", str(tmp_path), "--format", "json"]) == 1
    described = [server.describe() for server in started]
    assert printed_json(capsys) == [
        {
            "run": tmp_path.name,
            "shard": shard,
            "address": address,
            "health": "NOT_SERVING",
            "reason": "",
            "metrics": metrics,
            "description": vars(description) | {"layout_sha256": description.layout_sha256.hex()},
        }
        for shard, address, description, metrics in zip(
            range(2),
            addresses,
            described,
            (f"127.0.0.1:{described[0].metrics_port}", None),
            strict=True,
        )
    ]


def test_json_of_a_shard_that_does_not_answer_says_which_and_why(start, started, tmp_path, capsys):
    _, address = start()
    started[1].close()
    for target, number in ((str(tmp_path), 1), (address, None)):
        assert main(["shards", target, "--format", "json"]) == 1
        shard = printed_json(capsys)[-1]
        assert (shard["health"], shard["description"]) == ("UNREACHABLE", None)
        assert (shard["shard"], shard["reason"]) == (number, "UNAVAILABLE: nothing listens there")


def test_table_says_which_shard_does_not_answer(start, started, tmp_path, capsys):
    _, address = start()
    started[1].close()
    assert main(["shards", str(tmp_path)]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split()[:4] == [address, "UNREACHABLE", "1", "UNAVAILABLE:"]


@pytest.mark.parametrize("form", ["table", "json"])
def test_exit_code_is_whether_all_serve_in_every_format(strategy, start, started, tmp_path, form):
    addresses = start(metrics_ports=(0, 0))
    with ShardClient(strategy.layout, addresses, ClientSettings()) as client:
        client.initialize(strategy.values)
    assert main(["shards", str(tmp_path), "--format", form]) == 0
    started[1].close()
    assert main(["shards", str(tmp_path), "--format", form]) == 1


def test_table_has_a_column_for_metrics_where_there_are_any(start, capsys):
    without, with_metrics = start(metrics_ports=(None, 0))
    main(["shards", without])
    assert "metrics" not in capsys.readouterr().out
    main(["shards", without, with_metrics])
    heading, *_, row = capsys.readouterr().out.splitlines()
    assert "metrics port" in heading
    assert re.search(r" \d+ +mean", row)


def test_search_that_ends_while_its_shards_are_asked_is_not_called_broken(
    start, started, tmp_path, capsys, monkeypatch
):
    start()

    def end_then_ask(*arguments, **named):
        (tmp_path / "endpoints.json").unlink(missing_ok=True)
        started[0].close()
        return read_status(*arguments, **named)

    monkeypatch.setattr("deploy.asked_shards.read_status", end_then_ask)
    assert main(["shards", str(tmp_path)]) == 2
    assert "the search has ended and stopped them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        (["--watch", "RUN"], 2),
        (["RUN", "--watch"], 2),
        (["--watch", "5", "RUN"], 5),
        (["RUN", "--watch=5"], 5),
    ],
)
def test_seconds_between_two_looks_may_be_left_out(arguments, seconds, tmp_path, monkeypatch):
    (tmp_path / "settings.yaml").touch()
    intervals = []
    monkeypatch.setattr(
        "deploy.shard_watch.watch", lambda look, screen, interval_s: intervals.append(interval_s)
    )
    assert main(["shards", *(word.replace("RUN", str(tmp_path)) for word in arguments)]) == 0
    assert intervals == [seconds]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--watch", "0"], "0 is not in the range 1<=x<=3600"),
        (["--watch", "5", "--format", "json"], "--format json: must be table with --watch"),
        (["--format", "xml"], "'xml' is not one of 'table', 'json'"),
    ],
)
def test_option_that_cannot_be_is_refused(arguments, message, tmp_path, capsys):
    assert main(["shards", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err
