"""Weights of a network on disk, with what is known of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy

from child.weights import Weights
from deploy.durable_file import make_durably, write_durably, write_new_durably
from ps.disk import Disk


class WeightsFileError(Exception):
    """A file of weights is not what it must be; the message names it."""


def write_weights(
    path: Path, weights: Weights, says: dict[str, Any], *, is_new: bool = False
) -> None:
    """Write a safetensors file so that, after a power cut, too, it is whole or not there.

    Args:
        says: a JSON object; it is in the file's metadata, under the name nasrl.
        is_new: a file that is there already stays.

    Raises:
        FileExistsError: there is one, and this was to be new.
        OSError: it cannot be written.
    """
    disk = Disk()
    make_durably(disk, path.parent)
    write = write_new_durably if is_new else write_durably
    write(disk, path, safetensors.numpy.save(weights, {"nasrl": json.dumps(says)}))


def read_weights(path: Path) -> tuple[Weights, dict[str, Any]] | None:
    """Give the weights of a file, and what it says of them; None where there is none.

    Raises:
        WeightsFileError: the file cannot be read.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            says = json.loads(file.metadata()["nasrl"])
            weights = {name: file.get_tensor(name) for name in file.offset_keys()}
    except FileNotFoundError:
        return None
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsFileError(f"{path} cannot be read: {error}") from error
    return weights, says
