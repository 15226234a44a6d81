"""Runs in MLflow: the mirror of work whose truth lies on disk.

In: parameters, figures per step, files. Out: a run that is found again by its key, so that resumed work goes on in
the same run. A store that does not answer costs a warning and a few seconds, never the work: what was not sent is
kept, tried again after a while and at the end, and `mirror` sends whatever of metrics.jsonl is missing, once.
"""

from __future__ import annotations

import getpass
import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vidpred.tracking import store

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

KEY_TAG = "vidpred.key"
STAGE_TAG = "vidpred.stage"
FAILURE_TAG = "vidpred.failure"
"""Why a run failed, where `Tracker.fail` was told."""

_RETRY_SECONDS = 60
"""A store that did not answer is left alone for so long: asking costs up to three seconds."""
_AT_ONCE = 900
"""Figures in one request; MLflow takes at most 1000."""
_PARAMS_AT_ONCE = 90
"""MLflow takes at most 100."""
_LONGEST_VALUE = 5000
"""Characters of a parameter or tag; MLflow takes at most 6000 of the one and 8000 of the other."""


@dataclass(frozen=True)
class _Point:
    key: str
    value: float
    step: int
    timestamp_ms: int


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
    ) -> None:
        self.run_id: str | None = None
        """MLflow's id of the run; None as long as the store has not answered."""
        self._stage, self._key, self._parent = stage, key, parent
        self._params = flat(params)
        self._tags = dict(tags)
        self._required = required
        self._client: MlflowClient | None = None
        self._known: dict[str, set[int]] | None = None
        self._pending: list[_Point] = []
        self._figures: dict[str, _Point] = {}
        self._failure: str | None = None
        self._unsent: list[tuple[Path, str | None]] = []
        self._warned = False
        self._retry_at = 0.0

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
        """
        tracker = cls(stage=stage, key=key, params=params or {}, tags=tags or {}, parent=parent, required=required)
        tracker._attempt(lambda _client, _run: None)
        status = "FAILED"
        try:
            yield tracker
            status = "FINISHED" if tracker._failure is None else "FAILED"
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            tracker._finish(status)

    def metrics(self, step: int, values: Mapping[str, object]) -> None:
        """Sends figures of one step, in one request; those that are no numbers are left out."""
        self._pending += _points(step, values)
        self._attempt(self._flush)

    def figures(self, values: Mapping[str, object]) -> None:
        """Sends figures of the run as a whole, such as those on test: one that the run has already is set anew."""
        self._figures |= {point.key: point for point in _points(0, values)}
        self._attempt(self._flush)

    def mirror(self, path: Path) -> None:
        """Sends what the run lacks of a metrics.jsonl (rows with `step` and figures)."""
        rows = [row for row in _read_rows(path) if isinstance(row.get("step"), int)]
        self._pending += [point for row in rows for point in _points(int(str(row["step"])), row)]
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
            client, run = self._connect()
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

    def _connect(self) -> tuple[MlflowClient, str]:
        """The client and the run, which is looked for the first time."""
        client = self._client or store.connect()
        if self.run_id is None:
            self.run_id = self._find_or_create(client)
        self._client = client
        return client, self.run_id

    def _find_or_create(self, client: MlflowClient) -> str:
        from mlflow.entities import Param, RunTag

        experiment = store.experiment(client)
        tags = {
            KEY_TAG: self._key,
            STAGE_TAG: self._stage,
            "mlflow.source.name": f"stages/{self._stage}.py",
            "mlflow.user": _user(),
            **({"mlflow.parentRunId": self._parent} if self._parent else {}),
        }
        query = f"tags.`{KEY_TAG}` = '{self._key}' and tags.`{STAGE_TAG}` = '{self._stage}'"
        found = client.search_runs([experiment], query, max_results=1)
        tags |= {name: value[:_LONGEST_VALUE] for name, value in self._tags.items()}
        params = self._params
        if found:
            run = found[0]
            params = {name: value for name, value in params.items() if name not in run.data.params}
            changed = {n: v for n, v in self._params.items() if run.data.params.get(n, v) != v}
            tags |= {f"changed.{name}": value for name, value in changed.items()}
            client.update_run(run.info.run_id, status="RUNNING")
            if FAILURE_TAG in run.data.tags:  # it is tried again
                client.delete_tag(run.info.run_id, FAILURE_TAG)
        else:
            # with its tags at once: a run that was made half would never be found again
            run = client.create_run(experiment, tags=tags, run_name=f"{self._stage}-{self._key[:8]}")
            self._known = {}
        entries = list(params.items())
        for start in range(0, max(len(entries), 1), _PARAMS_AT_ONCE):
            client.log_batch(
                run.info.run_id,
                params=[Param(name, value) for name, value in entries[start : start + _PARAMS_AT_ONCE]],
                tags=[RunTag(name, value) for name, value in tags.items()] if found and not start else [],
            )
        return str(run.info.run_id)

    def _flush(self, client: MlflowClient, run: str) -> None:
        """Sends the figures that the run does not have."""
        from mlflow.entities import Metric

        new: dict[tuple[str, int], _Point] = {}
        for point in self._pending:
            if point.step not in self._steps(client, run, point.key):
                new[point.key, point.step] = point
        points = list(new.values())
        if self._figures:
            have = client.get_run(run).data.metrics
            points += [point for point in self._figures.values() if have.get(point.key) != point.value]
        for start in range(0, len(points), _AT_ONCE):
            some = points[start : start + _AT_ONCE]
            client.log_batch(run, metrics=[Metric(p.key, p.value, p.timestamp_ms, p.step) for p in some])
            for point in some:
                self._steps(client, run, point.key).add(point.step)
        self._pending, self._figures = [], {}

    def _steps(self, client: MlflowClient, run: str, key: str) -> set[int]:
        """The steps of a figure that the run has; asked for once where the run was there before us."""
        if self._known is None:
            self._known = {}
            for name in client.get_run(run).data.metrics:
                self._known[name] = {metric.step for metric in client.get_metric_history(run, name)}
        return self._known.setdefault(key, set())

    def _send_artifacts(self, client: MlflowClient, run: str) -> None:
        while self._unsent:
            path, folder = self._unsent[0]
            send = client.log_artifacts if path.is_dir() else client.log_artifact
            send(run, str(path), folder)
            self._unsent.pop(0)

    def _finish(self, status: str) -> None:
        """Sends what is left and closes the run."""

        def close(client: MlflowClient, run: str) -> None:
            self._flush(client, run)
            self._send_artifacts(client, run)
            if self._failure is not None:
                client.set_tag(run, FAILURE_TAG, self._failure[:_LONGEST_VALUE])
            client.set_terminated(run, status=status)

        self._retry_at = 0.0
        self._required = self._required and status == "FINISHED"  # the failure is what counts, and is known already
        if self._attempt(close) and self._warned:
            log.info("MLflow answers again: everything was sent")


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested parameters by dotted names, as text: {"a": {"b": 1}} gives {"a.b": "1"}."""
    out: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{name}.")
        else:
            text = json.dumps(value, default=str) if isinstance(value, list | tuple) else str(value)
            out[f"{prefix}{name}"] = text[:_LONGEST_VALUE]
    return out


def _points(step: int, values: Mapping[str, object]) -> Iterable[_Point]:
    now = time.time_ns() // 1_000_000
    for key, value in values.items():
        if key == "step" or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if math.isfinite(value):
            yield _Point(key, float(value), step, now)


def _read_rows(path: Path) -> list[dict[str, object]]:
    """Rows of a JSON-lines file; a last line that a kill cut short is not one, and neither is a missing file's."""
    rows = []
    lines = path.read_text().splitlines() if path.is_file() else []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # containers without an entry for the user
        return "unknown"
