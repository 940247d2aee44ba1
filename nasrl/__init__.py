"""Neural architecture search with reinforcement learning, as a distributed system.

What a person uses from Python, under one name:

>>> import nasrl
>>> settings = nasrl.load_settings(overrides=["num_trials=60"])
>>> settings.num_trials
60
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from child.custom.choice_space import ChoiceSpace, Choose
    from child.custom.outcome import Outcome
    from child.result import Infeasible
    from child.space import AnchorDecision, Decision, Space
    from deploy.results import Results
    from deploy.run import Run, RunError
    from deploy.settings import SearchSettings
    from deploy.settings_file import SettingsError, load_settings

__all__ = [
    "AnchorDecision",
    "ChoiceSpace",
    "Choose",
    "Decision",
    "Infeasible",
    "Outcome",
    "Results",
    "Run",
    "RunError",
    "SearchSettings",
    "SettingsError",
    "Space",
    "load_settings",
]

_HOMES = {
    "AnchorDecision": "child.space",
    "ChoiceSpace": "child.custom.choice_space",
    "Choose": "child.custom.choice_space",
    "Decision": "child.space",
    "Infeasible": "child.result",
    "Outcome": "child.custom.outcome",
    "Results": "deploy.results",
    "Run": "deploy.run",
    "RunError": "deploy.run",
    "SearchSettings": "deploy.settings",
    "SettingsError": "deploy.settings_file",
    "Space": "child.space",
    "load_settings": "deploy.settings_file",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: the whole would take seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nasrl' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
