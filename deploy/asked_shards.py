"""The shards that a person asks about: where they are, and how they are doing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from deploy.run import Run
from ps.address import port_of
from ps.credentials import Identity
from ps.status import ShardStatus, read_status

MAX_THREADS = 64


@dataclass(frozen=True)
class ShardPlace:
    """Where a shard listens, as whom it is asked, and what is known of it without asking.

    run is the name of its run directory, metrics_port what the settings fix; None is not known.
    """

    address: str
    identity: Identity | None
    run: str | None = None
    shard: int | None = None
    metrics_port: int | None = None


@dataclass(frozen=True)
class SeenShard:
    """What a shard answered at its place."""

    place: ShardPlace
    status: ShardStatus

    @property
    def is_serving(self) -> bool:
        return self.status.health == "SERVING"

    @property
    def number(self) -> int | None:
        """Which shard it is; None if it does not say, and nobody knows."""
        described = self.status.description
        return self.place.shard if described is None else described.shard

    @property
    def metrics_address(self) -> str | None:
        """host:port of its /metrics; None if it has none, or does not say and nobody knows."""
        described = self.status.description
        port = self.place.metrics_port if described is None else described.metrics_port
        host, _, _ = self.place.address.rpartition(":")
        return f"{host}:{port}" if port else None


class AskedShards:
    """The shards of run directories and at addresses."""

    def __init__(self, targets: Sequence[str], certificates: Path | None = None) -> None:
        """Take note of whom to ask.

        Args:
            targets: run directories, and host:port of single shards.
            certificates: to ask the single shards with; those of a run have its own.

        Raises:
            ValueError: a target is neither.
            deploy.run.RunError: a target is a folder, and no run directory.
        """
        self._certificates = certificates
        self._targets = [_run_or_address(target) for target in targets]

    def look(self) -> list[SeenShard]:
        """Ask all of them at the same time, where they are now.

        Raises:
            deploy.run.NoEndpoints: a run has no shards: its search has not begun, or has ended.
            deploy.run.RunError: a run directory cannot be read.
            ps.credentials.CredentialsError: the certificates cannot be read.
        """
        places = list(self._places())
        with ThreadPoolExecutor(min(len(places), MAX_THREADS), "ask-shards") as threads:
            seen = list(threads.map(_ask, places))
        if not all(shard.is_serving for shard in seen):
            # Shards that drain at the end of their search are not shown as broken.
            list(self._places())
        return seen

    def _places(self) -> Iterator[ShardPlace]:
        for target in self._targets:
            if isinstance(target, Run):
                identity = target.identity("observer")
                for shard, address in enumerate(target.endpoints()):
                    port = target.fixed_metrics_port(shard)
                    yield ShardPlace(address, identity, target.path.name, shard, port)
            else:
                folder = self._certificates
                identity = None if folder is None else Identity.load(folder, "observer")
                yield ShardPlace(target, identity)


def _run_or_address(target: str) -> Run | str:
    if Path(target).is_dir():
        return Run(target)
    try:
        port_of(target)
    except ValueError as error:
        raise ValueError(
            f"{target}: must be a run directory, or the address of a shard: {error}"
        ) from error
    return target


def _ask(place: ShardPlace) -> SeenShard:
    return SeenShard(place, read_status(place.address, identity=place.identity, shard=place.shard))
