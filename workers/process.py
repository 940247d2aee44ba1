"""What every process of a search does first."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

ROOMS = ("ps", "child", "controller", "workers", "deploy")


class MixedRoomsError(ImportError):
    """The packages of nasrl do not come from one place."""


@dataclass(frozen=True)
class ProcessSetup:
    """What a process is told before it does anything else."""

    log_dir: Path
    log_level: str = "INFO"

    def enter(self, name: str, num_gpus: float = 0) -> logging.Handler:
        """Check where the code comes from, hide GPUs that are not ours, log to a file.

        Gives the handler that logs, for processes that are reused.

        Args:
            name: of the process; its log is log_dir/name.log.
            num_gpus: granted to the process. Ray does not hide GPUs from one that asked for none.

        Raises:
            MixedRoomsError: a folder of the user's hides one of our packages.
        """
        check_rooms()
        if num_gpus == 0:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        handler = self.log_to(name)
        logger.info("process %d", os.getpid())
        return handler

    def log_to(self, name: str) -> logging.Handler:
        """Send what this process logs to log_dir/name.log, and give the handler that does it.

        Where there is no such folder, to stderr.
        """
        handler: logging.Handler
        try:
            handler = logging.FileHandler(self.log_dir / f"{name}.log", encoding="utf-8")
        except OSError:
            # A node that has joined a cluster without its shared folder can train all the same.
            handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root = logging.getLogger()
        root.addHandler(handler)
        root.setLevel(self.log_level)
        return handler


def check_rooms() -> None:
    """Make sure that all packages of nasrl come from one place.

    Their names are short, so that a folder called `workers` beside a user's script may hide ours.

    Raises:
        MixedRoomsError: one comes from elsewhere; the message says which, and from where.
    """
    home = Path(__file__).resolve().parent.parent
    for room in ROOMS:
        found = [Path(place).resolve() for place in _places(room)]
        if found != [home / room]:
            where = ", ".join(map(str, found)) or "nowhere"
            raise MixedRoomsError(
                f"package {room!r} comes from {where}: must come from {home / room}, with the "
                "rest of nasrl; a folder or module of that name hides it: rename it, or start "
                "from another folder"
            )


def _places(package: str) -> Sequence[str]:
    spec = importlib.util.find_spec(package)
    return () if spec is None else spec.submodule_search_locations or ()
