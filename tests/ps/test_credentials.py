"""Mutual TLS between real servers and channels, and who may call what behind it."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ps.authority import CertificateAuthority
from ps.credentials import (
    CredentialsError,
    Identity,
    Permissions,
    is_loopback,
    peer_name,
    role_of,
)
from ps.health import ShardHealth

TIMEOUT_S = 10
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


@dataclass
class Listener:
    """A server that answers every caller with its name and remembers it."""

    address: str
    callers: list


def authority_of(folder, days=0):
    """Open the authority as if the date were so many days from today."""
    shift = timedelta(days=days)
    return CertificateAuthority.open_or_create(folder, "run", lambda: datetime.now(UTC) + shift)


@pytest.fixture
def folder(tmp_path):
    """A folder with an authority of 400 days of age: its first certificates have expired."""
    authority_of(tmp_path / "ours", days=-400)
    return tmp_path / "ours"


@pytest.fixture
def shard(folder):
    return authority_of(folder).issue("shard-3")


@pytest.fixture
def replica(folder):
    return authority_of(folder).issue("replica-7")


@pytest.fixture
def listen():
    """Give a function that starts a server with these credentials, or with an insecure port."""
    with ExitStack() as resources:

        def start(credentials=None, health=None):
            callers = []

            def who(request, context):
                callers.append(peer_name(context))
                return repr(callers[-1]).encode()

            handler = grpc.unary_unary_rpc_method_handler(who)
            threads = resources.enter_context(ThreadPoolExecutor(2))
            server = grpc.server(threads, options=[("grpc.so_reuseport", 0)])
            server.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler("test.Test", {"Who": handler})]
            )
            if health is not None:
                health.add_to(server)
            if credentials is None:
                port = server.add_insecure_port("127.0.0.1:0")
            else:
                port = server.add_secure_port("127.0.0.1:0", credentials)
            server.start()
            resources.callback(lambda: server.stop(0).wait())
            return Listener(f"127.0.0.1:{port}", callers)

        yield start


def open_channel(listener, credentials, server_name):
    options = [("grpc.ssl_target_name_override", server_name), ("grpc.enable_http_proxy", 0)]
    if credentials is None:
        return grpc.insecure_channel(listener.address, options[1:])
    return grpc.secure_channel(listener.address, credentials, options)


def ask(listener, credentials, server_name=""):
    """Give the name under which the server knows this caller."""
    with open_channel(listener, credentials, server_name) as channel:
        return channel.unary_unary("/test.Test/Who")(b"", timeout=TIMEOUT_S).decode()


def assert_refused(listener, credentials, server_name, because=""):
    with pytest.raises(grpc.RpcError) as refusal:
        ask(listener, credentials, server_name)
    assert refusal.value.code() == grpc.StatusCode.UNAVAILABLE
    assert because in refusal.value.details()
    assert listener.callers == []


def certify(identity, names, uses, common_name="", self_signed=False):
    """Make a certificate by hand, signed by the identity's authority or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] * bool(common_name))
    issuer, issuer_key = subject, key
    if not self_signed:
        issuer = x509.load_pem_x509_certificate(identity.authority.read_bytes()).subject
        issuer_key = load_pem_private_key(
            identity.authority.with_name("authority.key").read_bytes(), None
        )
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer, subject, key.public_key(), 1, now - timedelta(hours=1), now + timedelta(hours=1)
    ).add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    made = replace(
        identity,
        certificate=identity.certificate.with_name("made.pem"),
        key=identity.key.with_name("made.key"),
    )
    certificate = builder.sign(issuer_key, hashes.SHA256())
    made.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


# Handshakes


@pytest.mark.parametrize("name", ["launcher", "replica-7", "observer", "shard-4"])
def test_every_identity_of_the_run_reaches_a_shard_that_learns_its_name(
    folder, shard, listen, name
):
    caller = authority_of(folder).issue(name)
    listener = listen(shard.server_credentials())

    answer = ask(listener, caller.channel_credentials(), caller.server_name(3))

    assert answer == repr(f"{name}.{caller.run}")


def test_insecure_port_knows_no_names(listen):
    assert ask(listen(), None) == "None"


def test_channel_without_tls_does_not_reach_a_shard_with_it(shard, replica, listen):
    listener = listen(shard.server_credentials())

    assert_refused(listener, None, "")

    assert ask(listener, replica.channel_credentials(), replica.server_name(3))


