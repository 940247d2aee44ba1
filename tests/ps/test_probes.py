"""Health probes from outside, by the very lines that docs/parameter-server.md gives."""

import argparse
import re
import shlex
import shutil
from pathlib import Path
from textwrap import dedent

import grpc
import numpy as np
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ps.authority import CertificateAuthority
from ps.layout import Layout

DOCS = Path(__file__).parents[2] / "docs" / "parameter-server.md"
LAYOUT = Layout((("weight", (4,)),), num_shards=4)
SHARD = 3  # as in the lines


def block_from(first_word):
    """Give the indented block of the page that begins with this word."""
    lines = re.search(rf"^    {first_word}.*\n(?:    .*\n)*", DOCS.read_text(), re.MULTILINE)
    return dedent(lines[0])


def documented():
    """Give the documented probes, each as its words."""
    pod = yaml.safe_load(block_from("livenessProbe:\n"))
    return {
        "command": shlex.split(block_from("grpc_health_probe").replace("\\\n", " ")),
        **{kind: probe["exec"]["command"] for kind, probe in pod.items()},
    }


def probe(words):
    """Ask for health as grpc_health_probe does with these words; give what is answered."""
    flags = argparse.ArgumentParser(allow_abbrev=False)
    flags.add_argument("-addr", required=True)
    flags.add_argument("-service", default="")
    flags.add_argument("-tls", action="store_true")
    for name in ("ca-cert", "client-cert", "client-key", "server-name"):
        flags.add_argument(f"-tls-{name}")
    given = flags.parse_args(words)
    assert given.tls, "the others say nothing without it"
    files = (given.tls_ca_cert, given.tls_client_key, given.tls_client_cert)
    contents = [name and Path(name).read_bytes() for name in files]
    credentials = grpc.ssl_channel_credentials(*contents)
    options = [("grpc.ssl_target_name_override", given.tls_server_name)]
    with grpc.secure_channel(given.addr, credentials, options) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=given.service), timeout=5
            )
        except grpc.RpcError as error:
            return error.code().name
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


@pytest.fixture
def authority(tmp_path):
    return CertificateAuthority.open_or_create(tmp_path / "certificates", "a run")


@pytest.fixture
def run(authority, tmp_path):
    """What stands for <run> in the names of certificates."""
    return (tmp_path / "certificates" / "run").read_text().strip()


@pytest.fixture
def server(serve, authority):
    (server,) = serve(LAYOUT, shards=[SHARD], authority=authority)
    return server


@pytest.fixture
def secret(authority, tmp_path):
    """A folder with the three files that a probe is given, and no others."""
    authority.issue("observer")
    (tmp_path / "secret").mkdir()
    for name in ("authority.pem", "observer.pem", "observer.key"):
        shutil.copy(tmp_path / "certificates" / name, tmp_path / "secret")
    return tmp_path / "secret"


@pytest.fixture
def words(server, secret, run):
    """Give a function that gives a documented probe of the shard, without the program."""

    def words(kind):
        program, *words = documented()[kind]
        assert program == "grpc_health_probe"
        filled = (word.replace("HOST:PORT", server.address).replace("<run>", run) for word in words)
        return [re.sub(r"=(/certificates/)?(\w+\.(pem|key))$", rf"={secret}/\2", w) for w in filled]

    return words


@pytest.fixture
def initialized(connect, serve, server, authority):
    """The shard and the others of its layout, with values."""
    others = serve(LAYOUT, shards=range(SHARD), authority=authority)
    launcher = authority.issue("launcher")
    connect(LAYOUT, [*others, server], identity=launcher).initialize(np.zeros(4, np.float32))


@pytest.mark.parametrize("kind", documented())
@pytest.mark.usefixtures("initialized")
def test_documented_probe_is_told_that_a_shard_serves(words, kind):
    assert probe(words(kind)) == "SERVING"


@pytest.mark.parametrize(
    ("kind", "health"),
    [("command", "NOT_SERVING"), ("readinessProbe", "NOT_SERVING"), ("livenessProbe", "SERVING")],
)
def test_shard_without_values_is_alive_and_not_ready(words, kind, health):
    assert probe(words(kind)) == health


@pytest.mark.parametrize("kind", documented())
def test_probe_without_a_client_certificate_is_rejected(words, kind):
    without = [word for word in words(kind) if not word.startswith("-tls-client-")]
    assert len(without) == len(words(kind)) - 2
    assert probe(without) == "UNAVAILABLE"


@pytest.mark.parametrize("kind", documented())
def test_probe_for_another_shard_is_not_answered_by_this_one(words, kind):
    other = [word.replace(f"shard-{SHARD}", "shard-0") for word in words(kind)]
    assert other != words(kind)
    assert probe(other) == "UNAVAILABLE"


def test_probe_with_the_certificate_of_another_search_is_rejected(words, tmp_path):
    other = CertificateAuthority.open_or_create(tmp_path / "other", "a run").issue("observer")
    changed = [
        *(word for word in words("command") if not word.startswith("-tls-client-")),
        f"-tls-client-cert={other.certificate}",
        f"-tls-client-key={other.key}",
    ]
    assert probe(changed) == "UNAVAILABLE"
