"""What a search has found, for Python and for notebooks."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.known_trial import KnownTrial, known_trial
from deploy.run import Run
from deploy.trial_metrics import PREFIX, metric_names

if TYPE_CHECKING:
    import numpy as np
    import pandas
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from deploy.drawings.drawing import Drawing
    from deploy.status import Status

_TIMES = ("reserved_at", "started_at", "recorded_at")


class MissingLibrary(ImportError):
    """A library that nasrl needs for this alone is not installed; the message says which."""


class Results:
    """What the search of a run directory has found so far; it is read anew whenever it is asked.

    In a notebook it shows how the search is doing. Whatever cannot be read raises RunError,
    SettingsError, LedgerError or, of certificates, CredentialsError; what is asked for and not
    there TrialError.

    Threads: may be used from many.
    """

    def __init__(self, run: Run | Path | str) -> None:
        """Open a run directory, or one that is open.

        Raises:
            RunError: there is no run at the path.
        """
        self.run = run if isinstance(run, Run) else Run(run)

    @property
    def status(self) -> Status:
        """How the search is doing; print it, or take its parts."""
        from deploy.run_status import run_status

        return run_status(self.run, time.time())

    @property
    def trials(self) -> pandas.DataFrame:
        """All trials, a row for each, by their number: the columns are those of the ledger.

        test is the figure of the one that was tested. Each metric has a column, such as
        metrics.latency_s. Times are UTC.

        Raises:
            MissingLibrary: pandas is not installed.
        """
        with self.run.ledger() as ledger:
            rows, tests = [asdict(trial) for trial in ledger.trials()], ledger.tests()
        names = metric_names(row["metrics"] for row in rows)
        for row in rows:
            row["test"], metrics = tests.get(row["trial"]), row.pop("metrics") or {}
            row |= {f"{PREFIX}{name}": metrics.get(name) for name in names}
        return _frame(rows, "trial")

    @property
    def trainings(self) -> pandas.DataFrame:
        """All that `nasrl retrain` has trained, a row for each, in the order in which it ended.

        Raises:
            MissingLibrary: pandas is not installed.
        """
        with self.run.ledger() as ledger:
            rows = [asdict(training) for training in ledger.trainings()]
        return _frame(rows, "sha256")

    def trial(self, which: int | str = "best") -> KnownTrial:
        """Give one trial that has an architecture: by its number, or the best so far.

        Raises:
            TrialError: there is none.
        """
        return known_trial(self.run.path, str(which))

    def network(self, which: int | str = "best") -> nn.Module:
        """Give the trained network of a trial, on the CPU, ready to be asked.

        It takes what `prepare` makes of images, and gives logits, one for each class.

        Its weights are those that the search kept, of the network that it tested; any other is
        trained again here, and that is printed. Nothing is tested.

        Args:
            which: the number of a trial, best, or retrained, as `nasrl export` takes them.

        Raises:
            deploy.export.errors.ExportError: it has no network, or cannot be trained again.
        """
        from deploy.export.retrained import is_of_final, retrained_network
        from deploy.export.trained import trained_network
        from deploy.export.trial import trial_to_export

        if is_of_final(str(which)):
            return retrained_network(self.run, str(which)).network
        known = trial_to_export(self.run, str(which))
        settings = self.run.network_settings
        architecture = settings.task.architecture(known.architecture)
        data = settings.data.load().search
        return trained_network(self.run, known.row, settings, architecture, data, print).network

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """Give images as networks of this search expect them: whitened, and enlarged if need be.

        Args:
            images: (N, channels, height, width) uint8, in the size and with the values of the
                search's own, such as 0 to 16 of the digits.

        Returns:
            (N, channels, height, width) float32, for `network`.

        Raises:
            ValueError: they have another shape, or the search is over models of texts.
        """
        import torch

        from child.images.augmentation import Augmentation
        from deploy.settings import ImageSearchSettings

        settings = self.run.network_settings
        if not isinstance(settings, ImageSearchSettings):
            raise ValueError(
                f"{self.run.path}: must be a search over networks for images; models of texts take "
                "the numbers of tokens, by their places in the vocabulary"
            )
        data = settings.data.load().search
        if images.ndim != 4 or images.shape[1:] != data.shape:
            wanted = ", ".join(map(str, data.shape))
            raise ValueError(f"images.shape={images.shape}: must be (N, {wanted})")
        cpu = torch.device("cpu")
        augmentation = Augmentation(settings.training.augmentation, data.whitening, data.shape, cpu)
        return augmentation.evaluation(torch.tensor(images))

    def drawing(self, which: int | str = "best") -> Drawing:
        """Draw the network or cell of a trial; a notebook shows it.

        Raises:
            TrialError: there is none.
        """
        from deploy.drawings.drawing import Drawing

        task = self.run.settings.task
        return Drawing(task.architecture(self.trial(which).architecture))

    def report(self, path: Path | str, baseline: Run | Path | str | None = None) -> None:
        """Write a page about the search to a new file, as `nasrl report` does.

        Args:
            baseline: another run to compare it with.

        Raises:
            deploy.report.report.ReportError: the two cannot be compared.
            OSError: the file exists already, or cannot be written.
        """
        from deploy.report.report import write_report

        other = Run(baseline) if isinstance(baseline, Path | str) else baseline
        write_report(self.run, Path(path), other)

    def __str__(self) -> str:
        told = "\n".join(f"{what:<10} {text}" for what, text in self.status.lines())
        return f"{self.run.path}\n{told}"

    def __repr__(self) -> str:
        return f"Results({str(self.run.path)!r})"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def _frame(rows: Sequence[dict[str, Any]], index: str) -> pandas.DataFrame:
    """Give rows of a ledger as a data frame; those that there are have the same columns."""
    try:
        import pandas
    except ImportError as error:
        raise MissingLibrary(
            "pandas must be installed for this: pip install 'nasrl[notebook]'"
        ) from error
    if not rows:
        return pandas.DataFrame()
    frame = pandas.DataFrame(rows).set_index(index)
    for name in frame.columns.intersection(_TIMES):
        frame[name] = pandas.to_datetime(frame[name].astype("float64"), unit="s", utc=True)
    return frame.convert_dtypes()
