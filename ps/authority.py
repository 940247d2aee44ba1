"""The certificate authority of one run: it names shards, replicas and those who only look."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ps.credentials import CredentialsError, Identity, role_of

# A certificate is renewed when a search starts and less than half of its lifetime is left: so half
# a lifetime is how long a search may run without a pause. The paper's longest took
# four weeks; this allows six months. What the authority has left then, two years, outlives all
# that it issues in that time.
CERTIFICATE_LIFETIME = timedelta(days=366)
AUTHORITY_LIFETIME = timedelta(days=4 * 366)
CLOCK_SKEW = timedelta(hours=1)  # how far the clock of another machine may be behind

_MAX_LABEL_CHARS = 40
_MAX_ATTEMPTS = 5

Clock = Callable[[], datetime]
Extensions = list[tuple[x509.ExtensionType, bool]]  # each with whether it is critical


def run_label(folder_name: str, suffix: str) -> str:
    """Give a DNS label that reminds of the folder: [a-z0-9-], at most 40 characters.

    Args:
        folder_name: any text.
        suffix: a few characters of [a-z0-9] that make the label unique; kept whole.

    >>> run_label("Figure 7 (CIFAR-10)", "5eed")
    'figure-7-cifar-10-5eed'
    """
    words = re.sub("[^a-z0-9]+", "-", folder_name.lower()).strip("-") or "run"
    return f"{words[: _MAX_LABEL_CHARS - len(suffix) - 1].rstrip('-')}-{suffix}"


def _now() -> datetime:
    return datetime.now(UTC)


class CertificateAuthority:
    """Issues the certificates of one run, in a folder that only its owner can read.

    The folder holds `authority.pem` and `authority.key`, the run's label in `run`, and for every
    name `<name>.pem` and `<name>.key`. A renewal makes a new certificate for the same key: whoever
    reads a pair meanwhile gets one that fits, and what the authority has issued stays valid.

    Threads: one at a time. Processes: several that create it at once end with the same one.
    """

    def __init__(self, folder: Path, clock: Clock = _now) -> None:
        """Read the authority in the folder.

        Raises:
            CredentialsError: a file of it is missing or broken.
        """
        self._folder = folder
        self._clock = clock
        try:
            self._key = _read_key(folder / "authority.key")
            self._certificate = _read_certificate(folder / "authority.pem")
            if not _is_issued(self._certificate, self._certificate, self._key):
                raise CredentialsError(f"{folder / 'authority.key'}: not the key of authority.pem")
        except CredentialsError as error:
            raise CredentialsError(
                f"{error}; put it back from a copy, or start a new search, which makes an "
                "authority of its own"
            ) from error
        (common_name,) = self._certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        self.run = str(common_name.value)

    @classmethod
    def open_or_create(cls, folder: Path, run: str, clock: Clock = _now) -> CertificateAuthority:
        """Give the authority in the folder, made if there is none, renewed if it is old.

        Args:
            folder: made with mode 0700; absent or empty if a new authority is to be made.
            run: the run directory's name, which a new authority's label reminds of. An authority
                keeps its label for good, whatever becomes of the directory.
            clock: gives the time now, with its zone.

        Raises:
            CredentialsError: a file of the authority is missing or broken.
        """
        if not (folder / "authority.pem").exists():
            _create(folder, run_label(run, secrets.token_hex(4)), clock())
        authority = cls(folder, clock)
        authority._restore()
        return authority

    def issue(self, name: str) -> Identity:
        """Give the identity of this name, by the files in the folder if they are good.

        Good is a pair that fits, issued by this authority for this name and its uses, with at
        least half of its lifetime left. Otherwise the certificate is made anew, and the key too if
        it is missing or broken.

        Args:
            name: launcher, observer, shard-N or replica-N.

        Raises:
            ValueError: there is no such name.
            CredentialsError: the folder does not keep what is written to it.
        """
        role, _ = role_of(name)
        identity = Identity.load(self._folder, name)
        # Looking again after writing settles it when two processes issue the same name.
        for _ in range(_MAX_ATTEMPTS):
            if self._is_good(identity, role):
                return identity
            self._write_pair(identity, role)
        raise CredentialsError(
            f"{identity.certificate}: not as written, after {_MAX_ATTEMPTS} attempts; "
            "does another process write there?"
        )

    def _restore(self) -> None:
        if not _has_time_left(self._certificate, self._clock()):
            self._certificate = _sign_authority(self.run, self._key, self._clock())
            _write(self._folder / "authority.pem", _pem(self._certificate))
        label = f"{self.run}\n".encode()
        path = self._folder / "run"
        if not path.exists() or path.read_bytes() != label:
            _write(path, label)

    def _is_good(self, identity: Identity, role: str) -> bool:
        try:
            key = _read_key(identity.key)
            certificate = _read_certificate(identity.certificate)
            extensions = [(each.value, each.critical) for each in certificate.extensions]
        except (CredentialsError, ValueError):
            return False
        return (
            _is_issued(certificate, self._certificate, key)
            and certificate.subject == _named(f"{identity.name}.{self.run}")
            and extensions == self._extensions(identity, role, key.public_key())
            and _has_time_left(certificate, self._clock())
        )

    def _write_pair(self, identity: Identity, role: str) -> None:
        try:
            key = _read_key(identity.key)
        except CredentialsError:
            key = ec.generate_private_key(ec.SECP256R1())
            _write(identity.key, _private_pem(key))
        certificate = _sign(
            f"{identity.name}.{self.run}",
            key.public_key(),
            self._extensions(identity, role, key.public_key()),
            (self._clock(), CERTIFICATE_LIFETIME),
            (self.run, self._key),
        )
        _write(identity.certificate, _pem(certificate))

    def _extensions(
        self, identity: Identity, role: str, public_key: ec.EllipticCurvePublicKey
    ) -> Extensions:
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if role == "shard":  # with any other certificate nobody can pose as one
            uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
        return [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_key_usage(is_authority=False), True),
            (x509.ExtendedKeyUsage(uses), False),
            (x509.SubjectAlternativeName([x509.DNSName(f"{identity.name}.{self.run}")]), False),
            (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
            # By its key alone: so it stays true when the authority is renewed.
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False),
        ]


def _create(folder: Path, label: str, now: datetime) -> None:
    """Make the folder with an authority in it, all at once; a folder that holds files stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))  # 0700
    try:
        key = ec.generate_private_key(ec.SECP256R1())
        _write(scratch / "authority.key", _private_pem(key))
        _write(scratch / "authority.pem", _pem(_sign_authority(label, key, now)))
        _write(scratch / "run", f"{label}\n".encode())
        scratch.rename(folder)
        _sync_folder(folder.parent)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sign_authority(label: str, key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    extensions: Extensions = [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_key_usage(is_authority=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    ]
    return _sign(label, key.public_key(), extensions, (now, AUTHORITY_LIFETIME), (label, key))


def _sign(
    name: str,
    public_key: ec.EllipticCurvePublicKey,
    extensions: Extensions,
    validity: tuple[datetime, timedelta],
    issuer: tuple[str, ec.EllipticCurvePrivateKey],
) -> x509.Certificate:
    now, lifetime = validity
    issuer_name, issuer_key = issuer
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(issuer_name))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, is_critical)
    return builder.sign(issuer_key, hashes.SHA256())


def _is_issued(
    certificate: x509.Certificate, issuer: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> bool:
    """Tell whether the issuer signed the certificate, and for this key."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return certificate.public_key() == key.public_key()


def _has_time_left(certificate: x509.Certificate, now: datetime) -> bool:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return start <= now and end - now >= (end - start) / 2


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError as error:
        raise CredentialsError(f"{path}: not a certificate ({error})") from error


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(_read(path), password=None)
    except (TypeError, ValueError) as error:  # TypeError: it needs a password
        raise CredentialsError(f"{path}: not a private key ({error})") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CredentialsError(f"{path}: not a private key on an elliptic curve")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialsError(f"{path}: cannot be read ({error.strerror})") from error


def _write(path: Path, data: bytes) -> None:
    """Replace the file, atomically and durably; nobody but its owner can ever read it."""
    number, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(number)
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
