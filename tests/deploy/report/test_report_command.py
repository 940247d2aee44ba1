"""`nasrl report`: the file that it writes, and what it refuses."""

import os
import shutil

import pytest
import yaml
from support.reported import search_run

import nasrl
from deploy.cli import main
from deploy.report import report
from deploy.report.report import ReportError
from deploy.run import Run
from deploy.settings_file import load_settings


@pytest.fixture
def refused(capsys):
    """Give the message of a command, which must be one line and code 2."""

    def refused(*arguments):
        assert main(["report", *map(str, arguments)]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        [line] = printed.err.splitlines()
        return line

    return refused


def test_report_is_written_and_where_it_is_said(runs, tmp_path, capsys):
    out = tmp_path / "report.html"
    run, other = runs["digits"].path, runs["random"].path
    assert main(["report", str(run), "-o", str(out), "--baseline", str(other)]) == 0
    assert capsys.readouterr().out == f"the report is {out}\n"
    text = out.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "“random”" in text
    assert out.stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert list(tmp_path.iterdir()) == [out]


def test_python_writes_the_same(runs, tmp_path):
    run, other = runs["one"], runs["random"]
    assert main(["report", str(run.path), "-o", f"{tmp_path}/a.html"]) == 0
    nasrl.Results(run).report(tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    nasrl.Results(run).report(f"{tmp_path}/c.html", baseline=other.path)
    assert "“random”" in (tmp_path / "c.html").read_text(encoding="utf-8")


def test_file_that_exists_is_not_written_over(runs, tmp_path, refused):
    out = tmp_path / "mine.html"
    out.write_text("mine")
    message = f"Error: --out {out} exists already; give another"
    assert refused(runs["one"].path, "-o", out) == message
    with pytest.raises(FileExistsError):
        nasrl.Results(runs["one"]).report(out)
    assert out.read_text() == "mine"


def test_file_that_cannot_be_written_leaves_nothing(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(report.Path, "replace", _no_room)
    with pytest.raises(OSError, match="No space left"):
        nasrl.Results(runs["one"]).report(tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_not_there_is_refused(runs, tmp_path, refused):
    out = tmp_path / "nowhere" / "report.html"
    message = f"Error: --out {out} cannot be written: No such file or directory"
    assert refused(runs["one"].path, "-o", out) == message


def test_other_ending_is_refused(tmp_path, refused):
    assert refused(tmp_path, "-o", "report.pdf") == (
        "Error: --out report.pdf: must end in .html or .htm"
    )


def test_folder_that_is_no_run_is_refused(runs, tmp_path, refused):
    message = f"Error: {tmp_path} is not a run directory: it has no settings.yaml"
    assert refused(tmp_path, "-o", tmp_path / "r.html") == message
    assert refused(runs["one"].path, "--baseline", tmp_path, "-o", tmp_path / "r.html") == message


def test_search_that_has_not_begun_is_refused(tmp_path, refused):
    run = Run.create(tmp_path / "run", load_settings())
    assert "its search has not begun yet" in refused(run.path, "-o", tmp_path / "r.html")


def test_run_is_not_compared_with_itself(runs, tmp_path, refused):
    path = runs["one"].path
    message = f"Error: baseline={path}: must be another run than {path}"
    assert refused(path, "--baseline", path, "-o", tmp_path / "r.html") == message


def test_baseline_by_another_metric_is_refused(runs, tmp_path, refused):
    said = refused(runs["one"].path, "--baseline", runs["cells"].path, "-o", tmp_path / "r.html")
    assert "its networks are compared by bits per character: must be by accuracy" in said
    with pytest.raises(ReportError):
        nasrl.Results(runs["one"]).report(tmp_path / "r.html", baseline=runs["cells"])


def test_baseline_without_a_result_is_no_trouble(runs, tmp_path):
    out = tmp_path / "r.html"
    nasrl.Results(runs["one"]).report(out, baseline=runs["empty"])
    assert "strategy reinforce, 0 trials" in out.read_text(encoding="utf-8")


def test_settings_of_another_space_are_refused(runs, tmp_path, refused):
    path = tmp_path / "run"
    shutil.copytree(runs["digits"].path, path)
    settings = yaml.safe_load((path / "settings.yaml").read_text())
    settings["space"]["num_filters"] = [8]
    (path / "settings.yaml").write_text(yaml.safe_dump(settings))
    said = refused(path, "-o", tmp_path / "r.html")
    assert f"{path}/settings.yaml: space: trial 1 was sampled from another" in said


def test_name_of_a_run_that_cannot_be_printed_is_no_trouble(tmp_path):
    run = search_run(tmp_path / "a\x1b<b>", load_settings("digits"), [])
    nasrl.Results(run).report(tmp_path / "r.html")
    assert "<h1>a?&lt;b&gt;</h1>" in (tmp_path / "r.html").read_text(encoding="utf-8")


def _no_room(*_):
    raise OSError(28, "No space left on device")


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
