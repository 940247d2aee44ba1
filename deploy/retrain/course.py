"""The trainings after a search, as they go on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from typing import Any

import ray

from child.final_result import FinalResult
from child.result import TrialResult
from child.weights import Weights
from controller.retraining import Training, TrainingRecord
from controller.search_ledger import SearchLedger
from deploy.cluster import check_folder, check_machine, cluster
from deploy.count import counted
from deploy.retrain.final_network import FinalNetwork, SnapshotFile
from deploy.retrain.retraining import Candidate, Outcome, Retraining, outcome_of
from deploy.retrain.settings import FinalSettings
from deploy.retrain.side_by_side import SideBySide
from deploy.retrain.watch import RetrainWatch
from deploy.run import Run
from deploy.settings import NetworkSearchSettings, SplitData
from deploy.weights_file import WeightsFileError
from workers.process import ProcessSetup
from workers.retraining import FinalProgress, TrainingPlan, begin_final, begin_in_grid
from workers.slots import Slot, rooms, slot

logger = logging.getLogger(__name__)


class TrainingsLost(Exception):
    """Some trainings could not be ended, and are missing; the message says why."""


class Course:
    """Trains what is not recorded yet, and records it; use it by `with`.

    Ray is started, or joined where RAY_ADDRESS says, before the first training, if there is any.
    Whatever ends it, what was recorded stays.

    num_new: the trainings that it has recorded.

    Threads: one at a time.
    """

    def __init__(
        self,
        run: Run,
        search: NetworkSearchSettings,
        final: FinalSettings,
        data: SplitData,
        ledger: SearchLedger,
        watch: RetrainWatch,
        is_stopping: Callable[[], bool],
    ) -> None:
        self.num_new = 0
        self._run = run
        self._search = search
        self._final = final
        self._data = data
        self._ledger = ledger
        self._watch = watch
        self._is_stopping = is_stopping
        self._setup = ProcessSetup(run.log_dir)
        self._stack = ExitStack()
        self._records = {record.sha256: record for record in ledger.trainings()}
        self._epochs: dict[str, int] = {}  # of final trainings that go on

    def __enter__(self) -> Course:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def grid(self, plan: Retraining) -> list[Outcome]:
        """Train all points of the grid; give their outcomes, the best first.

        Raises:
            KeyboardInterrupt: told to stop.
            deploy.cluster.ClusterError: there is no Ray that can train.
            TrainingsLost: some could not be ended; all others were.
        """
        self._train(plan.grid, lambda: self._leader(plan))
        return plan.best(self._records)

    def final(self, candidates: Sequence[Candidate]) -> list[Outcome]:
        """Train candidates to their end, and test each network once; give their outcomes.

        Raises: as `grid`.
        """
        for candidate in candidates:
            for training in candidate.trainings:
                self._find_kept(training)
                if training.sha256 in self._records:
                    SnapshotFile(self._run, training.sha256).delete()
        self._train(candidates, lambda: "")
        return [outcome_of(candidate, self._records) for candidate in candidates]

    def _train(self, candidates: Sequence[Candidate], leader: Callable[[], str]) -> None:
        of_training = {
            training.sha256: (candidate, training)
            for candidate in candidates
            for training in candidate.trainings
        }
        missing = [name for name in of_training if name not in self._records]
        if not missing:
            return
        _ = self._slot  # Ray is there from now on

        def begin(training: Training) -> Any:
            candidate, _ = of_training[training.sha256]
            return self._begin(candidate, training)

        stage = of_training[missing[0]][1].stage
        line, num_before, began_at = leader(), self.num_new, time.monotonic()
        side_by_side = SideBySide(begin, self._search.children.max_deaths, self._is_stopping)
        lost = side_by_side.lost
        for given in side_by_side.run([of_training[name][1] for name in missing]):
            if given is not None:
                training, yielded = given
                if isinstance(yielded, FinalProgress):
                    if self._go_on(training, yielded):
                        side_by_side.has_advanced(training)
                elif reason := self._end(training, yielded):
                    lost[training.sha256] = reason
                else:
                    line = leader()
            num_done = self.num_new - num_before
            num_left = len(missing) - num_done
            self._watch.show(
                f"{stage}: {len(of_training) - num_left:,} of {len(of_training):,} trained{line}"
                f"{self._at_epochs()}{_time_left(num_done, num_left, time.monotonic() - began_at)}"
            )
        for name in missing:
            if name not in self._records:
                lost.setdefault(name, "it ended without a result")
        if lost:
            raise TrainingsLost(self._said(stage, lost, of_training))

    def _begin(self, candidate: Candidate, training: Training) -> Any:
        plan = TrainingPlan(
            name=log_name(training),
            task=candidate.point.settings.task,
            architecture=candidate.architecture,
            seed=training.seed,
            learning_rate=candidate.learning_rate,
        )
        if training.stage == "grid":
            return begin_in_grid(self._setup, plan, self._grid_data, self._slot)
        place = self._slot
        if place.num_gpus:
            # Alone on its GPU: it is long, and others would only wait for each other there.
            place = replace(place, num_gpus=max(1.0, place.num_gpus))
        data, test = self._final_data
        return begin_final(
            self._setup,
            plan,
            data,
            test,
            place,
            self._final.convergence,
            self._final.limit,
            self._final.snapshot_every_s,
            SnapshotFile(self._run, training.sha256).read(),
        )

    def _go_on(self, training: Training, progress: FinalProgress) -> bool:
        """Take note of an epoch; tell whether the training would go on from after it."""
        self._epochs[training.sha256] = progress.epoch
        if progress.snapshot is None:
            return False
        try:
            SnapshotFile(self._run, training.sha256).write(progress.snapshot)
        except OSError as error:
            self._watch.say(f"a snapshot could not be kept: {error}")
            return False
        return True

    def _end(
        self, training: Training, given: TrialResult | tuple[FinalResult, Weights | None]
    ) -> str:
        """Record what a training came to; say why it is not recorded, if it is not."""
        self._epochs.pop(training.sha256, None)
        if isinstance(given, TrialResult):
            self._record(self._ledger.record_training(training, given))
            return ""
        result, weights = given
        if result.is_out_of_memory:
            # On another machine, or later, there may be enough.
            return result.reason
        if weights is not None:
            try:
                result = FinalNetwork(result, weights).keep(self._run, training).result
            except OSError as error:
                return f"its weights cannot be written: {error}"
        self._record(self._ledger.record_training(training, result))
        SnapshotFile(self._run, training.sha256).delete()
        return ""

    def _find_kept(self, training: Training) -> None:
        """Record what was trained and tested, and not recorded, by a process that died."""
        if training.sha256 in self._records:
            return
        try:
            kept = FinalNetwork.find(self._run, training.sha256)
        except WeightsFileError as error:
            logger.warning("%s; the network is trained again", error)
            return
        if kept is not None:
            self._record(self._ledger.record_training(training, kept.result))

    def _record(self, record: TrainingRecord) -> None:
        self.num_new += 1
        self._records[record.sha256] = record
        logger.info("training %s: %s %s", record.sha256[:16], record.state, record.reason)

    def _leader(self, plan: Retraining) -> str:
        best = next(iter(plan.best(self._records)), None)
        if best is None or best.validation is None:
            return ""
        metric, candidate = self._search.task.metric, best.candidate
        return (
            f"; the best has {metric.name} {metric.text(best.validation)}: trial "
            f"{candidate.trial.trial}, {candidate.point}"
        )

    def _said(
        self,
        stage: str,
        lost: Mapping[str, str],
        of_training: Mapping[str, tuple[Candidate, Training]],
    ) -> str:
        """Say which trainings are missing, and why."""
        lines = []
        for name, reason in lost.items():
            candidate, training = of_training[name]
            log = self._run.log_dir / f"{log_name(training)}.log"
            which = str(candidate.point) or "of the best point"
            lines.append(
                f"\n  - trial {training.trial}, {which}, seed {training.seed}: {reason} (see {log})"
            )
        count = counted(len(lost), "training")
        return f"{count} of the {stage} could not be ended:{''.join(lines)}"

    def _at_epochs(self) -> str:
        at = sorted(self._epochs.values())
        return f"; in epoch {', '.join(str(epoch + 1) for epoch in at)}" if at else ""

    @cached_property
    def _slot(self) -> Slot:
        """The place of a training; Ray is started or joined for it."""
        check_machine(self._search)
        placement = self._stack.enter_context(
            cluster(self._search, self._run.path, self._watch.say)
        )
        if placement.is_spread:
            check_folder(self._run)
        children, place = self._search.children, placement.of_children
        if children.per_gpu_node is None:
            return slot(children, place)
        # Ray finds the node; where nodes differ each training takes what the fewest GPUs need.
        there = (room.slot.num_gpus for room in rooms(placement.nodes(), children, place))
        return replace(slot(children, place), num_gpus=max(there, default=1.0))

    @cached_property
    def _grid_data(self) -> Any:
        return ray.put(self._data.search)

    @cached_property
    def _final_data(self) -> tuple[Any, Any]:
        return ray.put(self._data.search.with_validation()), ray.put(self._data.test)


def log_name(training: Training) -> str:
    """Give the name of the log of a training."""
    return f"{training.stage}-{training.sha256[:16]}"


def _time_left(num_done: int, num_left: int, seconds: float) -> str:
    if num_done < 3:
        return ""
    left_s = seconds / num_done * num_left
    return f"; about {left_s / 60:.0f} min left" if left_s >= 90 else f"; about {left_s:.0f} s left"
