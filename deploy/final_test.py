"""The test of the best network: trained again from its row, and tested once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import ray

from controller.children import Child
from controller.errors import LedgerError
from controller.search_ledger import SearchLedger
from deploy.settings import SearchSettings, SplitData
from workers.child import spawn_child_worker
from workers.process import ProcessSetup
from workers.remote import result_of, summary_of

POLL_S = 0.5


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
    worker = spawn_child_worker(setup, "test", task, ray.put(data.search), settings.children)
    child = Child(best.trial, architecture, best.seed)
    try:
        reference = worker.test.remote(child, data.test)
        while not ray.wait([reference], timeout=POLL_S)[0]:
            if is_stopping():
                raise KeyboardInterrupt
        result, figure = result_of(reference)
        ledger.record_test(best.trial, figure)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (whatever it is, it is said)
        is_plain = isinstance(error, LedgerError | ray.exceptions.RayError)
        reason = summary_of(error) if is_plain else f"{type(error).__name__}: {error}"
        if isinstance(error, KeyboardInterrupt):
            reason = "stopped"
        say(f"the search is finished, but its best network was not tested: {reason}")
        return None
    finally:
        ray.kill(worker)
    return FinalTest(best.trial, figure, list(result.validations) == best.validations)
