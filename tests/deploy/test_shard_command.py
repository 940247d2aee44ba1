"""`nasrl shard`: one shard in a process that somebody starts by hand."""

import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest

from deploy.cli import main
from deploy.run import Run
from deploy.settings_file import load_settings
from ps.authority import CertificateAuthority
from ps.client import ClientSettings, ShardClient
from ps.status import read_status

SMALL = ["policy.hidden_size=4", "policy.embedding_size=4", "policy.num_layers=1", "num_shards=1"]
START_S = 60.0  # torch and gRPC are read from disk
END_S = 30.0


@dataclass
class Started:
    """A process, and what it printed when it began to serve."""

    process: subprocess.Popen
    log: Path
    line: str

    @property
    def address(self):
        return re.search(r" at (\S+): ", self.line)[1]

    def signal(self, number):
        """Send a signal, and give the exit code."""
        self.process.send_signal(number)
        return self.process.wait(END_S)


@pytest.fixture
def settings():
    return load_settings(overrides=SMALL)


@pytest.fixture
def run(tmp_path, settings):
    return Run.create(tmp_path / "run", settings)


@pytest.fixture
def file(tmp_path, settings):
    path = tmp_path / "settings.yaml"
    path.write_text(settings.to_yaml())
    return path


@pytest.fixture
def start(tmp_path):
    """Give a function that starts `nasrl shard` and returns when it serves."""
    with ExitStack() as stack:

        def started(*arguments):
            log = tmp_path / f"{len(list(tmp_path.glob('*.log')))}.log"
            process = subprocess.Popen(
                [sys.executable, "-m", "nasrl", "shard", *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=stack.enter_context(log.open("w")),
                text=True,
            )
            stack.callback(process.stdout.close)
            stack.callback(process.wait, END_S)
            stack.callback(process.kill)
            line = process.stdout.readline()
            assert line, f"it ended with {process.wait(END_S)}: {log.read_text()}"
            return Started(process, log, line)

        yield started


@pytest.fixture
def connect(settings):
    """Give a function that makes a client of a shard."""
    patience = ClientSettings(max_attempts=1, push_timeout_s=5.0)
    with ExitStack() as stack:

        def client(shard):
            addresses = [shard.address]
            return stack.enter_context(
                ShardClient(settings.untrained().layout, addresses, patience)
            )

        yield client


def test_shard_of_a_run_serves_until_it_is_told_to_stop(run, settings, start, connect):
    shard = start(run.path, "--index", 0)
    assert re.fullmatch(
        r"shard 0 of 1 at 127\.0\.0\.1:\d+: epoch 1, no values yet\n", shard.line
    ), shard.line
    assert read_status(shard.address).health == "NOT_SERVING"

    values = settings.untrained().values
    connect(shard).initialize(values)
    assert read_status(shard.address).health == "SERVING"
    connect(shard).push(0, 1, 1, (0,), values)

    assert shard.signal(signal.SIGTERM) == 0
    assert shard.process.stdout.read() == ""
    assert "shard 0 of 1, life 1: version 0" in shard.log.read_text()
    assert (run.path / "shards" / "shard-0" / "EPOCH").exists()


def test_killed_shard_comes_back_with_what_it_acknowledged(
    tmp_path, file, settings, start, connect
):
    where = (file, "--index", 0, "--folder", tmp_path / "state")
    values = settings.untrained().values
    first = start(*where)
    client = connect(first)
    client.initialize(values)
    for sequence in (1, 2, 3):
        client.push(0, 1, sequence, (0,), values)
    pulled = client.pull()
    assert first.signal(signal.SIGKILL) == -signal.SIGKILL

    second = start(*where, "--address", "127.0.0.1:0")

    assert second.line.endswith(": epoch 2, version 3\n")
    assert connect(second).pull().values.tobytes() == pulled.values.tobytes()
    assert second.signal(signal.SIGINT) == 0


def test_folder_of_a_running_shard_is_refused_until_it_is_taken_over(
    run, settings, start, connect, capsys
):
    first = start(run.path, "--index", 0)
    values = settings.untrained().values
    connect(first).initialize(values)

    assert main(["shard", str(run.path), "--index", "0"]) == 2
    printed = capsys.readouterr().err
    assert f"shard-0 is held by process {first.process.pid} of this host" in printed
    assert "with kill -9 if it is frozen, or take the folder over with --take-over" in printed

    second = start(run.path, "--index", 0, "--take-over")
    assert first.process.wait(END_S) == 1
    assert re.search(
        r"^Error: \S+/EPOCH says .*another has taken over", first.log.read_text(), re.M
    )
    assert connect(second).push(0, 1, 1, (0,), values)[0].version == 1


def test_public_shard_of_a_run_shows_the_run_s_certificate(run, start):
    authority = CertificateAuthority.open_or_create(run.certificates_path, run.path.name)
    authority.issue("shard-0")

    shard = start(run.path, "--index", 0, "--address", "0.0.0.0:0")

    assert read_status(shard.address, identity=authority.issue("observer")).description is not None
    assert read_status(shard.address).health == "UNREACHABLE"


def test_public_shard_without_certificates_is_served_where_that_is_meant(tmp_path, start):
    overrides = [*SMALL, "shards.durability=none", "shards.tls=always"]
    path = tmp_path / "settings.yaml"
    path.write_text(load_settings(overrides=overrides).to_yaml())

    shard = start(path, "--index", 0, "--address", "0.0.0.0:0", "--insecure", "--metrics-port", 0)

    assert shard.line.endswith(": epoch 0, no values yet\n")
    assert read_status(shard.address).description is not None
    log = shard.log.read_text()
    assert "listens on 0.0.0.0:0 without TLS: whoever reaches it" in log
    port = re.search(r"metrics at 0\.0\.0\.0:(\d+)/metrics", log)[1]
    with urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        assert b'nasrl_shard_version{shard="0"} 0.0' in page.read()


def test_shard_has_its_metrics_where_the_settings_say(tmp_path, start):
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    changes = ["num_shards=2", f"shards.metrics_port_base={port - 1}", "shards.durability=none"]
    path = tmp_path / "settings.yaml"
    path.write_text(load_settings(overrides=[*SMALL, *changes]).to_yaml())

    shard = start(path, "--index", 1)

    assert read_status(shard.address).description.metrics_port == port


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--folder", "state"], "Missing option '--index'"),
        (["--index", "1", "--folder", "state"], "--index 1: must be at most 0, the last of 1"),
        (["--index", "0"], "--folder: must say where the state is kept (shards.durability: jour"),
        (["--index", "0", "--address", "7070"], "--address: '7070' must be host:port, with"),
        (["--index", "0", "--address", "a:99999"], "port from 0 to 65535, such as 127.0.0.1:7070"),
        (
            ["--index", "0", "--folder", "/proc/x"],
            "/proc/x: the shard cannot begin: [Errno 2] No such file or directory: '/proc/x'; give "
            "one that can be written, by --folder",
        ),
        (["--index", "0", "--folder", "settings.yaml"], "File exists: 'settings.yaml'; give one"),
        (
            ["--index", "0", "--folder", "state", "--address", "0.0.0.0:0"],
            "address 0.0.0.0:0: must have TLS, since others can reach it; give --certificates, or "
            "--insecure",
        ),
        (
            ["--index", "0", "--folder", "state", "--address", "192.0.2.1:0", "--insecure"],
            "shard 0: address 192.0.2.1:0: must be one that a server can listen on: Cannot assign",
        ),
        (
            ["--index", "0", "--folder", "state", "--certificates", "nowhere"],
            "nowhere/run: cannot be used (No such file or directory)",
        ),
        (
            ["--index", "0", "--insecure", "--certificates", "nowhere"],
            "--insecure, --certificates: must be one of them",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistake_is_said_and_nothing_is_started(
    file, arguments, complaint, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    assert main(["shard", str(file), *arguments]) == 2
    printed = capfd.readouterr()
    assert complaint in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["settings.yaml"]


def test_port_that_another_process_has_is_said_to_be_taken_and_no_more(file, tmp_path, capfd):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = ["--index", "0", "--folder", str(tmp_path / "state"), "--address", address]
        assert main(["shard", str(file), *arguments]) == 2
    assert capfd.readouterr().err == (
        f"Error: shard 0: address {address}: must be free; another process listens there; end it "
        "or give another\n"
    )


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("shards.tls=always", "127.0.0.1:0: must have TLS, since the search's settings ask"),
        ("shards.host=0.0.0.0", "0.0.0.0:0: must have TLS, since others can reach it"),
    ],
)
def test_run_whose_certificates_are_missing_is_refused(tmp_path, override, complaint, capsys):
    run = Run.create(tmp_path / "run", load_settings(overrides=[*SMALL, override]))
    assert main(["shard", str(run.path), "--index", "0"]) == 2
    assert complaint in capsys.readouterr().err
    assert not (run.path / "shards").exists()


def test_folder_that_is_no_run_is_refused(tmp_path, capsys):
    assert main(["shard", str(tmp_path), "--index", "0"]) == 2
    assert "is not a run directory" in capsys.readouterr().err


def test_target_that_does_not_exist_is_said_to_be_a_file_or_a_folder(tmp_path, capsys):
    assert main(["shard", str(tmp_path / "nowhere"), "--index", "0"]) == 2
    assert capsys.readouterr().err == (
        f"Error: {tmp_path}/nowhere does not exist: must be the search's settings file, or its run "
        "directory\n"
    )


def test_state_of_other_settings_is_refused(tmp_path, file, start, capsys):
    where = ["--index", "0", "--folder", str(tmp_path / "state")]
    start(file, *where).signal(signal.SIGTERM)
    file.write_text(load_settings(overrides=[*SMALL, "updates.accumulate=3"]).to_yaml())

    assert main(["shard", str(file), *where]) == 2

    assert "'accumulate': 1" in capsys.readouterr().err
