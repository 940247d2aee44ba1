"""Who a process of a search is, who its caller is, and what that caller may ask of a shard."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc

_ROLE = re.compile(r"(launcher|observer|shard|replica)(?:-(0|[1-9][0-9]{0,9}))?")
_NUMBERED = {"shard", "replica"}

# Everybody of the run may look: what the shard is, its health, the schema it speaks.
_LOOK = {"Describe", "Check", "Watch", "List", "ServerReflectionInfo"}
_PULL = {"Pull", "PullPieces"}
_PUSH = {"Push", "PushPieces"}
_MAY_CALL = {
    "launcher": _LOOK | _PULL | {"Initialize", "Checkpoint"},
    "replica": _LOOK | _PULL | _PUSH,
    "observer": _LOOK,
    "shard": _LOOK,
}


class CredentialsError(Exception):
    """A file of certificates or keys is missing, broken, or does not belong to the others."""


@dataclass(frozen=True)
class Identity:
    """The name of one process and the files that prove it; the files are read when used.

    It can be pickled; the paths must lead to the same files where it arrives.
    """

    run: str
    name: str
    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def load(cls, folder: Path, name: str) -> Identity:
        """Give the identity that the folder holds under this name.

        Args:
            folder: what `ps.authority.CertificateAuthority` wrote, or the part of it that this
                process needs: `authority.pem`, `run`, and `<name>.pem` and `<name>.key`.
            name: launcher, observer, shard-N or replica-N.

        Raises:
            ValueError: there is no such name.
            CredentialsError: the folder does not tell which run it belongs to.
        """
        role_of(name)
        try:
            run = (folder / "run").read_text("ascii").strip()
        except OSError as error:
            raise _broken(folder / "run", error.strerror) from error
        except UnicodeError as error:
            raise _broken(folder / "run", error) from error
        if not run:
            raise _broken(folder / "run", "empty")
        return cls(
            run, name, folder / "authority.pem", folder / f"{name}.pem", folder / f"{name}.key"
        )

    def server_credentials(self) -> grpc.ServerCredentials:
        """Give a shard's side of mutual TLS: callers of this run alone get through.

        Raises:
            CredentialsError: a file is missing or broken, or the key is another certificate's.
        """
        authority, certificate, key = self._read()
        return grpc.ssl_server_credentials(
            [(key, certificate)], root_certificates=authority, require_client_auth=True
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Give a caller's side of mutual TLS.

        The channel needs `grpc.ssl_target_name_override` as well, see `server_name`.

        Raises:
            CredentialsError: as `server_credentials`.
        """
        authority, certificate, key = self._read()
        return grpc.ssl_channel_credentials(authority, key, certificate)

    def server_name(self, shard: int) -> str:
        """Give the name in a shard's certificate, for `grpc.ssl_target_name_override`."""
        return f"shard-{shard}.{self.run}"

    def name_at(self, address: str, timeout_s: float) -> str:
        """Give the name in the certificate of whoever of this run listens at host:port.

        Raises:
            OSError: nobody listens there, or nobody with a certificate of this run.
            CredentialsError: as `server_credentials`.
        """
        self._read()
        context = self._context()
        context.check_hostname = False  # the name is what is asked for
        host, _, port = address.rpartition(":")
        where = (host.removeprefix("[").removesuffix("]"), int(port))
        with (
            socket.create_connection(where, timeout_s) as connection,
            context.wrap_socket(connection) as secure,
        ):
            certificate = secure.getpeercert() or {}
        names = cast("Sequence[tuple[str, str]]", certificate.get("subjectAltName", ()))
        return " ".join(name for _, name in names)

    def _read(self) -> tuple[bytes, bytes, bytes]:
        contents = []
        for path in (self.authority, self.certificate, self.key):
            try:
                contents.append(path.read_bytes())
            except OSError as error:
                raise _broken(path, error.strerror) from error
        # gRPC takes any bytes; with a pair that does not fit every call would be UNAVAILABLE.
        self._context()
        return contents[0], contents[1], contents[2]

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(["h2"])  # gRPC ends a connection that does not speak it
        try:
            context.load_verify_locations(self.authority)
        except ssl.SSLError as error:
            raise _broken(self.authority, error) from error
        try:
            # Given a password, OpenSSL does not ask the terminal for one.
            context.load_cert_chain(self.certificate, self.key, password="")
        except ssl.SSLError as error:
            raise _broken(f"{self.certificate} with {self.key.name}", error) from error
        return context


