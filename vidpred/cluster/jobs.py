"""Jobs on a cluster elsewhere, through Ray's job server (http://head:8265): submit, find again, follow, stop.

A job of ours is called `<key>-<n>`: the key of the work, and which try it is. It belongs to the cluster and runs on
whoever looks at it or not.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vidpred.cluster.guard import check_job_server, headers, token
from vidpred.errors import UserError

log = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<key>.+)-(?P<number>\d+)")
_LAST_LINES = 20
"""Of what a job said before it was looked at again."""
_PATIENCE_SECONDS = 60
"""That a job server may be away while a job is followed."""

State = Literal["waiting", "running", "succeeded", "failed", "stopped"]
_STATES: dict[str, State] = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "STOPPED": "stopped",
}


@dataclass(frozen=True)
class Job:
    """One on the cluster."""

    name: str
    state: State
    asked: str = ""
    """Digest of what it was asked for."""
    message: str = ""
    """Ray's, of how it ended."""

    @property
    def key(self) -> str:
        match = _NAME.fullmatch(self.name)
        return match["key"] if match else self.name

    @property
    def number(self) -> int:
        match = _NAME.fullmatch(self.name)
        return int(match["number"]) if match else 0

    @property
    def alive(self) -> bool:
        return self.state in ("waiting", "running")


@dataclass(frozen=True)
class Order:
    """What a job is to do."""

    key: str
    command: Sequence[str]
    """Run in a copy of `code`, with the job's name as its last word."""
    code: Path
    """Folder that is sent to the nodes: small, never data."""
    asked: str
    """Digest of what is asked for."""
    env: Mapping[str, str] = field(default_factory=dict)


class JobServer:
    """A job server that may be used."""

    def __init__(self, url: str) -> None:
        """Looks whether it may be used.

        Raises:
            UserError: nothing answers there, it wants another token, or it is open to everybody and not on loopback.
        """
        self.url = url.rstrip("/")
        self.protected = check_job_server(self.url)
        from ray.job_submission import JobSubmissionClient

        with self._told("asking for its version"):
            self._client = JobSubmissionClient(self.url, headers=headers(token() if self.protected else None))
        for logger in ("dashboard_sdk", "job.sdk"):  # of uploads and sockets
            logging.getLogger(f"ray.dashboard.modules.{logger}").setLevel(logging.WARNING)
        logging.getLogger("ray._private.runtime_env.packaging").setLevel(logging.WARNING)

    def jobs(self) -> list[Job]:
        """All that have a name like ours, oldest first."""
        with self._told("listing its jobs"):
            listed = self._client.list_jobs()
        ours = [one for one in listed if one.submission_id and (one.metadata or {}).get("vidpred")]
        return [_job(one) for one in sorted(ours, key=lambda one: one.start_time or 0)]

    def latest(self, key: str) -> Job | None:
        """The last try of this key."""
        return max((job for job in self.jobs() if job.key == key), key=lambda job: job.number, default=None)

    def submit(self, order: Order, number: int) -> str:
        """Starts a job and returns its name; where another process was first it is that one's."""
        name = f"{order.key}-{number}"
        try:
            with self._told(f"submitting {name}"):
                self._client.submit_job(
                    submission_id=name,
                    entrypoint=shlex.join([*order.command, name]),
                    runtime_env={"working_dir": str(order.code), "env_vars": dict(order.env)},
                    metadata={"vidpred": order.key, "asked": order.asked},
                )
        except UserError:
            latest = self.latest(order.key)
            if latest is None or latest.number != number:
                raise
        return name

    def state(self, name: str) -> Job:
        """How a job gets on.

        Raises:
            UserError: there is none of this name.
        """
        with self._told(f"looking at job {name}"):
            return _job(self._client.get_job_info(name))

    def follow(self, name: str, *, from_start: bool = True) -> Job:
        """Prints what a job says on stderr until it ends; returns how it ended.

        Args:
            name: Of the job.
            from_start: All that it has said; else its last lines and what follows.

        Raises:
            UserError: the job server has been away for a minute. The job goes on.
        """
        import aiohttp

        screen = Screen()
        if not from_start:
            with self._told(f"reading the log of {name}"):
                screen.show_end(self._client.get_job_logs(name))
        lost: float | None = None
        while True:
            try:
                asyncio.run(self._tail(name, screen))
                job = self.state(name)
                if not job.alive:
                    return job
                lost = None
            except (UserError, OSError, RuntimeError, aiohttp.ClientError) as error:
                lost = lost or time.monotonic()
                if time.monotonic() - lost > _PATIENCE_SECONDS:
                    raise UserError(
                        f"lost {self.url} while job {name} runs there ({error}): it goes on; `dvc repro` finds it again"
                    ) from None
            time.sleep(1)

    def stop(self, name: str, *, seconds: float = 60) -> Job:
        """Stops a job and waits for its end."""
        with self._told(f"stopping job {name}"):
            self._client.stop_job(name)
        deadline = time.monotonic() + seconds
        while (job := self.state(name)).alive and time.monotonic() < deadline:
            time.sleep(0.3)
        return job

    def last_line(self, name: str) -> str:
        """The last line of a job's log; "" where it said nothing."""
        with self._told(f"reading the log of {name}"):
            lines = [line for line in self._client.get_job_logs(name).splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""

    async def _tail(self, name: str, screen: Screen) -> None:
        at = 0
        async for text in self._client.tail_job_logs(name):  # each time from its start
            screen.show(text, at)
            at += len(text)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, OSError) as error:  # those of requests are OSErrors
            why = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "no reason given")
            raise UserError(f"the Ray job server at {self.url}: {what} failed ({why[:300]})") from None


