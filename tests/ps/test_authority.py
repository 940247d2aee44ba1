"""A run's authority: its label, its files, what it issues, renews and complains of."""

import os
import re
import stat
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from support.clock import FakeClock

from ps.authority import CertificateAuthority, run_label
from ps.credentials import CredentialsError, Identity

START = datetime(2030, 1, 1, tzinfo=UTC)
DAY_S = 24 * 3600
KINDS = [("launcher", False), ("observer", False), ("replica-7", False), ("shard-3", True)]


class Calendar(FakeClock):
    """Says the date that a test has set."""

    def __init__(self, days=0.0, step_days=0.0):
        super().__init__(START.timestamp() + days * DAY_S, step_days * DAY_S)

    def __call__(self):
        return datetime.fromtimestamp(super().__call__(), UTC)

    def advance_days(self, days):
        self.advance(days * DAY_S)


@pytest.fixture
def clock():
    return Calendar()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run" / "certificates"


@pytest.fixture
def authority(folder, clock):
    return CertificateAuthority.open_or_create(folder, "figure-7", clock)


@pytest.fixture
def other(tmp_path, clock):
    return CertificateAuthority.open_or_create(tmp_path / "other", "other", clock)


def certificate_in(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_good(identity, folder):
    """Check that the pair fits and the folder's authority has signed it."""
    certificate = certificate_in(identity.certificate)
    certificate.verify_directly_issued_by(certificate_in(folder / "authority.pem"))
    identity.channel_credentials()


# The label


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("figure-7", "figure-7-5eed"),
        ("Figure 7 (CIFAR-10)", "figure-7-cifar-10-5eed"),
        ("..--", "run-5eed"),
        ("", "run-5eed"),
        ("実験", "run-5eed"),
        ("a" * 60, "a" * 35 + "-5eed"),
        ("a" * 34 + "--b", "a" * 34 + "-5eed"),
    ],
)
def test_label_reminds_of_the_folder(name, label):
    assert run_label(name, "5eed") == label


@given(st.text())
def test_label_of_any_folder_is_a_dns_label(name):
    label = run_label(name, "0123abcd")

    assert re.fullmatch("[a-z0-9]([a-z0-9-]*[a-z0-9])?", label)
    assert len(label) <= 40


def test_label_is_unique_to_an_authority(tmp_path):
    runs = {CertificateAuthority.open_or_create(tmp_path / name, "same").run for name in "abc"}

    assert len(runs) == 3


def test_label_stays_when_the_run_directory_is_moved_and_renamed(authority, folder, tmp_path):
    authority.issue("shard-3")
    moved = tmp_path / "moved"
    folder.rename(moved)

    again = CertificateAuthority.open_or_create(moved, "renamed", authority._clock)

    assert again.run == authority.run
    assert again.run.startswith("figure-7-")
    assert again.issue("shard-3").certificate == moved / "shard-3.pem"


@pytest.mark.parametrize("damage", [lambda run: run.unlink(), lambda run: run.write_text("x")])
def test_label_file_is_restored_from_the_certificate(authority, folder, clock, damage):
    damage(folder / "run")

    CertificateAuthority.open_or_create(folder, "figure-7", clock)

    assert Identity.load(folder, "observer").run == authority.run


# Files


@contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o022, 0], ids=["usual umask", "no umask"])
@pytest.mark.parametrize("exists", [False, True], ids=["new folder", "empty folder"])
def test_folder_and_files_are_for_their_owner_alone(folder, mask, exists):
    with umask(mask):
        if exists:
            folder.mkdir(parents=True)
        CertificateAuthority.open_or_create(folder, "figure-7").issue("shard-3")

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    files = ["authority.pem", "authority.key", "run", "shard-3.pem", "shard-3.key"]
    assert modes == dict.fromkeys(files, 0o600)


def test_every_file_is_private_before_it_is_synced_and_its_folder_synced_after(folder, monkeypatch):
    synced = []

    def fsync(number):
        mode = os.fstat(number).st_mode
        synced.append(("folder" if stat.S_ISDIR(mode) else "file", stat.S_IMODE(mode) & 0o077))

    monkeypatch.setattr(os, "fsync", fsync)
    with umask(0):
        folder.parent.mkdir(mode=0o700)
        CertificateAuthority.open_or_create(folder, "figure-7").issue("shard-3")

    in_scratch = [("file", 0), ("folder", 0)] * 3
    in_place = [("folder", 0)] + [("file", 0), ("folder", 0)] * 2
    assert synced == in_scratch + in_place


