"""The settings that a search is resumed with: which may change, and why the others may not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sql

from controller.database_url import database_url

if TYPE_CHECKING:
    from deploy.run import Run
    from deploy.settings import SearchSettings

# What may change between two lives of a search; a section stands for all that is in it.
CHANGEABLE = (
    "num_trials",
    "num_replicas",
    "time_limit_s",
    "target_reward",
    "rounds",
    "children",
    "client",
    "shards",
    "metrics",
)

# What is in a section that may change, and may not itself; and whatever deserves its own reason.
_REASONS = {
    "num_shards": "the shards' state is cut for as many; change it with nasrl reshard",
    "shards.durability": "the shards' state on disk is of this kind",
    "ledger_url": "the ledger stays where it is",
    "seed": "trials that are trained again are drawn from it",
    "baseline_decay": "the baseline of the rewards so far was made with it",
    "baseline_start": "the baseline of the rewards so far was made with it",
    "optimizer": "the shards' moments were made with it",
    "updates": "the shards' state was made with it",
    "policy": "the policy on the shards is of this shape",
}
_REASON = "the rewards so far would not be of the same search"


def resumed_settings(run: Run, overrides: Sequence[str]) -> SearchSettings:
    """Give the settings of a run with changes, as --set takes them.

    ledger_url may have another password.

    Raises:
        SettingsError: a change that cannot be, or that may not be in a search that has begun.
    """
    from deploy.settings_file import SettingsError, load_settings

    before = run.settings
    after = load_settings(run.path / "settings.yaml", overrides)
    old, new = before.shown, after.shown
    if _without_password(before.ledger_url) == _without_password(after.ledger_url):
        new["ledger_url"] = old["ledger_url"]
    refused = [
        f"{key}={value!r}: must stay {former!r}; {_reason(key)}"
        for key, former, value in _changes(old, new)
        if not _may_change(key)
    ]
    if not refused and before.untrained().layout.sha256 != after.untrained().layout.sha256:
        refused = [
            f"num_trials={after.num_trials}: the networks would get deeper than the policy on the "
            "shards has weights for, with policy.sharing=position"
        ]
    if refused:
        lines = "".join(f"\n  - {line}" for line in refused)
        raise SettingsError(
            f"the search in {run.path} cannot be resumed with other settings than these: "
            f"{', '.join(CHANGEABLE)}; start a new search for:{lines}"
        )
    return after


def _without_password(ledger_url: str | None) -> sql.URL | None:
    return None if ledger_url is None else database_url(ledger_url).set(password="")


def _changes(
    old: Mapping[str, Any], new: Mapping[str, Any], section: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Give (key in dots, old value, new value) of everything that differs."""
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _changes(before, after, f"{section}{key}.")
        elif before != after:
            yield f"{section}{key}", before, after


def _may_change(key: str) -> bool:
    return key.split(".")[0] in CHANGEABLE and key not in _REASONS


def _reason(key: str) -> str:
    return _REASONS.get(key) or _REASONS.get(key.split(".")[0]) or _REASON
