"""Architectures that a person can name: known ones, files, and trials of a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from child.convolutional.architecture import ConvolutionalArchitecture
from child.custom.space import CustomArchitecture
from child.recurrent.architecture import CellArchitecture
from child.zoo import FIGURE_7, NAS_CELL
from deploy.known_trial import KnownTrial, TrialError, known_trial

if TYPE_CHECKING:
    from child.task import NetworkTask

KNOWN = ("figure-7", "nas-cell", "lstm")


class ArchitectureError(ValueError):
    """There is no such architecture, or it is not of this task's kind."""


@dataclass(frozen=True)
class KnownArchitecture:
    """An architecture, and the trial that it is of, if it is of one."""

    architecture: Any
    trial: KnownTrial | None = None


def known_architecture(name: str, task: NetworkTask) -> Any:
    """Give an architecture of the task's kind.

    Args:
        name: see `find_architecture`.

    Raises:
        ArchitectureError: there is none, or another kind of task has it.
    """
    try:
        architecture = find_architecture(name).architecture
    except ArchitectureError as error:
        raise ArchitectureError(f"architecture={error}") from error
    if not isinstance(architecture, task.architectures):
        of_images = isinstance(architecture, ConvolutionalArchitecture)
        raise ArchitectureError(
            f"architecture={name}: is of another kind than data.name asks for: it is trained on "
            f"{'images' if of_images else 'texts'}"
        )
    return architecture


def find_architecture(name: str, trial: str | None = None) -> KnownArchitecture:
    """Give the architecture of that name.

    Args:
        name: figure-7, nas-cell, or lstm; a JSON file that describes one; a run directory, for its
            best trial; or RUN:TRIAL.
        trial: of a run directory, its number, or best.

    Raises:
        ArchitectureError: there is none.
    """
    try:
        if trial is not None:
            if name in KNOWN or not Path(name).is_dir():
                raise ValueError(f"must be a run directory, since trial {trial} is asked for")
            return _of_trial(known_trial(name, trial))
        if name in KNOWN:
            return KnownArchitecture(_known(name))
        path = Path(name)
        if path.is_file():
            return KnownArchitecture(_described(json.loads(path.read_text(encoding="utf-8"))))
        run, _, which = (name, "", "best") if path.is_dir() else name.rpartition(":")
        if not run or not Path(run).is_dir() or not (which == "best" or which.isdecimal()):
            raise ValueError(
                f"must be one of {', '.join(KNOWN)}, a JSON file, a run directory, or RUN:TRIAL"
            )
        return _of_trial(known_trial(run, which))
    except TrialError as error:
        raise ArchitectureError(str(error)) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArchitectureError(f"{name}: must be JSON, is not: {error}") from error
    except (OSError, ValueError) as error:
        raise ArchitectureError(f"{name}: {error}") from error


def _known(name: str) -> Any:
    if name == "lstm":
        # With the layers of language models comes torch, which whoever only looks does not need.
        from child.language.layers import LSTM

        return LSTM
    return FIGURE_7 if name == "figure-7" else NAS_CELL


def _of_trial(trial: KnownTrial) -> KnownArchitecture:
    if set(trial.architecture) <= {"architecture", "undecodable"}:
        value = trial.architecture.get("architecture", trial.architecture)
        return KnownArchitecture(CustomArchitecture.of(value), trial)
    return KnownArchitecture(_described(trial.architecture), trial)


def _described(described: object) -> ConvolutionalArchitecture | CellArchitecture:
    """Give the architecture that its `to_json` described, of either kind."""
    if not isinstance(described, dict) or not {"layers", "nodes"} & set(described):
        raise ValueError(
            "must be a JSON object that describes an architecture: one with layers, or with nodes"
        )
    try:
        if "layers" in described:
            return ConvolutionalArchitecture.from_json(described)
        return CellArchitecture.from_json(described)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"describes no architecture: {error}") from error
