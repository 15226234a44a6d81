"""The runs of a sweep in MLflow: one for the sweep, one below it for each trial, brought up to what is on record.

In: how each trial stands, read anew whenever it is sent. Out: a run a trial, whatever was started again, in which no
step stands twice. After a request that failed nothing is taken for known any more: the runs are looked up again, so
that what a dying server took or did not take makes no difference.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from vidpred.errors import UserError
from vidpred.tracking import store
from vidpred.tracking.entries import (
    FAILURE_TAG,
    KEY_TAG,
    STAGE_TAG,
    Figure,
    figures_of,
    flat,
    origin,
    send,
    steps_of,
    without_changed,
)
from vidpred.tracking.runs import Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
PARENT_TAG = "mlflow.parentRunId"
REASON_TAG = "vidpred.reason"
"""Why a trial was stopped, broken off or failed, in one line."""
ROWS_TAG = "vidpred.rows"
"""How many rows of a trial's record its run has."""


@dataclass(frozen=True)
class TrialState:
    """How a trial stands."""

    number: int
    name: str
    """Of its run, for people."""
    params: Mapping[str, object]
    """May be nested."""
    status: RunStatus
    failure: str
    tags: Mapping[str, str]
    started_ms: int
    ended_ms: int | None
    rows: Sequence[Mapping[str, object]]
    """In the order in which they came; `step`, `time` in seconds since 1970, figures."""


@dataclass
class _Run:
    """What is known of a trial's run."""

    run_id: str
    status: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    rows: int | None = 0
    """That it has; None: at least as many as its tag says."""
    figures: tuple[str, ...] = ()
    """Names of those it had when it was looked up."""


class SweepRuns:
    """The runs of one sweep. Not for several threads at once.

    Args:
        parent: The sweep's own run, which is `required`: what it is told raises where the store is away.
        key: Of the sweep.
        read: How a trial stands.
    """

    def __init__(self, parent: Tracker, key: str, read: Callable[[int], TrialState]) -> None:
        self.parent, self._key, self._read = parent, key, read
        self._runs: dict[int, _Run] | None = None

    def send(self, number: int) -> None:
        """Brings the run of a trial up to its record.

        Raises:
            store.StoreError: the store is away. To be tried again later.
        """
        with self._careful():
            client, parent = self.parent.connect()
            if self._runs is None:
                self._runs = self._look_up(client, parent)
            self._bring_up(client, parent, self._runs, self._read(number))

    def tidy(self) -> None:
        """Looks whether a trial has two runs, and deletes one.

        A request that a server took, but died before it said so, is sent again by MLflow's own client.

        Raises:
            store.StoreError: the store is away.
        """
        with self._careful():
            self._runs = self._look_up(*self.parent.connect())

    @contextmanager
    def _careful(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever a store or its plug-in raises
            self._runs = None
            self.parent.forget()
            raise error if isinstance(error, UserError) else store.StoreError(store.reason(error)) from error

    def _bring_up(self, client: MlflowClient, parent: str, runs: dict[int, _Run], state: TrialState) -> None:
        run = runs.get(state.number)
        if run is None:
            run = runs[state.number] = self._create(client, parent, state)
        params, changed = without_changed(flat(state.params), run.params)
        figures = self._missing(client, run, state)
        tags = {**state.tags, **changed, ROWS_TAG: str(len(state.rows))}
        if state.failure:
            tags[FAILURE_TAG] = state.failure
        for name in {FAILURE_TAG, REASON_TAG} & (run.tags.keys() - tags.keys()):  # it was tried again, or went on
            client.delete_tag(run.run_id, name)
            del run.tags[name]
        tags = {name: value for name, value in tags.items() if run.tags.get(name) != value}
        send(client, run.run_id, figures=figures, params=params, tags=tags)
        run.params |= params
        run.tags |= tags
        run.rows = len(state.rows)
        if run.status != state.status:
            if state.status == "RUNNING":
                client.update_run(run.run_id, status="RUNNING")
            else:
                client.set_terminated(run.run_id, status=state.status, end_time=state.ended_ms)
            run.status = state.status

    def _create(self, client: MlflowClient, parent: str, state: TrialState) -> _Run:
        # with its tags at once: a run that was made half would never be found again
        tags = {KEY_TAG: f"{self._key}-{state.number}", STAGE_TAG: "trial", PARENT_TAG: parent, **origin("tune")}
        run = client.create_run(store.experiment(client), start_time=state.started_ms, tags=tags, run_name=state.name)
        return _Run(run.info.run_id, "RUNNING", tags=tags)

    def _missing(self, client: MlflowClient, run: _Run, state: TrialState) -> list[Figure]:
        """The figures that the run does not have."""
        if run.rows is not None:
            return [figure for row in state.rows[run.rows :] for figure in _figures(row)]
        if run.tags.get(ROWS_TAG) == str(len(state.rows)):  # the tag is sent last: all is there
            return []
        have = steps_of(client, run.run_id, run.figures)
        return [f for row in state.rows for f in _figures(row) if f.step not in have.get(f.key, ())]

    def _look_up(self, client: MlflowClient, parent: str) -> dict[int, _Run]:
        """The runs that are there; of two of one trial the one that has more."""
        found: dict[int, _Run] = {}
        query = f"tags.`{PARENT_TAG}` = '{parent}' and tags.`{STAGE_TAG}` = 'trial'"
        token: str | None = None
        while True:
            page = client.search_runs([store.experiment(client)], query, max_results=1000, page_token=token)
            for run in page:
                number = int(run.data.tags[KEY_TAG].rpartition("-")[2])
                this = _Run(
                    run.info.run_id, run.info.status, dict(run.data.params), dict(run.data.tags), None,
                    tuple(run.data.metrics),
                )  # fmt: skip
                if number in found:
                    found[number], spare = sorted((found[number], this), key=_rows, reverse=True)
                    client.delete_run(spare.run_id)
                else:
                    found[number] = this
            token = page.token
            if not token:
                return found


def _rows(run: _Run) -> int:
    return int(run.tags.get(ROWS_TAG, -1))


def _figures(row: Mapping[str, Any]) -> Sequence[Figure]:
    return list(figures_of(int(row["step"]), row))
