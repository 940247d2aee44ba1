"""Where the metrics of searches are, as Prometheus takes it from a file or over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deploy.asked_shards import AskedShards, SeenShard
from deploy.run import NoEndpoints, Run


@dataclass(frozen=True)
class ScrapeTargets:
    """What there is to scrape of run directories and shards.

    targets: as file_sd_configs and http_sd_configs take them. left_out: shards whose metrics are
    nowhere, or nobody knows where, by their addresses, with the labels that they would have.
    num_present: of the run directories and addresses that were asked for, how many have processes
    at all.
    """

    targets: Sequence[dict[str, Any]]
    left_out: Mapping[str, dict[str, str]]
    num_present: int

    def keeping(self, before: ScrapeTargets) -> ScrapeTargets:
        """Give them with those of before that do not answer now, and are not known elsewhere.

        Else a shard that died, with a port that it took itself, would be missed by nobody.
        """
        lost = list(self.left_out.values())
        kept = [target for target in before.targets if target["labels"] in lost]
        return replace(self, targets=[*self.targets, *kept])

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
    left_out: dict[str, dict[str, str]] = {}
    num_present = 0
    for each in wanted:
        asked = AskedShards([each], certificates)
        try:
            seen = asked.look()
        except NoEndpoints:
            continue  # not yet, or not any more
        num_present += 1
        for shard in seen:
            labels = _labels_of(shard)
            if shard.metrics_address:
                targets.append(_target(shard.metrics_address, labels))
            else:
                left_out[shard.status.address] = labels
        if Path(each).is_dir():
            targets += _other_targets(Run(each))
    return ScrapeTargets(targets, left_out, num_present)


def _labels_of(seen: SeenShard) -> dict[str, str]:
    process = None if seen.number is None else f"shard-{seen.number}"
    return _labels(seen.place.run, process, is_secure=seen.place.identity is not None)


def _other_targets(run: Run) -> Iterator[dict[str, Any]]:
    is_secure = run.certificates is not None
    for process, address in run.metrics_endpoints().items():
        yield _target(address, _labels(run.path.name, process, is_secure=is_secure))


def _labels(run: str | None, process: str | None, *, is_secure: bool) -> dict[str, str]:
    labels = {"__scheme__": "https" if is_secure else "http"}
    if run is not None:
        labels["run"] = run
    if process is not None:
        labels["process"] = process
    return labels


def _target(address: str, labels: dict[str, str]) -> dict[str, Any]:
    return {"targets": [address], "labels": labels}
