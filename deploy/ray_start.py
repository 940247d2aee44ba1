"""How Ray is started on this machine: once more, where it does not come up."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

import ray

from workers.remote import summary_of

logger = logging.getLogger(__name__)


def start_ray(say: Callable[[str], None], **options: Any) -> None:
    """Start Ray on this machine, and join it.

    Rarely one of Ray's processes is gone before it has written a line, and Ray waits for half a
    minute in vain; the next time it comes up.

    Args:
        say: is told when it is started once more.
        options: of `ray.init`.

    Raises:
        ValueError, ConnectionError, RuntimeError, OSError: it does not start. Nothing is left of
            what had begun to.
    """
    try:
        _start(**options)
    except RuntimeError as error:
        logger.warning("Ray did not start", exc_info=True)
        say(f"Ray did not start, and is started once more: {summary_of(error)}")
        _start(**options)


def _start(**options: Any) -> None:
    if ray.is_initialized():
        raise ValueError("Ray runs in this process already: must be left first, by ray.shutdown()")
    try:
        ray.init(address="local", **options)
    except (ValueError, ConnectionError, OSError):
        raise
    except Exception as error:
        _end_half_started(error)
        # Ray raises its errors as it likes, some as plain Exceptions.
        raise RuntimeError(str(error)) from error


def _end_half_started(error: BaseException) -> None:
    """End what Ray had started before it gave up: it leaves that to the end of this process."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        # It is Ray's own object, whose name may change.
        end_all = getattr(frame.f_locals.get("self"), "kill_all_processes", None)
        if end_all is not None:
            end_all(check_alive=False)
            return
