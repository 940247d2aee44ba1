"""The test of the best network: trained again from its row, and tested once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from controller.children import Child
from controller.errors import LedgerError
from controller.search_ledger import SearchLedger
from deploy.settings import SearchSettings, SplitData
from workers.child import spawn_child_worker
from workers.placement import Placement
from workers.process import ProcessSetup
from workers.pulse import ProcessDied
from workers.remote import summary_of
from workers.slots import slot
from workers.tester import train_and_test


@dataclass(frozen=True)
class FinalTest:
    """What the best network did on the test data.

    is_reproduced: whether training it again gave the recorded validation figures; None where it
    had been tested before, in an earlier life of the search.
    """

    trial: int
    figure: float
    is_reproduced: bool | None


def final_test(
    settings: SearchSettings,
    setup: ProcessSetup,
    ledger: SearchLedger,
    data: SplitData,
    placement: Placement,
    say: Callable[[str], None],
    is_stopping: Callable[[], bool],
) -> FinalTest | None:
    """Train the best network again from its row, test it once, and write that down.

    The search is over by then: whatever goes wrong here is said, and takes nothing from it.
    """
    best = ledger.progress().best
    if best is None or best.decisions is None or best.seed is None:
        return None
    known = ledger.tests().get(best.trial)
    if known is not None:
        return FinalTest(best.trial, known, None)
    say(f"testing the best network, of trial {best.trial}, once")
    task = settings.task
    architecture = task.space.decode([choice for _, choice in best.decisions], best.depth)
    search_data = ray.put(data.search)

    def spawn() -> Any:
        place = slot(settings.children, placement.of_children)
        return spawn_child_worker(setup, "test", task, search_data, place)

    def is_over() -> bool:
        return is_stopping() or ledger.progress().is_stop_requested

    child = Child(best.trial, architecture, best.seed)
    try:
        result, figure = train_and_test(
            spawn, child, data.test, settings.children.max_deaths, is_over
        )
        ledger.record_test(best.trial, figure)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (whatever it is, it is said)
        is_plain = isinstance(error, LedgerError | ProcessDied | ray.exceptions.RayError)
        reason = summary_of(error) if is_plain else f"{type(error).__name__}: {error}"
        if isinstance(error, KeyboardInterrupt):
            reason = "stopped"
        say(f"the search is finished, but its best network was not tested: {reason}")
        return None
    return FinalTest(best.trial, figure, list(result.validations) == best.validations)
