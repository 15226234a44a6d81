"""Runs in MLflow: the mirror of work whose truth lies on disk.

In: parameters, figures per step, files. Out: a run that is found again by its key, so that resumed work goes on in
the same run. A store that does not answer costs a warning and a few seconds, never the work: what was not sent is
kept, tried again after a while and at the end, and `mirror` sends whatever of metrics.jsonl is missing, once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vidpred.tracking import store
from vidpred.tracking.entries import (
    FAILURE_TAG,
    KEY_TAG,
    LONGEST_VALUE,
    STAGE_TAG,
    Figure,
    figures_of,
    flat,
    origin,
    read_rows,
    send,
    steps_of,
    without_changed,
)
from vidpred.tracking.lineage import machine
from vidpred.workspace import content_id, write_json

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

_RETRY_SECONDS = 60
"""A store that did not answer is left alone for so long: asking costs up to three seconds."""


class Tracker:
    """One run. Made by `Tracker.open`; none of its methods raises when the store is away."""

    def __init__(
        self,
        *,
        stage: str,
        key: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        parent: str | None,
        required: bool,
        note: Path | None = None,
    ) -> None:
        self.run_id: str | None = None
        """MLflow's id of the run; None as long as the store has not answered."""
        self._stage, self._key, self._parent = stage, key, parent
        self._params = flat(params)
        self._tags = dict(tags)
        self._required = required
        self._client: MlflowClient | None = None
        self._known: dict[str, set[int]] | None = None
        self._pending: list[Figure] = []
        self._figures: dict[str, Figure] = {}
        self._failure: str | None = None
        self._unsent: list[tuple[Path, str | None]] = []
        self._warned = False
        self._retry_at = 0.0
        self._note, self._noted_files = note, False
        # as the work finds it: who registers the model may be another machine
        self._machine = {"hardware": machine.hardware(), "versions": machine.versions()} if note else {}
        self.note("RUNNING")

    @classmethod
    @contextmanager
    def open(
        cls,
        *,
        stage: str,
        key: str,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
        parent: str | None = None,
        required: bool = False,
        note: Path | None = None,
    ) -> Iterator[Tracker]:
        """The run of this stage and key, found or made; its status tells how the block ended, and of `fail`.

        Args:
            stage: Such as `train`; part of what the run is found by.
            key: Such as `workspace.stage_key` gives.
            params: May be nested; a value that has changed since the run was made goes to the tag `changed.<name>`,
                since MLflow's parameters cannot change.
            tags: Set anew each time.
            parent: `run_id` of the run that this one is a trial of.
            required: Whether to raise `store.StoreError` where the store is away.
            note: A file that is to say all of this, and how the block ended, to `vidpred sync`.
        """
        tracker = cls(
            stage=stage, key=key, params=params or {}, tags=tags or {}, parent=parent, required=required, note=note
        )
        tracker._attempt(lambda _client, _run: None)
        status = "FAILED"
        try:
            yield tracker
            status = "FINISHED" if tracker._failure is None else "FAILED"
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            tracker.close(status)

    def metrics(self, step: int, values: Mapping[str, object]) -> None:
        """Sends figures of one step, in one request; those that are no numbers are left out."""
        self._pending += figures_of(step, values)
        self._attempt(self._flush)

    def figures(self, values: Mapping[str, object]) -> None:
        """Sends figures of the run as a whole, such as those on test: one that the run has already is set anew."""
        self._figures |= {figure.key: figure for figure in figures_of(0, values)}
        self._attempt(self._flush)

    def mirror(self, path: Path) -> None:
        """Sends what the run lacks of a metrics.jsonl (rows with `step` and figures)."""
        rows = [row for row in read_rows(path) if isinstance(row.get("step"), int)]
        self._pending += [figure for row in rows for figure in figures_of(int(str(row["step"])), row)]
        self._retry_at = 0.0
        self._attempt(self._flush)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Sends a file, or all of a folder, to `folder` of the run's artifacts."""
        if not path.exists():
            log.warning("%s does not exist: not sent to MLflow", path)
            return
        self._unsent.append((path, folder))
        self._attempt(self._send_artifacts)

    def fail(self, reason: str) -> None:
        """Lets the run end as FAILED although no exception leaves the block; the tag `vidpred.failure` says why."""
        self._failure = reason

    def _attempt(self, action: Callable[[MlflowClient, str], object]) -> bool:
        """Does something with the run, unless the store was away a moment ago."""
        if time.monotonic() < self._retry_at:
            return False
        try:
            client, run = self.connect()
            action(client, run)
        except Exception as error:  # whatever a store or its plug-in raises must not end hours of work
            if self._required:
                if isinstance(error, store.StoreError):
                    raise
                raise store.StoreError(f"MLflow: {store.reason(error)}") from error
            self._client = None
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            if not self._warned:
                log.warning("not tracked for now, the work goes on: %s", store.reason(error))
                self._warned = True
            return False
        return True

    def connect(self) -> tuple[MlflowClient, str]:
        """The client and the run's id; the first time it is looked for, or made.

        Raises:
            Exception: whatever a store that is away raises.
        """
        client = self._client or store.connect()
        if self.run_id is None:
            self.run_id = self._find_or_create(client)
        self._client = client
        return client, self.run_id

    def forget(self) -> None:
        """Lets go of a connection that has failed; the next use makes a new one."""
        self._client = None

    def _find_or_create(self, client: MlflowClient) -> str:
        experiment = store.experiment(client)
        tags = {
            KEY_TAG: self._key,
            STAGE_TAG: self._stage,
            **origin(self._stage),
            **({"mlflow.parentRunId": self._parent} if self._parent else {}),
        }
        query = f"tags.`{KEY_TAG}` = '{self._key}' and tags.`{STAGE_TAG}` = '{self._stage}'"
        found = client.search_runs([experiment], query, max_results=1)
        tags |= {name: value[:LONGEST_VALUE] for name, value in self._tags.items()}
        if found:
            run = found[0]
            params, changed = without_changed(self._params, run.data.params)
            client.update_run(run.info.run_id, status="RUNNING")
            if FAILURE_TAG in run.data.tags:  # it is tried again
                client.delete_tag(run.info.run_id, FAILURE_TAG)
            send(client, run.info.run_id, params=params, tags=tags | changed)
        else:
            # with its tags at once: a run that was made half would never be found again
            run = client.create_run(experiment, tags=tags, run_name=f"{self._stage}-{self._key[:8]}")
            self._known = {}
            send(client, run.info.run_id, params=self._params)
        return str(run.info.run_id)

    def _flush(self, client: MlflowClient, run: str) -> None:
        """Sends the figures that the run does not have."""
        new: dict[tuple[str, int], Figure] = {}
        for figure in self._pending:
            if figure.step not in self._steps(client, run, figure.key):
                new[figure.key, figure.step] = figure
        figures = list(new.values())
        if self._figures:
            have = client.get_run(run).data.metrics
            figures += [figure for figure in self._figures.values() if have.get(figure.key) != figure.value]
        send(client, run, figures=figures)
        for figure in figures:
            self._steps(client, run, figure.key).add(figure.step)
        self._pending, self._figures = [], {}

    def _steps(self, client: MlflowClient, run: str, key: str) -> set[int]:
        """The steps of a figure that the run has; asked for once where the run was there before us."""
        if self._known is None:
            self._known = steps_of(client, run, client.get_run(run).data.metrics)
        return self._known.setdefault(key, set())

    def _send_artifacts(self, client: MlflowClient, run: str) -> None:
        while self._unsent:
            path, folder = self._unsent[0]
            send = client.log_artifacts if path.is_dir() else client.log_artifact
            send(run, str(path), folder)
            self._unsent.pop(0)

    def close(self, status: str) -> bool:
        """Sends what is left and closes the run as `FINISHED`, `FAILED` or `KILLED`; whether the store took it."""

        def close(client: MlflowClient, run: str) -> None:
            self._flush(client, run)
            self._send_artifacts(client, run)
            if self._failure is not None:
                client.set_tag(run, FAILURE_TAG, self._failure[:LONGEST_VALUE])
            client.set_terminated(run, status=status)

        self.note(status)
        self._retry_at = 0.0
        self._required = self._required and status == "FINISHED"  # the failure is what counts, and is known already
        sent = self._attempt(close)
        if sent and self._noted_files:
            self.note(status)
        if sent and self._warned:
            log.info("MLflow answers again: everything was sent")
        return sent

    def note(self, status: str) -> None:
        """Writes the note for `vidpred sync`, if there is to be one: how the work stands, whatever the store knows."""
        if self._note is not None:
            told: dict[str, object] = {
                "stage": self._stage,
                "key": self._key,
                "params": self._params,
                "tags": self._tags,
            }
            files = [
                {"path": str(path.resolve()), "folder": folder, "content": content_id(path)}
                for path, folder in self._unsent
                if path.exists()
            ]
            self._noted_files = bool(files)
            told |= {"status": status, "failure": self._failure, "files": files, "machine": self._machine}
            write_json(self._note, told)