def role_of(name: str) -> tuple[str, int | None]:
    """Give the role in a name, and the number of a shard or replica.

    Raises:
        ValueError: not one of launcher, observer, shard-N, replica-N.

    >>> role_of("replica-7"), role_of("observer")
    (('replica', 7), ('observer', None))
    """
    match = _ROLE.fullmatch(name)
    if not match or (match[1] in _NUMBERED) != (match[2] is not None):
        raise ValueError(f"name={name!r}: must be launcher, observer, shard-N or replica-N")
    return match[1], int(match[2]) if match[2] else None


def peer_name(context: grpc.ServicerContext) -> str | None:
    """Give the name in the caller's certificate, such as replica-7.<run>.

    Returns:
        None on a port without TLS. Text that names nobody ("" or several names), if the
        certificate has not exactly one name.
    """
    # types-grpcio takes each fact for bytes; gRPC gives a list of them.
    facts = cast("Mapping[str, list[bytes]]", context.auth_context())
    if facts.get("transport_security_type") != [b"ssl"]:
        return None
    names = facts.get("x509_subject_alternative_name", [])
    return " ".join(name.decode("utf-8", "replace") for name in names)


@dataclass(frozen=True)
class Permissions:
    """Who may call what on the shards of a run; run is None where ports are insecure.

    Without certificates everybody may do everything. With them:

      launcher   looks, initializes, pulls, has checkpoints written
      replica-N  looks, pulls, pushes as replica N
      observer, shard-N  look: Describe, health, reflection
    """

    run: str | None

    def refusal(self, peer: str | None, method: str, replica: int | None = None) -> str | None:
        """Give the sentence that refuses this call, or None if it may go on.

        Args:
            peer: the caller, by `peer_name`.
            method: an RPC such as Push, with or without the service before it.
            replica: in whose name a push is sent; a push without one is refused.
        """
        if self.run is None:
            return None
        rpc = method.rpartition("/")[2]
        name, _, run = (peer or "").partition(".")
        try:
            role, number = role_of(name)
        except ValueError:
            role = ""
        if not role or run != self.run:
            return (
                f"caller={peer!r}: must be launcher, observer, shard-N or replica-N of "
                f"{self.run!r}; use a certificate that this run's launcher issued"
            )
        allowed = [other for other, calls in _MAY_CALL.items() if rpc in calls]
        if role not in allowed:
            return (
                f"caller={peer!r}: must be {' or '.join(allowed)} to call {rpc}; use a certificate "
                "of that name"
                if allowed
                else f"method={method!r}: must be one that somebody may call"
            )
        if rpc in _PUSH and replica != number:
            return (
                f"replica={replica}: must be {number}, the caller is {peer!r}; "
                "push in the name of your own certificate"
            )
        return None


def is_loopback(address: str) -> bool:
    """Tell whether only this machine can reach the address; nothing is resolved.

    A Unix socket, localhost and loopback IP addresses are; any other host name is not.

    >>> is_loopback("[::1]:7070"), is_loopback("0.0.0.0:7070")
    (True, False)
    """
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host, colon, _ = address.rpartition(":")
    host = host if colon else address
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def _broken(path: Path | str, reason: object) -> CredentialsError:
    return CredentialsError(
        f"{path}: cannot be used ({reason}); copy it from the certificates in the search's run "
        "directory, or start a new search, which issues its own"
    )
