"""`nasrl submit`, on a cluster that is made up; tests/cluster has a real one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus
from support.own_search import write_own_search

from deploy import job
from deploy.cli import main

RUN = "/shared/runs/first"
NAME = "nasrl-shared-runs-first-" + hashlib.sha256(RUN.encode()).hexdigest()[:6]


@dataclass
class MadeUpCluster:
    """Takes jobs, and says of each what it is told to."""

    statuses: dict[str, JobStatus] = field(default_factory=dict)
    submitted: list[dict] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    files: list[list[str]] = field(default_factory=list)
    followed: list[str] = field(default_factory=list)
    end: tuple[JobStatus, int | None] = (JobStatus.SUCCEEDED, 0)
    error: Exception | None = None
    num_dead: int = 0
    nodes: list = field(
        default_factory=lambda: [
            SimpleNamespace(node_ip="10.0.0.1", node_id="1", resources_total={"CPU": 4.0})
        ]
    )

    def list_nodes(self, *, filters, raise_on_missing_output=True, **_):
        assert filters == [("state", "=", "ALIVE")]
        if raise_on_missing_output and self.num_dead:
            raise RuntimeError("Failed to retrieve all nodes, due to data truncation")
        return self.nodes

    def list_jobs(self):
        # One that Ray's own client started has no submission id.
        return [SimpleNamespace(submission_id=None, status=JobStatus.RUNNING)] + [
            SimpleNamespace(submission_id=name, status=status)
            for name, status in self.statuses.items()
        ]

    def submit_job(self, entrypoint, submission_id, runtime_env):
        self.submitted.append({"entrypoint": entrypoint, "id": submission_id})
        if folder := runtime_env.get("working_dir"):
            self.settings.append((Path(folder) / "settings.yaml").read_text())
            self.files.append(sorted(file.name for file in Path(folder).iterdir()))
        self.statuses[submission_id] = JobStatus.RUNNING

    async def tail_job_logs(self, name):
        self.followed.append(name)
        yield "Search "
        if self.error is not None:
            raise self.error
        yield "finished\n"

    def get_job_info(self, name):
        status, code = self.end
        return SimpleNamespace(status=status, driver_exit_code=code, message="the head is gone")


@pytest.fixture
def cluster(monkeypatch):
    made_up = MadeUpCluster()
    monkeypatch.setattr(job, "JobSubmissionClient", lambda address: made_up)
    monkeypatch.setattr(job, "list_nodes", made_up.list_nodes)
    return made_up


def submit(*arguments, run=RUN):
    return main(["submit", "--run-dir", run, *arguments])


def test_search_is_submitted_with_its_settings_and_followed_to_its_end(cluster, capsys):
    assert submit("--set", "num_trials=7") == 0
    command = f"nasrl search settings.yaml --run-dir {RUN} --set=num_trials=7"
    assert cluster.submitted == [{"entrypoint": command, "id": NAME}]
    assert cluster.followed == [NAME]
    assert capsys.readouterr().out == f"submitted as {NAME}\nSearch finished\n"


def test_repeat_follows_the_job_that_runs(cluster, capsys):
    assert submit("--no-wait") == 0
    assert submit() == 0
    assert len(cluster.submitted) == 1
    assert cluster.followed == [NAME]
    assert f"runs already as {NAME}: following" in capsys.readouterr().out


def test_repeat_says_that_other_settings_are_not_taken_up(cluster, capsys):
    submit("--no-wait")
    capsys.readouterr()
    assert submit("--set", "seed=7", "--set", "num_trials=9", "--no-wait") == 0
    assert (
        "it keeps the settings that it runs with: seed=7 num_trials=9 is not taken up; nasrl scale "
        f"{RUN} changes"
    ) in capsys.readouterr().out


def test_nodes_that_have_died_are_no_obstacle(cluster):
    cluster.num_dead = 1
    assert submit("--no-wait") == 0


def test_search_that_has_ended_may_be_gone_on_with_again_and_again(cluster):
    submit("--no-wait")
    for number in (2, 3):
        cluster.statuses = dict.fromkeys(cluster.statuses, JobStatus.FAILED)
        assert submit("--resume", "--set", "num_trials=9", "--no-wait") == 0
        assert cluster.submitted[-1] == {
            "entrypoint": f"nasrl search --resume {RUN} --set=num_trials=9",
            "id": f"{NAME}+{number}",
        }
    assert len(cluster.settings) == 1  # a run has its own


def test_settings_travel_as_they_were_written_since_paths_are_of_the_cluster(cluster, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("data: {name: cifar10, folder: ~/images}\nchildren: {num_gpus: 0.0}\n")
    assert submit(str(file), "--no-wait") == 0
    assert cluster.settings == [file.read_text()]


@pytest.mark.parametrize("other", [f"{RUN}-too", "/shared/runs-first", "/shared/runs/first/"])
def test_job_of_another_run_directory_is_another(cluster, other):
    submit("--no-wait", run=other)
    submit("--no-wait")
    is_same = other.rstrip("/") == RUN
    assert len(cluster.submitted) == (1 if is_same else 2)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://me:hunter2@host/name", "must be without its password"),
        ("sqlite:///first.sqlite", "must name an absolute path"),
    ],
)
@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_ledger_that_would_be_lost_or_shown_is_refused(cluster, capsys, url, reason, resume):
    assert submit("--set", f"ledger_url={url}", *resume) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert "hunter2" not in said
    assert cluster.submitted == []


@pytest.mark.parametrize("code", [1, 2, 130])
def test_exit_code_is_that_of_the_search(cluster, code):
    cluster.end = (JobStatus.FAILED, code)
    assert submit() == code


def test_code_of_the_users_travels_with_the_settings(cluster, tmp_path, own_modules):
    write_own_search(tmp_path)

    assert main(["submit", str(tmp_path / "search.yaml"), "--run-dir", RUN, "--no-wait"]) == 0

    assert cluster.files == [["my_space.py", "my_training.py", "settings.yaml"]]


def test_job_that_ends_without_an_exit_code_says_why(cluster, capsys):
    cluster.end = (JobStatus.FAILED, None)
    assert submit() == 1
    assert f"Error: job {NAME}: failed: the head is gone" in capsys.readouterr().err


def test_ctrl_c_ends_the_following_and_not_the_search(cluster, capsys):
    cluster.error = KeyboardInterrupt()
    assert submit() == 0
    said = capsys.readouterr().err
    assert f"the search goes on, as job {NAME}; stop it with nasrl stop {RUN}" in said


def test_mistake_in_the_settings_is_told_before_anything_is_submitted(cluster, capsys):
    assert submit("--set", "num_trials=none") == 2
    assert "num_trials" in capsys.readouterr().err
    assert cluster.submitted == []


def test_run_directory_must_be_a_path_of_the_cluster(cluster, capsys):
    assert submit(run="runs/first") == 2
    assert "--run-dir runs/first: must be an absolute path" in capsys.readouterr().err
    assert cluster.submitted == []


def test_settings_of_a_run_that_is_gone_on_with_are_in_it(cluster, capsys):
    assert submit("--resume", "digits") == 2
    assert "--resume, SETTINGS: must be one of them" in capsys.readouterr().err


def test_child_that_fits_on_no_node_now_is_told_and_submitted(cluster, capsys):
    assert submit("--set", "children.num_gpus=1", "--no-wait") == 0
    assert "no child fits on any node now: children.num_gpus=1: 10.0.0.1 has 0 GPUs" in (
        capsys.readouterr().out
    )
    assert len(cluster.submitted) == 1


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Request failed with status code 500"),
        aiohttp.ClientConnectionError("Cannot connect to host"),
        requests.exceptions.ConnectionError("Max retries exceeded"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_cluster_that_goes_away_is_named(cluster, capsys, error):
    cluster.error = error
    assert submit() == 1
    said = capsys.readouterr().err
    assert f"the search goes on, as job {NAME}; to follow it again, give the same command" in said
    assert "--address http://127.0.0.1:8265: must be the dashboard" in said


def test_token_that_is_refused_is_named(monkeypatch, capsys):
    def refuse(_):
        raise AuthenticationError("Token authentication is enabled\nray get-auth-token --generate")

    monkeypatch.setattr(job, "JobSubmissionClient", refuse)
    assert submit() == 1
    said = capsys.readouterr().err
    assert "http://127.0.0.1:8265: the cluster takes its token alone: set RAY_AUTH_MODE" in said
    assert "generate" not in said


def test_address_at_which_nobody_listens_is_named(capsys):
    assert submit("--address", "http://127.0.0.1:1") == 1
    said = capsys.readouterr().err
    assert "Error: --address http://127.0.0.1:1: must be the dashboard of a Ray cluster" in said
    assert "Traceback" not in said
