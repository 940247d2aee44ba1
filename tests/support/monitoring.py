"""The files of deploy/monitoring, and the expressions in them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: apt install prometheus"
)


def dashboard() -> dict[str, Any]:
    """Give the dashboard."""
    found: dict[str, Any] = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    return found


def panels() -> list[dict[str, Any]]:
    """Give the panels that show something: all but the headings of rows."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def alerts() -> list[dict[str, Any]]:
    """Give the rules."""
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    """Give every expression of the dashboard and of the rules, each with its place."""
    for panel in panels():
        for target in panel["targets"]:
            yield f"panel {panel['title']!r}, {target['refId']}", target["expr"]
    for rule in alerts():
        yield f"alert {rule['alert']}", rule["expr"]