@pytest.mark.parametrize("num_syncs", range(11))
def test_full_disk_leaves_no_half_written_file(folder, clock, monkeypatch, num_syncs):
    fsync, left = os.fsync, iter(range(num_syncs))

    def fail(number):
        if next(left, None) is None:
            raise OSError(28, "No space left on device (injected)")
        fsync(number)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="injected"):
        CertificateAuthority.open_or_create(folder, "figure-7", clock).issue("shard-3")
    monkeypatch.undo()

    before = contents(folder) if folder.exists() else {}
    assert not list(folder.parent.rglob(".*"))
    authority = CertificateAuthority.open_or_create(folder, "figure-7", clock)
    assert_good(authority.issue("shard-3"), folder)
    assert before.items() <= contents(folder).items()


def test_full_disk_leaves_the_certificate_that_was_to_be_renewed(
    authority, folder, clock, monkeypatch
):
    authority.issue("shard-3")
    before = contents(folder)
    clock.advance_days(200)

    def fail(number):
        raise OSError(28, "No space left on device (injected)")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="injected"):
        authority.issue("shard-3")

    assert contents(folder) == before


# Certificates


@pytest.mark.parametrize(("name", "is_server"), KINDS)
def test_certificate_names_its_owner_and_its_uses(authority, folder, name, is_server):
    identity = authority.issue(name)
    certificate = certificate_in(identity.certificate)

    assert identity == Identity.load(folder, name)
    assert certificate.subject.rfc4514_string() == f"CN={name}.{authority.run}"
    names = extension(certificate, x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName(f"{name}.{authority.run}")]
    uses = set(extension(certificate, x509.ExtendedKeyUsage).value)
    assert uses == {ExtendedKeyUsageOID.CLIENT_AUTH} | (
        {ExtendedKeyUsageOID.SERVER_AUTH} if is_server else set()
    )
    assert isinstance(certificate.public_key().curve, ec.SECP256R1)
    assert_good(identity, folder)


def test_certificate_cannot_issue_others_and_authority_can(authority, folder):
    issued = certificate_in(authority.issue("shard-3").certificate)
    issuing = certificate_in(folder / "authority.pem")

    assert [extension(each, x509.BasicConstraints).value for each in (issued, issuing)] == [
        x509.BasicConstraints(ca=False, path_length=None),
        x509.BasicConstraints(ca=True, path_length=0),
    ]
    usages = [extension(each, x509.KeyUsage).value for each in (issued, issuing)]
    assert [(usage.digital_signature, usage.key_cert_sign) for usage in usages] == [
        (True, False),
        (False, True),
    ]
    for each in (issued, issuing):
        assert extension(each, x509.BasicConstraints).critical
        assert extension(each, x509.KeyUsage).critical


def test_certificate_is_valid_for_clocks_that_are_behind(authority):
    certificate = certificate_in(authority.issue("shard-3").certificate)

    assert certificate.not_valid_before_utc == START - timedelta(hours=1)


@pytest.mark.parametrize(
    "name", ["shard", "shard-", "shard-03", "replica--1", "launcher-1", "../x"]
)
def test_name_that_is_nobodys_is_refused(authority, folder, name):
    before = contents(folder)

    with pytest.raises(ValueError, match=re.escape(f"name={name!r}: must be launcher, observer,")):
        authority.issue(name)

    assert contents(folder) == before


# Renewal


def test_certificate_with_half_its_life_left_is_kept(authority, folder, clock):
    authority.issue("shard-3")
    before = contents(folder)
    clock.advance_days(182)

    again = CertificateAuthority.open_or_create(folder, "figure-7", clock)

    assert again.issue("shard-3") == Identity.load(folder, "shard-3")
    assert contents(folder) == before


def test_certificate_with_less_than_half_its_life_left_is_renewed_for_the_same_key(
    authority, folder, clock
):
    authority.issue("shard-3")
    before = contents(folder)
    clock.advance_days(184)

    identity = authority.issue("shard-3")

    changed = {name for name, data in contents(folder).items() if data != before[name]}
    assert changed == {"shard-3.pem"}
    left = certificate_in(identity.certificate).not_valid_after_utc - clock()
    assert left == timedelta(days=366)
    assert_good(identity, folder)


