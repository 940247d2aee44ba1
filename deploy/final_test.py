"""The test of the best network: trained again from its row, tested once, and kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from child.trained import TrainedChild
from controller.children import Child
from controller.errors import LedgerError
from controller.search_ledger import SearchLedger
from controller.trial import Trial
from deploy.kept_network import KeptNetwork
from deploy.run import Run
from deploy.settings import NetworkSearchSettings, SplitData
from deploy.weights_file import WeightsFileError
from workers.child import spawn_child_worker
from workers.placement import Placement
from workers.process import ProcessSetup
from workers.pulse import ProcessDied
from workers.remote import summary_of
from workers.slots import slot
from workers.tester import train_and_test

logger = logging.getLogger(__name__)


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
    settings: NetworkSearchSettings,
    setup: ProcessSetup,
    run: Run,
    ledger: SearchLedger,
    data: SplitData,
    placement: Placement,
    say: Callable[[str], None],
    is_stopping: Callable[[], bool],
) -> FinalTest | None:
    """Train the best network again from its row, test it once, and write that down.

    Its weights are kept in the run directory, with the figure, before the ledger has it: a search
    that dies between the two takes the figure from there, and tests nothing again.

    The search is over by then: whatever goes wrong here is said, and takes nothing from it.
    """
    best = ledger.progress().best
    if best is None or best.decisions is None or best.seed is None:
        return None
    known = ledger.tests().get(best.trial)
    if known is not None:
        return FinalTest(best.trial, known, None)
    task = settings.task
    architecture = task.space.decode([choice for _, choice in best.decisions], best.depth)
    child = Child(best.trial, architecture, best.seed)

    def spawn() -> Any:
        place = slot(settings.children, placement.of_children)
        return spawn_child_worker(setup, "test", task, ray.put(data.search), place)

    def is_over() -> bool:
        return is_stopping() or ledger.progress().is_stop_requested

    try:
        kept = _kept(run, best)
        if kept is None:
            say(f"testing the best network, of trial {best.trial}, once")
            tested = train_and_test(spawn, child, data.test, settings.children.max_deaths, is_over)
            kept = _keep(run, best, tested, say)
        ledger.record_test(best.trial, kept.test)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (whatever it is, it is said)
        is_plain = isinstance(error, LedgerError | ProcessDied | ray.exceptions.RayError)
        reason = summary_of(error) if is_plain else f"{type(error).__name__}: {error}"
        if isinstance(error, KeyboardInterrupt):
            reason = "stopped"
        say(f"the search is finished, but its best network was not tested: {reason}")
        return None
    return FinalTest(best.trial, kept.test, list(kept.validations) == best.validations)


def _kept(run: Run, best: Trial) -> KeptNetwork | None:
    """Give the network that an earlier life of the search has tested and not recorded."""
    try:
        return KeptNetwork.find(run.network_path(best.trial), best)
    except WeightsFileError as error:
        logger.warning("%s; the network is trained again", error)
        return None


def _keep(run: Run, best: Trial, tested: TrainedChild, say: Callable[[str], None]) -> KeptNetwork:
    assert tested.test is not None, "it was tested"
    network = KeptNetwork(
        best.trial,
        best.architecture_sha256 or "",
        tested.result.validations,
        tested.test,
        tested.weights,
    )
    try:
        network.write(run.network_path(best.trial))
    except OSError as error:
        say(f"the weights of the best network were not kept: {error}")
    return network
