"""One search from start to end: its processes, its life in the ledger, its result."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import ray

from child.data.errors import DataCorrupt, DataMissing, DownloadFailed
from controller.baseline import Baseline
from controller.errors import LedgerError, StillAlive, WrongState
from controller.records import Life, Progress, PushRecord, SearchRecord, SearchState
from controller.search_ledger import SearchLedger
from controller.trial import Trial
from deploy.autoscaler import RoomRequest
from deploy.awaited_shards import AwaitedShardsError, await_shards
from deploy.certificates import issue_certificates
from deploy.cluster import (
    ClusterError,
    Shortage,
    check_folder,
    check_machine,
    check_memory,
    cluster,
)
from deploy.count import counted
from deploy.course import Course, Watcher
from deploy.final_test import FinalTest, final_test
from deploy.go_on import is_in_job
from deploy.heartbeat import Heartbeat, await_silence
from deploy.placement_table import placement_table
from deploy.run import Run, RunError
from deploy.scalars import Scalars
from deploy.search_metrics import SearchMetrics
from deploy.settings import NetworkSearchSettings, SearchSettings, SplitData
from ps.credentials import CredentialsError, Identity
from ps.errors import ShardError, StateError
from ps.folder import shard_folder
from ps.metrics_page import MetricsPage
from ps.plan import ShardPlan
from workers.ledger import spawn_ledger
from workers.placement import Placement
from workers.process import ProcessSetup
from workers.remote import spawn, summary_of
from workers.replica import ReplicaPlan
from workers.replica_set import ReplicaSet
from workers.seats import Seats
from workers.shard import ShardProcess
from workers.supervisor import ProcessFailed, Supervised, Supervisor

logger = logging.getLogger(__name__)

CLOSE_MARGIN_S = 2.0


class SearchError(Exception):
    """The search cannot start, or cannot go on; what was recorded stays.

    SearchError
      SearchRefused  nothing was started, since what was given cannot be used: give something else
    """


class SearchRefused(SearchError):
    """Nothing was started: no data, room for no child, or a search that somebody else runs."""


@dataclass(frozen=True)
class SearchResult:
    """How a search ended, with all its rows; test is None where no network was tested.

    num_validation, num_test: of the images, words or characters; 0 where the trainer of the user's
    alone knows.
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
    settings: SearchSettings,
    run: Run,
    watcher: Watcher,
    is_stopping: Callable[[], bool],
    *,
    is_new: bool = True,
) -> SearchResult:
    """Run a search in its run directory, or go on with it, until its end or until told to stop.

    Ray is started on this machine, or joined where RAY_ADDRESS says. Whatever happens, no process
    of the search is left behind, and the ledger says how it ended.

    Args:
        is_stopping: asked about twice a second. Once true, the replicas finish the trials they
            have, and the search ends; before the first trial it ends at once.
        is_new: whether it is a new search, which begins a ledger, and not one to go on with.

    Raises:
        SearchRefused: the data or the machine are not what the settings say, the search is being
            run by somebody else, or the ledger holds another search, or is gone.
        SearchError: a process failed again and again, or something could not be reached.
        KeyboardInterrupt: at once, wherever it comes, or stopped before the first trial.
    """
    with _named_failures():
        if obstacle := run.obstacle(is_new=is_new):
            raise SearchRefused(obstacle)
        check_machine(settings)
        check_memory(settings)
        data = settings.load_data()
    setup = ProcessSetup(run.log_dir)
    issue_certificates(settings, run)
    with _named_failures():
        last = None
        if run.has_begun:
            with SearchLedger(run.ledger_url) as ledger:
                last = await_silence(ledger, watcher.say, is_stopping)
        if addresses := settings.shards.addresses:
            watcher.say(f"the shards are expected at {', '.join(addresses)}")
            await_shards(
                addresses,
                run.path,
                run.identity("launcher"),
                watcher.say,
                is_stopping,
                is_new=not run.has_begun,
            )
    with _named_failures(), cluster(settings, run.path, watcher.say) as placement:
        if is_stopping():
            raise KeyboardInterrupt
        if placement.is_spread:
            check_folder(run)
            here = ray.util.get_node_ip_address()
            watcher.say(placement_table(settings, placement, here))
        # What is kept stays as it was given: resumed, the search may be on fewer machines, or more.
        shards = settings.shards.settled(is_spread=placement.is_spread)
        settled = settings.model_copy(update={"shards": shards})
        issue_certificates(settled, run)
        launcher = run.identity("launcher")
        metrics = SearchMetrics(run.path)
        with (
            _metrics_page(settled, metrics, launcher) as metrics_addresses,
            _life(run, settings, last, is_new=is_new) as (ledger, heartbeat),
            Scalars(run.ledger_url, run.tensorboard_path),
        ):
            supervisor = Supervisor(watcher.say)
            course = Course(
                settled,
                run,
                ledger,
                heartbeat,
                supervisor,
                watcher,
                is_stopping,
                metrics,
                metrics_addresses,
            )
            with (
                _processes(
                    settled, run, setup, heartbeat.life, data, supervisor, placement
                ) as replicas,
                RoomRequest(placement.is_spread) as room,
            ):
                course.await_shards(launcher)
                state, reason = course.follow(replicas, room)
            test = None
            changed = course.settings
            # The life goes on meanwhile: nobody else may test, too.
            if state == "finished" and data is not None:
                assert isinstance(changed, NetworkSearchSettings), "others have no data"
                test = final_test(
                    changed, setup, run, ledger, data, placement, watcher.say, is_stopping
                )
            ledger.end(heartbeat.life, state, reason)
            return SearchResult(
                ledger.progress(),
                ledger.trials(),
                ledger.pushes(),
                test,
                num_validation=0 if data is None else len(data.search.validation),
                num_test=0 if data is None else len(data.test),
            )