def test_certificate_of_the_future_is_issued_again(authority, folder, clock):
    authority.issue("shard-3")
    early = Calendar(days=-2)

    again = CertificateAuthority.open_or_create(folder, "figure-7", early)

    for path in (folder / "authority.pem", again.issue("shard-3").certificate):
        assert certificate_in(path).not_valid_before_utc < early()


def sign_again(folder, signer, uses):
    """Replace shard-3's certificate by one that says the same but for its signer and its uses."""
    old = certificate_in(folder / "shard-3.pem")
    builder = x509.CertificateBuilder(
        old.issuer, old.subject, old.public_key(), 1, START, old.not_valid_after_utc
    )
    for each in old.extensions:
        changed = isinstance(each.value, x509.ExtendedKeyUsage)
        builder = builder.add_extension(
            x509.ExtendedKeyUsage(uses) if changed else each.value, each.critical
        )
    key = load_pem_private_key((signer / "authority.key").read_bytes(), None)
    certificate = builder.sign(key, old.signature_hash_algorithm)
    (folder / "shard-3.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


def copy(source, target):
    target.write_bytes(source.read_bytes())


def client_only(folder, other):
    sign_again(folder, folder, [ExtendedKeyUsageOID.CLIENT_AUTH])


def signed_by_another(folder, other):
    sign_again(folder, other, [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])


def anothers_pair(folder, other):
    for kind in (".pem", ".key"):
        copy(other / f"shard-3{kind}", folder / f"shard-3{kind}")


DAMAGES = {
    "certificate missing": (lambda folder, other: (folder / "shard-3.pem").unlink(), True),
    "certificate cut short": (lambda folder, other: os.truncate(folder / "shard-3.pem", 90), True),
    "of another authority": (anothers_pair, False),
    "signed by another authority": (signed_by_another, True),
    "of another name": (
        lambda folder, _: copy(folder / "shard-4.pem", folder / "shard-3.pem"),
        True,
    ),
    "for other uses": (client_only, True),
    "key does not fit": (
        lambda folder, _: copy(folder / "shard-4.key", folder / "shard-3.key"),
        False,
    ),
    "key missing": (lambda folder, other: (folder / "shard-3.key").unlink(), False),
    "key cut short": (lambda folder, other: os.truncate(folder / "shard-3.key", 90), False),
}


@pytest.mark.parametrize(("damage", "keeps_key"), DAMAGES.values(), ids=DAMAGES)
def test_pair_that_is_no_good_is_issued_again(authority, folder, other, damage, keeps_key):
    for name in ("shard-3", "shard-4"):
        authority.issue(name)
    other.issue("shard-3")
    before = contents(folder)
    damage(folder, other._folder)
    assert contents(folder) != before

    identity = authority.issue("shard-3")

    assert_good(identity, folder)
    certificate = certificate_in(identity.certificate)
    assert certificate.subject.rfc4514_string() == f"CN=shard-3.{authority.run}"
    assert ExtendedKeyUsageOID.SERVER_AUTH in extension(certificate, x509.ExtendedKeyUsage).value
    assert (identity.key.read_bytes() == before["shard-3.key"]) == keeps_key
    assert authority.issue("shard-4").certificate.read_bytes() == before["shard-4.pem"]


def test_authority_with_less_than_half_its_life_left_is_renewed_for_the_same_key(
    authority, folder, clock
):
    issued = certificate_in(authority.issue("shard-3").certificate)
    old = certificate_in(folder / "authority.pem")
    before = contents(folder)
    clock.advance_days(2 * 366 + 1)

    again = CertificateAuthority.open_or_create(folder, "figure-7", clock)

    renewed = certificate_in(folder / "authority.pem")
    assert renewed.not_valid_after_utc == clock() + timedelta(days=4 * 366)
    assert renewed.subject == old.subject
    assert again.run == authority.run
    assert contents(folder)["authority.key"] == before["authority.key"]
    issued.verify_directly_issued_by(renewed)
    certificate_in(again.issue("shard-3").certificate).verify_directly_issued_by(old)


def test_authority_outlives_what_it_issues_during_the_longest_search(folder, clock):
    CertificateAuthority.open_or_create(folder, "figure-7", clock)
    clock.advance_days(2 * 366 - 1)
    authority = CertificateAuthority.open_or_create(folder, "figure-7", clock)
    clock.advance_days(183)

    issued = certificate_in(authority.issue("shard-3").certificate)

    last = certificate_in(folder / "authority.pem").not_valid_after_utc
    assert last == START + timedelta(days=4 * 366), "renewed, so the case is not the worst one"
    assert issued.not_valid_after_utc < last


# Broken authorities


def write_key(path, key, encryption=None):
    encryption = encryption or NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


def rsa_key(folder, other):
    write_key(folder / "authority.key", rsa.generate_private_key(65537, 2048))


def locked_key(folder, other):
    key = load_pem_private_key((folder / "authority.key").read_bytes(), None)
    write_key(folder / "authority.key", key, BestAvailableEncryption(b"secret"))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda folder, other: (folder / "authority.key").unlink(), "key: cannot be read .No such"),
        (lambda folder, other: (folder / "authority.key").write_text(""), "key: not a private key"),
        (locked_key, "key: not a private key .*encrypted"),
        (rsa_key, "key: not a private key on an elliptic curve"),
        (lambda folder, other: (folder / "authority.pem").unlink(), "pem: cannot be read .No such"),
        (lambda folder, other: os.truncate(folder / "authority.pem", 90), "pem: not a certificate"),
        (
            lambda folder, other: copy(other / "authority.key", folder / "authority.key"),
            "key: not the key of authority.pem",
        ),
    ],
    ids=["no key", "empty key", "locked key", "RSA key", "no pem", "torn pem", "another's key"],
)
def test_broken_authority_is_named_and_left_alone(
    authority, folder, other, clock, damage, complaint
):
    authority.issue("shard-3")
    damage(folder, other._folder)
    before = contents(folder)

    with pytest.raises(
        CredentialsError,
        match=f"{folder}/authority.{complaint}.*put it back from a copy, or start a new search",
    ):
        CertificateAuthority.open_or_create(folder, "figure-7", clock)

    assert contents(folder) == before
    assert list(folder.parent.iterdir()) == [folder]


