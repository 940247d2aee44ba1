"""A report about a run, as a file."""

from __future__ import annotations

from pathlib import Path

from deploy.run import Run


class ReportError(ValueError):
    """There cannot be such a report; the message says what to do."""


def write_report(run: Run, path: Path, baseline: Run | None = None) -> None:
    """Write the report of a run to a new file, which is there as a whole or not at all.

    Args:
        baseline: a run to compare it with.

    Raises:
        ReportError: the runs cannot be compared.
        FileExistsError: there is something at the path already.
        OSError: it cannot be written.
        RunError, deploy.settings_file.SettingsError, controller.errors.LedgerError: a run cannot
            be read.
    """
    if baseline is not None and baseline.path.resolve() == run.path.resolve():
        raise ReportError(f"baseline={baseline.path}: must be another run than {run.path}")
    # matplotlib takes a second to import.
    from deploy.report.facts import Facts
    from deploy.report.page import page

    facts, other = Facts.read(run), Facts.read(baseline) if baseline else None
    if other and other.progress.metric != facts.progress.metric:
        raise ReportError(
            f"baseline={baseline and baseline.path}: its networks are compared by "
            f"{other.progress.metric.name}: must be by {facts.progress.metric.name}, as those of "
            f"{run.path}"
        )
    _write_new(path, page(facts, other))


def _write_new(path: Path, text: str) -> None:
    # The name is taken first, so that nobody's file is written over.
    path.open("xb").close()
    beside = path.with_name(f".{path.name}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise
