"""A search looks at shards that somebody else started before it uses them."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from support.clock import FakeClock

from deploy import awaited_shards
from deploy.awaited_shards import SAY_EVERY_S, TIMEOUT_S, AwaitedShardsError, await_shards
from deploy.cli import main
from deploy.settings_file import load_settings
from ps.authority import CertificateAuthority
from ps.client import ClientSettings, ShardClient
from ps.plan import ShardPlan
from ps.server import ServerSettings, ShardServer

RUN = Path("/runs/new")
NOBODY = "127.0.0.1:1"  # a port that no program listens on


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(awaited_shards, "POLL_S", 0.0)


@pytest.fixture
def learner():
    return load_settings(overrides=["num_shards=2"]).untrained()


@pytest.fixture
def start(learner):
    """Give a function that starts a shard without values, and gives its address."""
    with ExitStack() as servers:

        def started(shard, identity=None):
            plan, settings = ShardPlan(learner.layout, shard), ServerSettings(durability="none")
            server = ShardServer(plan, settings, identity=identity)
            return servers.enter_context(server).address

        yield started


@pytest.fixture
def used(start, learner):
    """The addresses of two shards at version 1."""
    addresses = [start(0), start(1)]
    with ShardClient(learner.layout, addresses, ClientSettings()) as client:
        client.initialize(learner.values)
        client.push(0, 1, 1, (0, 0), learner.values)
    return addresses


def wait_for(addresses, *, identity=None, said=None, is_stopping=lambda: False, clock=None):
    say = [].append if said is None else said.append
    await_shards(addresses, RUN, identity, say, is_stopping, clock=clock or FakeClock())


def test_shards_without_values_are_taken_in_silence(start):
    said = []
    wait_for([start(0), start(1)], said=said)
    assert said == []


def test_shard_that_holds_the_values_of_another_search_is_refused(used):
    with pytest.raises(AwaitedShardsError) as caught:
        wait_for(used)
    assert str(caught.value) == (
        f"shards.addresses: shard 0 of 2 at {used[0]} has version 1 already: a new search needs "
        "shards without values; stop it, start the search again, and the shard with "
        "`nasrl shard /runs/new --index 0` while it waits"
    )


def test_shards_in_the_wrong_order_are_refused(start):
    one, zero = start(1), start(0)
    with pytest.raises(AwaitedShardsError) as caught:
        wait_for([one, zero])
    assert str(caught.value) == (
        f"shards.addresses[0]={one}: is shard 1 of 2, must be shard 0 of 2; swap the addresses"
    )


def test_shard_of_another_number_is_refused(start):
    with pytest.raises(AwaitedShardsError, match=r"is shard 0 of 2, must be shard 0 of 3$"):
        wait_for([start(0), start(1), NOBODY])


def test_shard_that_comes_late_is_waited_for_and_asked_for_every_ten_seconds(start):
    said, clock, addresses = [], FakeClock(), [start(0), NOBODY]

    def is_stopping():
        """Let six seconds pass between two looks, and the shard come after the fourth."""
        clock.advance(SAY_EVERY_S * 0.6)
        if clock() >= 1000 + SAY_EVERY_S * 2.4:
            addresses[1] = addresses[1] if addresses[1] != NOBODY else start(1)
        return False

    wait_for(addresses, said=said, is_stopping=is_stopping, clock=clock)

    assert (
        said == [f"still waiting for shard 1 at {NOBODY} (UNAVAILABLE: nothing listens there)"] * 2
    )


def test_shard_that_does_not_come_is_waited_for_ten_minutes():
    clock = FakeClock(step=TIMEOUT_S / 20)
    with pytest.raises(
        AwaitedShardsError, match=rf"shard 0 of 1 at {NOBODY} .*: must answer within 600 s; start"
    ):
        wait_for([NOBODY], clock=clock)


def test_waiting_ends_when_the_search_is_told_to_stop():
    with pytest.raises(KeyboardInterrupt):
        wait_for([NOBODY], is_stopping=lambda: True)


@pytest.mark.parametrize(
    ("has_search_tls", "has_shard_tls", "reason"),
    [
        (True, False, "it listens without TLS, and was asked with the search's certificates"),
        (False, True, "it ends the connection; if it has TLS, it must be asked with cert"),
    ],
)
def test_shard_that_disagrees_about_tls_is_said_to(
    start, tmp_path, has_search_tls, has_shard_tls, reason
):
    authority = CertificateAuthority.open_or_create(tmp_path / "certificates", "run")
    address = start(0, authority.issue("shard-0") if has_shard_tls else None)
    said, looks = [], iter([False, True])
    clock = FakeClock(step=SAY_EVERY_S)
    with pytest.raises(KeyboardInterrupt):
        wait_for(
            [address],
            identity=authority.issue("launcher") if has_search_tls else None,
            said=said,
            is_stopping=lambda: next(looks),
            clock=clock,
        )
    (line,) = said
    assert line.startswith(f"still waiting for shard 0 at {address} (UNAVAILABLE: {reason}")


def test_shard_with_the_certificate_of_another_is_said_to_have_it(start, tmp_path):
    authority = CertificateAuthority.open_or_create(tmp_path / "certificates", "run")
    address = start(1, authority.issue("shard-1"))
    said, looks = [], iter([False, True])
    with pytest.raises(KeyboardInterrupt):
        wait_for(
            [address],
            identity=authority.issue("launcher"),
            said=said,
            is_stopping=lambda: next(looks),
            clock=FakeClock(step=SAY_EVERY_S),
        )
    assert "it shows the certificate of another shard" in said[0]


def test_search_that_is_given_used_shards_starts_nothing_and_leaves_nothing(used, tmp_path, capsys):
    path = tmp_path / "run"
    addresses = f"shards.addresses={used}".replace("'", "")
    code = main(["search", "--set", "num_shards=2", "--set", addresses, "--run-dir", str(path)])
    printed = capsys.readouterr()
    assert code == 1
    assert f"shard 0 of 2 at {used[0]} has version 1 already" in printed.err
    assert "starting Ray" not in printed.out
    assert not path.exists(), "the same command can be repeated"