def test_folder_of_something_else_is_left_alone(folder):
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")

    with pytest.raises(CredentialsError, match=r"authority\.key: cannot be read .No such file"):
        CertificateAuthority.open_or_create(folder, "figure-7")

    assert contents(folder) == {"notes.txt": b"mine"}


# Several at once


def test_authority_made_by_another_meanwhile_is_read(folder):
    first = []

    def clock():
        if not first:
            first.append(None)
            first[:] = [CertificateAuthority.open_or_create(folder, "winner")]
        return datetime.now(UTC)

    second = CertificateAuthority.open_or_create(folder, "loser", clock)

    assert second.run == first[0].run
    assert second.run.startswith("winner-")
    assert list(folder.parent.iterdir()) == [folder]
    assert_good(second.issue("shard-3"), folder)


CREATE = """
import sys
from pathlib import Path
from ps.authority import CertificateAuthority

print("ready", flush=True)
sys.stdin.readline()
authority = CertificateAuthority.open_or_create(Path(sys.argv[1]), "run")
certificate = authority.issue(sys.argv[2]).certificate
print(authority.run, certificate.name, flush=True)
"""


def test_processes_that_create_at_once_share_one_authority(folder):
    names = [f"shard-{number}" for number in range(4)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, folder, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    try:
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=60)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate(timeout=60)

    run = (folder / "run").read_text().strip()
    assert answers == [f"{run} {name}.pem\n" for name in names]
    assert list(folder.parent.iterdir()) == [folder]
    for name in names:
        assert_good(Identity.load(folder, name), folder)


def test_name_issued_by_another_meanwhile_ends_with_a_pair_that_fits(authority, folder):
    states = []

    def clock():
        states.append((folder / "shard-3.key").exists())
        if len(states) == 1:
            (folder / "shard-3.key").unlink()
            authority.issue("shard-3")
        return START

    late = CertificateAuthority(folder, clock)

    identity = late.issue("shard-3")

    assert states[0], "the other has not come between the key and the certificate"
    assert_good(identity, folder)


def test_certificate_that_is_never_good_is_given_up(folder):
    authority = CertificateAuthority(
        CertificateAuthority.open_or_create(folder, "figure-7", Calendar())._folder,
        Calendar(step_days=200),
    )

    with pytest.raises(CredentialsError, match=r"shard-3\.pem: not as written, after 5 attempts"):
        authority.issue("shard-3")