class Screen:
    """A log on stderr, of which nothing is shown twice."""

    def __init__(self) -> None:
        self._shown = 0
        """Characters of the log."""

    def show(self, text: str, at: int) -> None:
        """What is new in a piece that begins at a character of the log."""
        sys.stderr.write(text[max(0, self._shown - at) :])
        sys.stderr.flush()
        self._shown = max(self._shown, at + len(text))

    def show_end(self, text: str) -> None:
        """The last lines of all so far."""
        sys.stderr.write("".join(text.splitlines(keepends=True)[-_LAST_LINES:]))
        self._shown = len(text)


def _job(details: Any) -> Job:
    return Job(
        name=str(details.submission_id),
        state=_STATES[str(details.status.value)],
        asked=str((details.metadata or {}).get("asked", "")),
        message=str(details.message or ""),
    )


def run_job(server: JobServer, order: Order, *, found: Callable[[Job], bool]) -> Job:
    """Sees to it that what is ordered is done, and follows it: by a job that runs already, else by a new one.

    Ctrl-C leaves the job alone and says how to go on.

    Args:
        server: Where.
        order: What.
        found: Whether the results of a job that has succeeded are still there.

    Returns:
        The job that did it.

    Raises:
        UserError: it failed or was stopped.
    """
    job = server.latest(order.key)
    while True:
        if job and job.state == "succeeded" and job.asked == order.asked and found(job):
            log.info("job %s on %s has done it", job.name, server.url)
            return job
        name, again = (job.name, True) if job and job.alive else (None, False)
        if name is None:
            name = server.submit(order, job.number + 1 if job else 1)
        log.info("%s job %s on %s", "attached to" if again else "submitted", name, server.url)
        try:
            job = server.follow(name, from_start=not again)
        except KeyboardInterrupt:
            log.warning(
                "detached: job %s goes on at %s. `dvc repro` attaches again; `vidpred cluster stop-job %s` stops it",
                name, server.url, name,
            )  # fmt: skip
            raise
        if job.state == "failed":
            said = server.last_line(name).removeprefix("error: ") or job.message
            raise UserError(f"job {name} on {server.url} failed: {said}")
        if job.state == "stopped":
            raise UserError(f"job {name} on {server.url} was stopped; `dvc repro` goes on with its work in another")
        if job.asked == order.asked:
            return job  # else it was one with, say, a smaller budget
