"""Where the metrics of searches are, as Prometheus takes it from a file or over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.asked_shards import AskedShards, SeenShard
from deploy.run import NoEndpoints, Run


@dataclass(frozen=True)
class ScrapeTargets:
    """What there is to scrape of run directories and shards.

    targets: as file_sd_configs and http_sd_configs take them. left_out: processes whose metrics are
    nowhere, or nobody knows where. num_present: of the run directories and addresses that were
    asked for, how many have processes at all.
    """

    targets: Sequence[dict[str, Any]]
    left_out: Sequence[str]
    num_present: int

    def to_json(self) -> str:
        """Give what Prometheus reads."""
        return json.dumps(self.targets, indent=1) + "\n"


def scrape_targets(wanted: Sequence[str], certificates: Path | None = None) -> ScrapeTargets:
    """Find what there is to scrape now.

    Args:
        wanted: run directories, and host:port of single shards.
        certificates: to ask the single shards with.

    Raises:
        ValueError: one is neither.
        deploy.run.RunError: one is a folder, and no run directory, or cannot be read.
        ps.credentials.CredentialsError: the certificates cannot be read.
    """
    targets: list[dict[str, Any]] = []
    left_out: list[str] = []
    num_present = 0
    for each in wanted:
        asked = AskedShards([each], certificates)
        try:
            seen = asked.look()
        except NoEndpoints:
            continue  # not yet, or not any more
        num_present += 1
        targets += [_target_of(shard) for shard in seen if shard.metrics_address]
        left_out += [shard.status.address for shard in seen if not shard.metrics_address]
        if Path(each).is_dir():
            targets += _other_targets(Run(each))
    return ScrapeTargets(targets, left_out, num_present)


def _target_of(seen: SeenShard) -> dict[str, Any]:
    process = None if seen.number is None else f"shard-{seen.number}"
    is_secure = seen.place.identity is not None
    return _target(seen.metrics_address, seen.place.run, process, is_secure=is_secure)


def _other_targets(run: Run) -> Iterator[dict[str, Any]]:
    is_secure = run.certificates is not None
    for process, address in run.metrics_endpoints().items():
        yield _target(address, run.path.name, process, is_secure=is_secure)


def _target(
    address: str | None, run: str | None, process: str | None, *, is_secure: bool
) -> dict[str, Any]:
    labels = {"__scheme__": "https" if is_secure else "http"}
    if run is not None:
        labels["run"] = run
    if process is not None:
        labels["process"] = process
    return {"targets": [address], "labels": labels}