@contextmanager
def _life(
    run: Run, settings: SearchSettings, last: Life | None, *, is_new: bool
) -> Iterator[tuple[SearchLedger, Heartbeat]]:
    """Begin a life of the search, in a new ledger where there is none, and write down its end."""
    search = SearchRecord(
        num_trials=settings.num_trials,
        baseline=Baseline(settings.baseline_decay, settings.baseline_start),
        schedule=settings.depths,
        metric=settings.task.metric,
        settings=settings.shown,
        code_versions={
            "python": sys.version.split()[0],
            **{name: version(name) for name in ("nasrl", "torch", "numpy", "ray")},
        },
    )
    if is_new or not run.has_begun:
        SearchLedger.create(run.ledger_url, search).close()
    run.mark_begun()  # before the first life: from then on whoever resumes looks for this
    with SearchLedger(run.ledger_url) as ledger:
        life = ledger.begin_life(
            socket.gethostname(), os.getpid(), is_job=is_in_job(), last=last, search=search
        )
        try:
            run.keep(settings)
            with Heartbeat(ledger, life) as heartbeat:
                yield ledger, heartbeat
        except BaseException as error:
            # Where that fails, too, the silence of this life says it.
            with suppress(LedgerError):
                if ledger.progress().state == "running":
                    is_stopped = isinstance(error, KeyboardInterrupt)
                    state: SearchState = "stopped" if is_stopped else "failed"
                    ledger.end(life, state, str(error) or type(error).__name__)
            raise


@contextmanager
def _metrics_page(
    settings: SearchSettings, metrics: SearchMetrics, identity: Identity | None
) -> Iterator[Mapping[str, str]]:
    """Answer Prometheus, where that is wanted; give where, by the name of the search's process."""
    port = settings.metrics.search_port
    if port is None:
        yield {}
        return
    host = settings.shards.host_on(ray.util.get_node_ip_address())
    try:
        page = MetricsPage(metrics.registry, host, port, identity)
    except OSError as error:
        raise SearchRefused(
            f"metrics.search_port={port}: must be one that the search can listen on at {host}: "
            f"{error.strerror or error}; give another, or 0 for any that is free"
        ) from error
    with page:
        logger.info("metrics at %s/metrics", page.address)
        yield {"search": page.address}


