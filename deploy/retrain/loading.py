"""What a person says is to be trained after a search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploy.retrain.defaults import default_retrain_settings
from deploy.retrain.settings import RetrainSettings
from deploy.settings import NetworkSearchSettings
from deploy.settings_file import apply_override, checked, read_settings


def load_retrain_settings(
    search: NetworkSearchSettings, path: Path | None = None, overrides: Sequence[str] = ()
) -> RetrainSettings:
    """Read what is to be trained; what is not given is as `default_retrain_settings` has it.

    Args:
        path: a YAML file, if there is one; if it has a grid, that is the whole of it.
        overrides: see `deploy.settings_file.load_settings`.

    Raises:
        SettingsError: the file cannot be read, or a key or value is wrong.
    """
    data = default_retrain_settings(search).model_dump(mode="json")
    if path is not None:
        given = read_settings(path)
        final = given.get("final")
        merged = data["final"] | final if isinstance(final, dict) else final or data["final"]
        data = {**data, **given, "final": merged}
    for override in overrides:
        apply_override(data, override)
    origin = "the default ones" if path is None else str(path)
    changed = ", and what was changed" if overrides else ""
    return checked(data, RetrainSettings, f"{origin}{changed}")
