"""`nasrl metrics`: the targets that Prometheus is given, and the files that come with nasrl."""

import json
import ssl
from urllib.request import urlopen

import pytest

from deploy.cli import main
from deploy.commands import metrics
from deploy.run import Run
from deploy.settings_file import load_settings

ADDRESSES = {"search": "127.0.0.1:7", "replica-1": "127.0.0.1:8"}


def printed_json(capsys):
    return json.loads(capsys.readouterr().out)


def scraped(target, context=None):
    [address] = target["targets"]
    url = f"{target['labels']['__scheme__']}://{address}/metrics"
    with urlopen(url, timeout=5, context=context) as page:
        return page.read().decode()


def test_targets_are_the_metrics_of_each_shard(start, tmp_path, capsys):
    start(metrics_ports=(0, 0))
    assert main(["metrics", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    targets = json.loads(printed.out)
    assert printed.err == ""
    for shard, target in enumerate(targets):
        assert f'nasrl_shard_version{{shard="{shard}"}}' in scraped(target)
    assert [target["labels"] for target in targets] == [
        {"__scheme__": "http", "run": tmp_path.name, "process": f"shard-{shard}"}
        for shard in range(2)
    ]


def test_search_and_replicas_are_targets_where_they_are_published(start, tmp_path, capsys):
    start()
    Run(tmp_path).publish_endpoints(Run(tmp_path).endpoints(), ADDRESSES)
    assert main(["metrics", str(tmp_path)]) == 0
    assert printed_json(capsys) == [
        {
            "targets": [address],
            "labels": {"__scheme__": "http", "run": tmp_path.name, "process": process},
        }
        for process, address in ADDRESSES.items()
    ]


def test_targets_with_tls_are_scraped_with_the_observers_certificate(
    authority, start, tmp_path, capsys
):
    identities = [authority.issue("shard-0"), authority.issue("shard-1")]
    _, second = start(identities, metrics_ports=(0, 0))
    certificates = tmp_path / "certificates"
    main(["metrics", second, "--certificates", str(certificates)])
    [target] = printed_json(capsys)
    assert target["labels"] == {"__scheme__": "https", "process": "shard-1"}
    context = ssl.create_default_context(cafile=certificates / "authority.pem")
    context.check_hostname = False  # names in certificates are no addresses
    context.load_cert_chain(certificates / "observer.pem", certificates / "observer.key")
    assert 'nasrl_shard_version{shard="1"}' in scraped(target, context)
    Run(tmp_path).publish_endpoints([second], ADDRESSES)
    main(["metrics", str(tmp_path)])
    assert {each["labels"]["__scheme__"] for each in printed_json(capsys)} == {"https"}


def test_shard_that_does_not_answer_stays_a_target_if_its_port_is_fixed(start, tmp_path, capsys):
    start()
    chosen = load_settings(overrides=["shards.metrics_port_base=9100"])
    (tmp_path / "settings.yaml").write_text(chosen.to_yaml())
    Run(tmp_path).publish_endpoints(["127.0.0.1:1", "127.0.0.2:1"])
    assert main(["metrics", str(tmp_path)]) == 0
    targets = [target["targets"] for target in printed_json(capsys)]
    assert targets == [["127.0.0.1:9100"], ["127.0.0.2:9101"]]


def test_shards_without_metrics_are_no_targets_and_are_named(start, tmp_path, capsys):
    addresses = start()
    assert main(["metrics", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out) == []
    named = f"left out: shards at {', '.join(addresses)}: must have shards.metrics_port_base"
    assert named in printed.err


def test_run_that_has_ended_hides_no_other(start, tmp_path, tmp_path_factory, capsys):
    start(metrics_ports=(0, 0))
    ended = Run.create(tmp_path_factory.mktemp("of") / "ended", load_settings())
    assert main(["metrics", str(ended.path), str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)) == 2
    assert printed.err == "1 of 2: its search has not begun, or has ended\n"


def test_file_is_replaced_as_a_whole(start, tmp_path, capsys):
    start(metrics_ports=(0, 0))
    file = tmp_path / "targets.json"
    file.write_text("of before")
    assert main(["metrics", str(tmp_path), "-o", str(file)]) == 0
    assert len(json.loads(file.read_text())) == 2
    assert capsys.readouterr().out == ""
    assert list(tmp_path.glob("targets*")) == [file]


def test_file_follows_a_search_from_before_its_begin_to_its_end(tmp_path, capsys, monkeypatch):
    run, file, held = Run.create(tmp_path / "run", load_settings()), tmp_path / "file", []
    events = [
        lambda: run.publish_endpoints(["127.0.0.1:1"], ADDRESSES),
        lambda: run.publish_endpoints(["127.0.0.1:1"], {"search": "127.0.0.1:9"}),
        lambda: (run.path / "endpoints.json").write_text("{"),  # cannot be read for a while
        run.withdraw_endpoints,
    ]

    def sleep(seconds):
        assert seconds == 5
        held.append([each for target in json.loads(file.read_text()) for each in target["targets"]])
        events.pop(0)()

    monkeypatch.setattr(metrics.time, "sleep", sleep)
    assert main(["metrics", str(run.path), "-o", str(file), "--every", "5"]) == 0
    assert held == [[], ["127.0.0.1:7", "127.0.0.1:8"], ["127.0.0.1:9"], ["127.0.0.1:9"]]
    assert json.loads(file.read_text()) == []
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == (
        f"{file}: the searches have ended; it holds no targets any more"
    )
    assert "endpoints.json cannot be read" in printed.err


def test_shard_that_dies_stays_a_target_until_it_is_known_elsewhere(
    start, started, tmp_path, monkeypatch
):
    addresses = start(metrics_ports=(0, 0))
    run, file, held = Run(tmp_path), tmp_path / "file", []
    events = [
        started[1].close,
        lambda: run.publish_endpoints(addresses[:1]),
        run.withdraw_endpoints,
    ]

    def sleep(_):
        held.append([target["labels"]["process"] for target in json.loads(file.read_text())])
        events.pop(0)()

    monkeypatch.setattr(metrics.time, "sleep", sleep)
    assert main(["metrics", str(tmp_path), "-o", str(file), "--every", "5"]) == 0
    assert held == [["shard-0", "shard-1"], ["shard-0", "shard-1"], ["shard-0"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "RUN|ADDRESS: must be given, one or more; or --example"),
        (["RUN", "--every", "5"], "--every 5: must go with -o FILE, which it replaces"),
        (["RUN", "-o", "f", "--every", "0"], "0 is not in the range 1<=x<=3600"),
        (["nowhere"], "nowhere: must be a run directory, or the address of a shard"),
        (["."], "is not a run directory: it has no settings.yaml"),
        (["RUN", "-o", "no/such/folder"], "no/such/folder cannot be written: "),
        (["--example", "grafana"], "'grafana' is not one of 'prometheus', 'alerts', 'dashboard'"),
    ],
)
def test_mistake_is_named(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Run.create(tmp_path / "RUN", load_settings())
    assert main(["metrics", *arguments]) == 2
    assert message in capsys.readouterr().err
