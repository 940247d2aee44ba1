"""One search from start to end: its processes, its drain, its result."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

import ray

from child.data.errors import DataCorrupt, DataMissing, DownloadFailed
from controller.baseline import Baseline
from controller.errors import LedgerError
from controller.ledger import Ledger
from controller.records import Progress, PushRecord, SearchRecord, SearchState
from controller.replica import Child
from controller.trial import Trial
from deploy.awaited_shards import AwaitedShardsError, await_shards
from deploy.cluster import ClusterError, Shortage, check_machine, cluster
from deploy.count import counted
from deploy.run import Run
from deploy.settings import SearchSettings, SplitData
from ps.client import ShardClient
from ps.credentials import CredentialsError
from ps.errors import ShardError
from ps.folder import shard_folder
from ps.layout import Layout
from ps.plan import ShardPlan
from workers.child import spawn_child_worker
from workers.ledger import LedgerProcess, RemoteLedger
from workers.process import ProcessSetup
from workers.remote import result_of, spawn, summary_of
from workers.replica import ReplicaPlan, ReplicaProcess
from workers.shard import ShardProcess

logger = logging.getLogger(__name__)

POLL_S = 0.5
CLOSE_MARGIN_S = 2.0


class SearchError(Exception):
    """The search cannot start, or cannot go on; what was recorded stays.

    SearchError
      SearchRefused  nothing was started, since what was given cannot be used: give something else
    """


class SearchRefused(SearchError):
    """Nothing was started: the data cannot be loaded, or not so many children trained at once."""


class Watcher(Protocol):
    """Whoever looks at a search while it runs."""

    def say(self, text: str) -> None:
        """Take note of an event."""
        ...

    def show(self, progress: Progress) -> None:
        """Take note of how far the search is; called about twice a second."""
        ...


@dataclass(frozen=True)
class FinalTest:
    """The best network, trained again from its row and tested once.

    figure: on the test data. is_reproduced: whether training it again gave the recorded validation
    figures.
    """

    figure: float
    is_reproduced: bool


@dataclass(frozen=True)
class SearchResult:
    """How a search ended, with all its rows; test is None where no network was tested.

    num_validation, num_test: of the images, words or characters.
    """

    progress: Progress
    trials: list[Trial]
    pushes: list[PushRecord]
    test: FinalTest | None
    num_validation: int
    num_test: int

    @property
    def has_no_network(self) -> bool:
        """Whether trials were recorded, and of none the network could be trained."""
        return 0 < self.progress.num_recorded == self.progress.num_infeasible


def run_search(
    settings: SearchSettings, run: Run, watcher: Watcher, is_stopping: Callable[[], bool]
) -> SearchResult:
    """Run a search in a new run directory until its budget is spent or it is told to stop.

    Ray is started on this machine, or joined where RAY_ADDRESS says. Whatever happens, no process
    of the search is left behind, and the ledger says how it ended.

    Args:
        is_stopping: asked about twice a second. Once true, the replicas finish the trials they
            have, and the search ends; before the first trial it ends at once.

    Raises:
        SearchRefused: the data or the machine are not what the settings say.
        SearchError: a process failed, or something could not be reached.
        KeyboardInterrupt: at once, wherever it comes, or stopped before the first trial.
    """
    with _named_failures():
        check_machine(settings)
        data = settings.data.load()
    untrained = settings.untrained()
    setup = ProcessSetup(run.log_dir)
    if settings.shards.needs_tls:
        _issue_certificates(settings, run)
    addresses: Sequence[str] = settings.shards.addresses
    with _named_failures():
        launcher = run.identity("launcher")
        if addresses:
            watcher.say(f"the shards are expected at {', '.join(addresses)}")
            await_shards(addresses, run.path, launcher, watcher.say, is_stopping)
    with _named_failures(), cluster(settings, run.path, watcher.say):
        if is_stopping():
            raise KeyboardInterrupt
        with _ledger(run, settings, setup) as ledger_actor:
            ledger = RemoteLedger(ledger_actor)
            num_children = settings.num_replicas * settings.children.per_replica
            shards_here = "" if addresses else f"{counted(settings.num_shards, 'shard')}, "
            watcher.say(
                f"starting {shards_here}{counted(settings.num_replicas, 'controller replica')}, "
                f"{counted(num_children, 'child worker')}"
            )
            with (
                _shards(settings, run, setup, untrained.layout) as shards,
                _replicas(settings, run, setup, untrained.layout, ledger_actor, data) as replicas,
            ):
                addresses = addresses or [
                    _await(shard.address.remote(), f"shard {index}", is_stopping)
                    for index, shard in enumerate(shards)
                ]
                with ShardClient(untrained.layout, addresses, settings.client, launcher) as client:
                    client.initialize(untrained.values)
                watcher.say(f"the shards are serving at {', '.join(addresses)}")
                if settings.shards.is_open_to_all:
                    watcher.say("warning: whoever reaches these addresses can change the policy")
                with run.endpoints_of(addresses):
                    is_stopped = _wait(replicas, shards, addresses, ledger, watcher, is_stopping)
            ledger.end("stopped" if is_stopped else "finished")
            test = None
            if not is_stopped:
                test = _test_best(settings, setup, ledger, data, watcher, is_stopping)
            return SearchResult(
                ledger.progress(),
                ledger.trials(),
                ledger.pushes(),
                test,
                num_validation=len(data.search.validation),
                num_test=len(data.test),
            )


def _issue_certificates(settings: SearchSettings, run: Run) -> None:
    """Give every process that talks to the shards its certificate, or renew it."""
    # Whoever needs no certificates does not wait for the library.
    from ps.authority import CertificateAuthority

    authority = CertificateAuthority.open_or_create(run.certificates_path, run.path.name)
    for name in ("launcher", "observer"):
        authority.issue(name)
    for shard in range(settings.num_shards):
        authority.issue(f"shard-{shard}")
    for replica in range(settings.num_replicas):
        authority.issue(f"replica-{replica}")


@contextmanager
def _ledger(run: Run, settings: SearchSettings, setup: ProcessSetup) -> Iterator[Any]:
    """Make the ledger and start its process; write down how the search ended if it failed."""
    search = SearchRecord(
        num_trials=settings.num_trials,
        baseline=Baseline(settings.baseline_decay, settings.baseline_start),
        schedule=settings.depths,
        metric=settings.task.metric,
        settings=settings.model_dump(mode="json"),
        code_versions={
            "python": sys.version.split()[0],
            **{name: version(name) for name in ("nasrl", "torch", "numpy", "ray")},
        },
    )
    Ledger.create(run.ledger_url, search).close()
    actor = spawn(LedgerProcess, setup, run.ledger_url)
    try:
        yield actor
    except BaseException as error:
        # The actor may be what failed; the database is what counts. Whoever closes it last leaves
        # it in one file.
        with suppress(ray.exceptions.RayError):
            ray.get(actor.close.remote(), timeout=CLOSE_MARGIN_S)
        with Ledger(run.ledger_url) as ledger:
            if ledger.progress().state == "running":
                is_stopped = isinstance(error, KeyboardInterrupt)
                state: SearchState = "stopped" if is_stopped else "failed"
                ledger.end(state, str(error) or type(error).__name__)
        raise
    RemoteLedger(actor).close()


@contextmanager
def _shards(
    settings: SearchSettings, run: Run, setup: ProcessSetup, layout: Layout
) -> Iterator[list[Any]]:
    """Start the shards; drain them at the end. None are started that somebody else starts."""
    # Two threads: one for `serve`, one for the rest.
    actors = [
        spawn(
            ShardProcess,
            setup,
            ShardPlan(layout, shard, settings.optimizer, settings.updates),
            settings.shards,
            shard_folder(run.path, shard),
            run.identity(f"shard-{shard}"),
            num_threads=2,
        )
        for shard in range(0 if settings.shards.addresses else settings.num_shards)
    ]
    try:
        yield actors
    finally:
        _, late = ray.wait(
            [actor.close.remote() for actor in actors],
            num_returns=len(actors),
            timeout=settings.shards.drain_timeout_s + CLOSE_MARGIN_S,
        )
        if late:
            logger.warning("%d of %d shards did not drain in time", len(late), len(actors))


@contextmanager
def _replicas(
    settings: SearchSettings,
    run: Run,
    setup: ProcessSetup,
    layout: Layout,
    ledger: Any,
    data: SplitData,
) -> Iterator[list[Any]]:
    """Start the replicas with their child workers; at the end, end both."""
    plan = ReplicaPlan(
        seed=settings.seed,
        strategy=settings.strategy,
        task=settings.task,
        policy=settings.policy,
        deepest=settings.deepest,
        layout=layout,
        client=settings.client,
        certificates=run.certificates,
        children=settings.children,
    )
    search_data = ray.put(data.search)  # a child never sees the test data
    # Two threads: one for `run`, one for `drain`.
    actors = [
        spawn(ReplicaProcess, setup, replica, plan, ledger, [search_data], num_threads=2)
        for replica in range(settings.num_replicas)
    ]
    try:
        yield actors
    finally:
        for actor in actors:
            ray.kill(actor)


def _wait(
    replicas: Sequence[Any],
    shards: Sequence[Any],
    addresses: Sequence[str],
    ledger: RemoteLedger,
    watcher: Watcher,
    is_stopping: Callable[[], bool],
) -> bool:
    """Run the replicas until all have returned; tell whether they were stopped before the end."""
    running = {
        replica.run.remote(tuple(addresses)): f"replica {index}"
        for index, replica in enumerate(replicas)
    }
    # These return when a shard is closed, which it is not yet, or raise when its process dies.
    serving = {shard.serve.remote(): f"shard {index}" for index, shard in enumerate(shards)}
    is_draining = False
    while running:
        if is_stopping() and not is_draining:
            if not ledger.progress().num_begun:
                raise KeyboardInterrupt
            is_draining = True
            watcher.say("stopping: waiting for the children in training (again to stop at once)")
            for replica in replicas:
                replica.drain.remote()
        done, _ = ray.wait([*running, *serving], timeout=POLL_S)
        for reference in done:
            _answer(reference, serving.get(reference) or running.pop(reference))
        watcher.show(ledger.progress())
    progress = ledger.progress()
    return progress.num_recorded < progress.num_trials


def _test_best(
    settings: SearchSettings,
    setup: ProcessSetup,
    ledger: RemoteLedger,
    data: SplitData,
    watcher: Watcher,
    is_stopping: Callable[[], bool],
) -> FinalTest | None:
    """Train the best network again from its row, test it once, and write that down.

    The search is over by then: whatever goes wrong here is said, and takes nothing from it.
    """
    best = ledger.progress().best
    if best is None or best.decisions is None or best.seed is None:
        return None
    watcher.say(f"testing the best network, of trial {best.trial}, once")
    task = settings.task
    architecture = task.space.decode([choice for _, choice in best.decisions], best.depth)
    worker = spawn_child_worker(setup, "test", task, ray.put(data.search), settings.children)
    child = Child(best.trial, architecture, best.seed)
    try:
        result, figure = _await(worker.test.remote(child, data.test), "the test", is_stopping)
        ledger.record_test(best.trial, figure)
    except (SearchError, LedgerError, KeyboardInterrupt) as error:
        reason = str(error) or "stopped"
        watcher.say(f"the search is finished, but its best network was not tested: {reason}")
        return None
    finally:
        ray.kill(worker)
    return FinalTest(figure, list(result.validations) == best.validations)


def _await(reference: Any, who: str, is_stopping: Callable[[], bool]) -> Any:
    """Wait for a process's answer; KeyboardInterrupt when told to stop meanwhile."""
    while not ray.wait([reference], timeout=POLL_S)[0]:
        if is_stopping():
            raise KeyboardInterrupt
    return _answer(reference, who)


def _answer(reference: Any, who: str) -> Any:
    """Give what a process answered; any failure of it is a SearchError that names it."""
    try:
        return result_of(reference)
    except ray.exceptions.RayActorError as error:
        raise SearchError(
            f"{who}: its process died; {summary_of(error)} See its log in the run directory, and "
            "dmesg if memory may have run out"
        ) from error
    except Exception as error:
        raise SearchError(f"{who}: {type(error).__name__}: {error}") from error


@contextmanager
def _named_failures() -> Iterator[None]:
    """Turn a failure of the cluster, the data, the shards or the ledger into a SearchError."""
    try:
        yield
    except ray.exceptions.RayError as error:
        raise SearchError(f"a process of the search died; {summary_of(error)}") from error
    except (DataCorrupt, DataMissing, Shortage) as error:
        raise SearchRefused(str(error)) from error
    except (
        AwaitedShardsError,
        ClusterError,
        CredentialsError,
        DownloadFailed,
        LedgerError,
        ShardError,
    ) as error:
        raise SearchError(str(error)) from error