@contextmanager
def _processes(
    settings: SearchSettings,
    run: Run,
    setup: ProcessSetup,
    life: int,
    data: SplitData | None,
    supervisor: Supervisor,
    placement: Placement,
) -> Iterator[ReplicaSet]:
    """Start ledger, shards and replicas, looked after; at the end, end them all.

    No shards are started that somebody else starts.
    """
    layout = settings.untrained().layout
    ledger = supervisor.start(
        "the ledger", lambda: spawn_ledger(setup, run.ledger_url), is_restarted=True
    )

    search_id = run.id
    seats = Seats(placement)

    def spawner_of_shard(shard: int) -> Callable[[], Any]:
        owned = layout.slices[shard]
        need = placement.need(slice_bytes=4 * (owned.stop - owned.start))
        return lambda: spawn(
            ShardProcess,
            setup,
            life,
            ShardPlan(layout, shard, settings.optimizer, settings.updates),
            settings.shards,
            shard_folder(run.path, shard),
            run.identity(f"shard-{shard}"),
            ledger.actor,
            search_id,
            num_cpus=need.num_cpus,
            memory_bytes=need.memory_bytes,
            place=seats.seat(f"shard {shard}", need),
        )

    shards: list[Supervised] = []
    replicas: ReplicaSet | None = None
    try:
        for shard in range(0 if settings.shards.addresses else settings.num_shards):
            process = supervisor.start(
                f"shard {shard}",
                spawner_of_shard(shard),
                lambda actor: actor.serve.remote(),
                retry_on=(StateError,),
                has_room=partial(seats.has_seat, f"shard {shard}"),
            )
            process.work()
            shards.append(process)
        plan = ReplicaPlan(
            life=life,
            seed=settings.seed,
            strategy=settings.strategy,
            task=settings.task,
            objective=settings.objective,
            policy=settings.policy,
            learning=settings.learning,
            evolution=settings.evolution,
            deepest=settings.deepest,
            layout=layout,
            client=settings.client,
            certificates=run.certificates,
            children=settings.children,
            rounds=settings.rounds,
            placement=placement,
            shards=settings.shards,
            metrics=settings.metrics,
        )
        search_data = ray.put(None if data is None else data.search)  # never the test data
        replicas = ReplicaSet(
            supervisor, setup, plan, ledger.actor, search_data, settings.num_replicas, seats
        )
        yield replicas
    finally:
        if replicas is not None:
            replicas.close()
        run.withdraw_endpoints()
        _close([process.actor for process in shards], settings.shards.drain_timeout_s)
        # Whoever closes the database last leaves it in one file.
        _close([ledger.actor], 0.0)


def _close(actors: Sequence[Any], timeout_s: float) -> None:
    """Let actors close what they hold; what is late is left to the end of the cluster."""
    closing = [actor.close.remote() for actor in actors if actor is not None]
    if not closing:
        return
    done, late = ray.wait(closing, num_returns=len(closing), timeout=timeout_s + CLOSE_MARGIN_S)
    with suppress(ray.exceptions.RayError):
        ray.get(done)
    if late:
        logger.warning("%s not close in time", counted(len(late), "process did", "processes did"))


@contextmanager
def _named_failures() -> Iterator[None]:
    """Turn a failure of the cluster, the data, the shards or the ledger into a SearchError."""
    try:
        yield
    except ray.exceptions.RayError as error:
        raise SearchError(f"a process of the search died; {summary_of(error)}") from error
    except (DataCorrupt, DataMissing, Shortage, StillAlive, WrongState) as error:
        raise SearchRefused(str(error)) from error
    except (
        AwaitedShardsError,
        ClusterError,
        CredentialsError,
        DownloadFailed,
        LedgerError,
        ProcessFailed,
        RunError,
        ShardError,
    ) as error:
        raise SearchError(str(error)) from error