def test_channel_with_tls_does_not_reach_a_shard_without_it(replica, listen):
    assert_refused(listen(), replica.channel_credentials(), replica.server_name(3))


@pytest.mark.parametrize("target", ["shard-4.{}", "shard-33.{}", "shard-3.other", "shard-3", "{}"])
def test_shard_of_another_name_is_not_talked_to(shard, replica, listen, target):
    listener = listen(shard.server_credentials())

    assert_refused(
        listener,
        replica.channel_credentials(),
        target.format(replica.run),
        "Hostname Verification Check failed",
    )

    assert ask(listener, replica.channel_credentials(), replica.server_name(3))


def issued_anew(identity, days):
    identity.certificate.unlink()
    return authority_of(identity.authority.parent, days).issue(identity.name)


def expired(identity):
    return issued_anew(identity, days=-400)


def of_tomorrow(identity):
    return issued_anew(identity, days=1)


def of_another_authority(identity):
    """Issue the same names, down to the run's label, by another authority."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secrets.token_hex", lambda _: identity.run.removeprefix("run-"))
        other = authority_of(identity.authority.parent.with_name("theirs"))
    assert other.run == identity.run
    return replace(other.issue(identity.name), authority=identity.authority)


def self_made(identity):
    name = f"{identity.name}.{identity.run}"
    return certify(identity, [name], [CLIENT, SERVER], name, self_signed=True)


def for_other_use(identity):
    name = f"{identity.name}.{identity.run}"
    return certify(identity, [name], [SERVER if identity.name == "replica-7" else CLIENT], name)


FORGERIES = [expired, of_tomorrow, of_another_authority, self_made, for_other_use]


@pytest.mark.parametrize("forge", FORGERIES)
def test_caller_whose_certificate_is_no_good_does_not_get_in(shard, replica, listen, forge):
    listener = listen(shard.server_credentials())
    good = replica.channel_credentials()

    assert_refused(listener, forge(replica).channel_credentials(), replica.server_name(3))

    assert ask(listener, good, replica.server_name(3)) == repr(f"replica-7.{replica.run}")


def test_caller_without_a_certificate_does_not_get_in(shard, replica, listen):
    listener = listen(shard.server_credentials())
    nobody = grpc.ssl_channel_credentials(replica.authority.read_bytes())

    assert_refused(listener, nobody, replica.server_name(3))

    assert ask(listener, replica.channel_credentials(), replica.server_name(3))


@pytest.mark.parametrize("forge", FORGERIES)
def test_shard_whose_certificate_is_no_good_is_not_talked_to(shard, replica, listen, forge):
    listener = listen(forge(shard).server_credentials())

    assert_refused(
        listener,
        replica.channel_credentials(),
        replica.server_name(3),
        "CERTIFICATE_VERIFY_FAILED",
    )


@pytest.mark.parametrize("name", ["replica-7", "launcher", "observer"])
def test_nobody_else_can_pose_as_a_shard(folder, replica, listen, name):
    stolen = authority_of(folder).issue(name)
    listener = listen(stolen.server_credentials())

    assert_refused(
        listener,
        replica.channel_credentials(),
        f"{name}.{stolen.run}",
        "unsupported certificate purpose",
    )


def test_processes_from_before_and_after_a_renewal_of_the_authority_understand_each_other(
    tmp_path, listen
):
    folder = tmp_path / "ours"
    authority_of(folder, days=-800)
    before = authority_of(folder, days=-300)
    shard, replica = before.issue("shard-3"), before.issue("replica-7")
    listeners = [listen(shard.server_credentials())]
    callers = [replica.channel_credentials()]
    files = (shard.authority, shard.certificate, replica.certificate)
    old = [path.read_bytes() for path in files]

    after = authority_of(folder)
    listeners.append(listen(after.issue("shard-3").server_credentials()))
    callers.append(after.issue("replica-7").channel_credentials())

    assert all(path.read_bytes() != data for path, data in zip(files, old, strict=True))
    for listener in listeners:
        for credentials in callers:
            assert ask(listener, credentials, replica.server_name(3))


# The caller's name


@pytest.mark.parametrize(
    ("names", "seen"),
    [([], ""), (["replica-7.run", "launcher.run"], "replica-7.run launcher.run")],
    ids=["none", "two"],
)
def test_certificate_without_exactly_one_name_is_nobodys(shard, replica, listen, names, seen):
    listener = listen(shard.server_credentials())
    odd = certify(replica, names, [CLIENT], common_name="launcher.run")

    answer = ask(listener, odd.channel_credentials(), replica.server_name(3))

    assert answer == repr(seen)
    assert "must be launcher, observer" in Permissions("run").refusal(seen, "Describe")


# Files


def test_identity_travels_to_another_process(replica):
    assert pickle.loads(pickle.dumps(replica)) == replica


def test_identity_is_loaded_from_what_its_process_needs(replica, shard, tmp_path, listen):
    sent = tmp_path / "sent"
    sent.mkdir()
    for name in ("run", "authority.pem", "replica-7.pem", "replica-7.key"):
        (sent / name).write_bytes((replica.key.parent / name).read_bytes())

    loaded = Identity.load(sent, "replica-7")

    listener = listen(shard.server_credentials())
    assert ask(listener, loaded.channel_credentials(), loaded.server_name(3))


@pytest.mark.parametrize("name", ["replica", "replica-07", "shard-x", "launcher-0", "../key", ""])
def test_identity_of_no_known_name_is_refused(folder, name):
    with pytest.raises(ValueError, match=f"name='{name}': must be launcher, observer, shard-N or"):
        Identity.load(folder, name)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda file: file.unlink(), "No such file"),
        (lambda file: file.write_text("\n"), "empty"),
        (lambda file: file.write_bytes(b"\xff"), "ascii"),
    ],
    ids=["missing", "empty", "not ASCII"],
)
def test_folder_that_tells_no_run_is_named(folder, damage, reason):
    damage(folder / "run")

    with pytest.raises(
        CredentialsError, match=f"{folder}/run: cannot be used .*{reason}.*copy it from"
    ):
        Identity.load(folder, "replica-7")


@pytest.mark.parametrize("side", ["server_credentials", "channel_credentials"])
@pytest.mark.parametrize("file", ["authority", "certificate", "key"])
@pytest.mark.parametrize(
    "damage",
    [lambda file: file.unlink(), lambda file: file.write_text("not PEM")],
    ids=["missing", "broken"],
)
def test_file_that_cannot_be_used_is_named(shard, side, file, damage):
    path = getattr(shard, file)
    damage(path)

    with pytest.raises(
        CredentialsError, match=f"{path.name}( with .*)?: cannot be used .*copy it from"
    ):
        getattr(shard, side)()


def test_key_of_another_certificate_is_refused(shard, replica):
    shard.key.write_bytes(replica.key.read_bytes())

    with pytest.raises(
        CredentialsError, match=r"shard-3\.pem with shard-3\.key: .*KEY_VALUES_MISMATCH"
    ):
        shard.server_credentials()


# Permissions


LOOK = {"Describe", "Check", "Watch", "List", "ServerReflectionInfo"}
METHODS = [*sorted(LOOK), "Initialize", "Pull", "PullPieces", "Push", "PushPieces", "Checkpoint"]
ALLOWED = {
    ("launcher", None): LOOK | {"Initialize", "Pull", "PullPieces", "Checkpoint"},
    ("observer", None): LOOK,
    ("shard-7", None): LOOK,
    ("replica-7", None): LOOK | {"Pull", "PullPieces"},
    ("launcher", 7): LOOK | {"Initialize", "Pull", "PullPieces", "Checkpoint"},
    ("observer", 7): LOOK,
    ("shard-7", 7): LOOK,
    ("replica-7", 7): LOOK | {"Pull", "PullPieces", "Push", "PushPieces"},
    ("replica-7", 8): LOOK | {"Pull", "PullPieces"},
    ("replica-7", 0): LOOK | {"Pull", "PullPieces"},
    ("replica-0", 0): LOOK | {"Pull", "PullPieces", "Push", "PushPieces"},
}


@pytest.mark.parametrize("prefix", ["", "/some.Service/"])
@pytest.mark.parametrize(("caller", "allowed"), ALLOWED.items())
def test_caller_may_do_what_the_table_says_and_nothing_else(caller, allowed, prefix):
    name, replica = caller
    permissions = Permissions("run-1")
    methods = [*METHODS, "GetServers", "describe", ""]

    answers = {
        method: permissions.refusal(f"{name}.run-1", f"{prefix}{method}", replica)
        for method in methods
    }

    assert {method for method, answer in answers.items() if answer is None} == allowed


STRANGERS = [
    None,
    "",
    ".run-1",
    "replica-7",
    "replica-7.",
    "replica-7.run-2",
    "replica-7.run-11",
    "replica-7.run-1.com",
    "evil.replica-7.run-1",
    "replica-07.run-1",
    "replica.run-1",
    "launcher-7.run-1",
    "Launcher.run-1",
    "launcher.run-1 ",
    "launcher.run-1\n",
    "launcher.run-1 replica-7.run-1",
    "replica-٧.run-1",
    "*.run-1",
]


@pytest.mark.parametrize("peer", STRANGERS)
def test_stranger_may_do_nothing(peer):
    refusals = {Permissions("run-1").refusal(peer, method, 7) for method in METHODS}

    assert refusals == {
        f"caller={peer!r}: must be launcher, observer, shard-N or replica-N of 'run-1'; "
        "use a certificate that this run's launcher issued"
    }


@pytest.mark.parametrize("peer", [None, "replica-8.run-1"])
def test_everybody_may_do_everything_on_an_insecure_port(peer):
    refusals = {Permissions(None).refusal(peer, method, 7) for method in [*METHODS, "GetServers"]}

    assert refusals == {None}


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            ("replica-7.r", "Checkpoint"),
            "caller='replica-7.r': must be launcher to call Checkpoint; "
            "use a certificate of that name",
        ),
        (
            ("observer.r", "/nasrl.ps.v1.ParameterShard/Pull"),
            "caller='observer.r': must be launcher or replica to call Pull; "
            "use a certificate of that name",
        ),
        (
            ("replica-7.r", "Push", 8),
            "replica=8: must be 7, the caller is 'replica-7.r'; "
            "push in the name of your own certificate",
        ),
        (("launcher.r", "Drop"), "method='Drop': must be one that somebody may call"),
    ],
)
def test_refusal_says_what_must_hold(call, sentence):
    assert Permissions("r").refusal(*call) == sentence


@pytest.mark.parametrize(
    ("name", "role"),
    [("launcher", ("launcher", None)), ("replica-0", ("replica", 0)), ("shard-12", ("shard", 12))],
)
def test_role_is_read_from_the_name(name, role):
    assert role_of(name) == role


# Probes


@pytest.fixture
def probe(folder, shard, listen):
    """Give a function that asks a shard for its health as grpc_health_probe does.

    What it is given there as -tls, -tls-ca-cert, -tls-client-cert, -tls-client-key and
    -tls-server-name are PEM files and a name: the observer's, here.
    """
    authority_of(folder).issue("observer")
    with closing(ShardHealth(3)) as health:
        listener = listen(shard.server_credentials(), health)

        def check(server_name):
            credentials = grpc.ssl_channel_credentials(
                root_certificates=(folder / "authority.pem").read_bytes(),
                private_key=(folder / "observer.key").read_bytes(),
                certificate_chain=(folder / "observer.pem").read_bytes(),
            )
            with open_channel(listener, credentials, server_name) as channel:
                request = health_pb2.HealthCheckRequest(service="")
                health_stub = health_pb2_grpc.HealthStub(channel)
                return health_stub.Check(request, timeout=TIMEOUT_S).status

        yield check


def test_health_probe_with_the_observers_files_is_answered(probe, shard):
    assert probe(f"shard-3.{shard.run}") == health_pb2.HealthCheckResponse.SERVING


def test_health_probe_of_a_wrong_server_name_is_not(probe, shard):
    with pytest.raises(grpc.RpcError, match="Hostname Verification Check failed"):
        probe("127.0.0.1")


# Addresses


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:70",
        "127.1.2.3:70",
        "127.0.0.1",
        "[::1]:70",
        "localhost:70",
        "LOCALHOST:70",
        "unix:/run/shard.sock",
        "unix:///run/shard.sock",
        "unix:shard.sock",
        "unix-abstract:shard",
    ],
)
def test_address_that_only_this_machine_reaches_is_loopback(address):
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0:70",
        "[::]:70",
        ":70",
        "*:70",
        "",
        "10.0.0.1:70",
        "[fe80::1]:70",
        "ps-2:70",
        "localhost.example.com:70",
        "127.0.0.1.example.com:70",
        "127.0.0.1:70,10.0.0.1:70",
        "10.0.0.1:127",
        "unixhost:70",
    ],
)
def test_address_that_others_may_reach_is_not_loopback(address):
    assert not is_loopback(address)
