"""A page of metrics: who gets it, and who cannot hold it up."""

import socket
import ssl
import threading
import urllib.request
from wsgiref.simple_server import WSGIServer

import pytest
from prometheus_client import CollectorRegistry, Counter

from ps import metrics_page
from ps.authority import CertificateAuthority
from ps.metrics_page import MetricsPage


@pytest.fixture
def registry():
    found = CollectorRegistry()
    Counter("tries", "Tries.", registry=found).inc(3)
    return found


@pytest.fixture
def authority(tmp_path):
    return CertificateAuthority.open_or_create(tmp_path / "certificates", "a run")


def context_of(identity):
    context = ssl.create_default_context(cafile=identity.authority)
    context.check_hostname = False  # names in certificates are no addresses
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(identity.certificate, identity.key)
    return context


def scrape(page, identity=None):
    scheme, context = ("http", None) if identity is None else ("https", context_of(identity))
    with urllib.request.urlopen(
        f"{scheme}://{page.address}/metrics", timeout=5, context=context
    ) as answer:
        return answer.read().decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_page_is_at_its_address(registry, host):
    with MetricsPage(registry, host, 0, None) as page:
        assert page.address == f"{host}:{page.port}"
        assert "tries_total 3.0" in scrape(page)


@pytest.mark.parametrize("name", ["replica-7", "launcher", "shard-3"])
def test_page_of_every_process_is_shown_to_the_observer(registry, authority, name):
    with MetricsPage(registry, "127.0.0.1", 0, authority.issue(name)) as page:
        assert "tries_total 3.0" in scrape(page, authority.issue("observer"))


@pytest.mark.parametrize("is_secure", [False, True])
def test_caller_that_says_nothing_holds_up_neither_others_nor_the_end(
    registry, authority, is_secure
):
    identity = authority.issue("replica-0") if is_secure else None
    page = MetricsPage(registry, "127.0.0.1", 0, identity)
    with socket.create_connection(("127.0.0.1", page.port)):
        assert "tries_total 3.0" in scrape(page, identity)
        ending = threading.Thread(target=page.close)
        ending.start()
        ending.join(5)
        assert not ending.is_alive()


def test_thread_of_a_page_has_ended_when_it_is_closed(registry, monkeypatch):
    is_released = threading.Event()

    def linger(server):
        WSGIServer.serve_forever(server)
        assert is_released.wait(timeout=10)

    monkeypatch.setattr(metrics_page._Server, "serve_forever", linger)
    before = set(threading.enumerate())
    page = MetricsPage(registry, "127.0.0.1", 0, None)
    ending = threading.Thread(target=page.close)
    ending.start()
    ending.join(1)
    assert ending.is_alive()
    is_released.set()
    ending.join(5)
    assert set(threading.enumerate()) <= before


def test_broken_certificate_leaves_no_port_open(registry, authority):
    identity = authority.issue("replica-0")
    identity.key.write_text("no key")
    with pytest.raises(ssl.SSLError):
        MetricsPage(registry, "127.0.0.1", 0, identity)
