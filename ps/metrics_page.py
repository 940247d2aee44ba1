"""A page of metrics, as Prometheus fetches it."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from socketserver import ThreadingMixIn
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from ps.credentials import Identity

logger = logging.getLogger(__name__)

# Whoever connects and says nothing keeps one thread for so long, and holds up nobody.
_PATIENCE_S = 10.0


class MetricsPage:
    """Answers at /metrics what a registry holds, from its construction until `close`.

    With an identity over TLS, to whoever has a certificate of the run.

    address: host:port where it is.

    Threads: may be called from many.
    """

    def __init__(
        self, registry: CollectorRegistry, host: str, port: int, identity: Identity | None
    ) -> None:
        """Bind, and answer from now on.

        Args:
            port: 0 takes a free one.

        Raises:
            OSError: the address cannot be bound, or a certificate cannot be read.
        """
        bare_host = host.removeprefix("[").removesuffix("]")
        self._server = _Server((bare_host, port), _Handler, identity)
        self._server.set_app(make_wsgi_app(registry))
        self.port: int = self._server.server_port
        self.address = f"{host}:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answer no more; its thread has ended when this returns."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(
        self, where: tuple[str, int], handler: type[WSGIRequestHandler], identity: Identity | None
    ) -> None:
        [(self.address_family, *_), *_] = socket.getaddrinfo(*where, type=socket.SOCK_STREAM)
        super().__init__(where, handler)
        if identity is not None:
            try:
                self.socket = _context(identity).wrap_socket(
                    self.socket,
                    server_side=True,
                    do_handshake_on_connect=False,  # but on the thread of the request
                )
            except OSError:
                self.server_close()
                raise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what was wrong with a request; nobody is harmed by it."""
        logger.debug("metrics were not given to %s", client_address, exc_info=True)


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
        """Say nothing of what goes well."""


def _context(identity: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(identity.authority)
    context.load_cert_chain(identity.certificate, identity.key)
    return context
