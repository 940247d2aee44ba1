"""A search as a job of a Ray cluster: submitted once, and followed."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient
from ray.util.state import list_nodes

from workers.node import Node

SETTINGS_FILE = "settings.yaml"

# What Ray's client raises, or lets through, when the cluster does not answer as it should.
FAILURES = (
    AuthenticationError,
    ConnectionError,
    RuntimeError,
    ValueError,
    aiohttp.ClientError,
    requests.RequestException,
)


class JobError(Exception):
    """The cluster cannot be reached, or does not take the job; the message says what to do."""


@dataclass(frozen=True)
class Job:
    """A search on a cluster.

    name: its submission id. is_new: whether it was submitted now, and did not run already.
    """

    name: str
    is_new: bool


class JobClient:
    """Submits searches to the cluster behind a dashboard's address.

    Threads: one at a time.
    """

    def __init__(self, address: str) -> None:
        """Reach the cluster.

        Args:
            address: of its dashboard, such as http://127.0.0.1:8265.

        Raises:
            JobError: nobody answers there, or not without another token.
        """
        self._address = address
        try:
            self._client = JobSubmissionClient(address)
        except FAILURES as error:
            raise _unreachable(address, error) from error

    def nodes(self) -> list[Node]:
        """Give the nodes that are alive, as if nothing ran on them.

        Raises:
            JobError: the cluster does not say.
        """
        try:
            alive = list_nodes(
                address=self._address,
                filters=[("state", "=", "ALIVE")],
                detail=True,
                # Nodes that have died are counted as left out.
                raise_on_missing_output=False,
            )
        except Exception as error:  # Ray raises what it finds: of HTTP, of JSON, of its own
            raise _unreachable(self._address, error) from error
        return [
            Node(node.node_ip, node.resources_total, node.resources_total, node.node_id)
            for node in alive
        ]

    def submit(self, run: PurePosixPath, command: Sequence[str], folder: Path | None) -> Job:
        """Submit what works in a run directory, unless a job of that directory runs already.

        Args:
            command: the arguments of nasrl.
            folder: copied to the cluster; the command runs in it.

        Raises:
            JobError: the cluster does not take it.
        """
        path = run.as_posix()
        mark = hashlib.sha256(path.encode()).hexdigest()[:6]  # for paths that read alike
        base = f"nasrl-{re.sub(r'[^A-Za-z0-9_.-]', '-', path.strip('/'))}-{mark}"
        environment = {} if folder is None else {"working_dir": str(folder)}
        try:
            known = {job.submission_id: job.status for job in self._client.list_jobs()}
            for name in known:
                is_of_run = name is not None and re.fullmatch(rf"{re.escape(base)}(\+\d+)?", name)
                if is_of_run and not known[name].is_terminal():
                    return Job(str(name), is_new=False)
            number = sum(bool(name) and str(name).split("+")[0] == base for name in known)
            name = f"{base}+{number + 1}" if number else base
            self._client.submit_job(
                entrypoint=shlex.join(["nasrl", *command]),
                submission_id=name,
                runtime_env=environment,
            )
        except FAILURES as error:
            raise _unreachable(self._address, error) from error
        return Job(name, is_new=True)

    def follow(self, job: Job, show: Callable[[str], None]) -> int:
        """Show what a job prints until it ends; give its exit code.

        Raises:
            JobError: the cluster cannot be reached any more; the job may go on.
        """

        async def tail() -> None:
            async for text in self._client.tail_job_logs(job.name):
                show(text)

        try:
            asyncio.run(tail())
            details = self._client.get_job_info(job.name)
        except FAILURES as error:
            raise JobError(
                f"the search goes on, as job {job.name}; to follow it again, give the same command "
                f"again; {_unreachable(self._address, error)}"
            ) from error
        if details.status == JobStatus.SUCCEEDED:
            return 0
        if details.driver_exit_code:
            return int(details.driver_exit_code)
        raise JobError(f"job {job.name}: {details.status.value.lower()}: {details.message}")


def _unreachable(address: str, error: Exception) -> JobError:
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if isinstance(error, AuthenticationError):
        return JobError(
            f"--address {address}: the cluster takes its token alone: set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN_PATH to a copy of it, or put it into ~/.ray/auth_token; "
            "docs/clusters.md says where it is"
        )
    return JobError(
        f"--address {address}: must be the dashboard of a Ray cluster; {first} "
        "(docs/clusters.md says how to reach it, and where its token has to be)"
    )
