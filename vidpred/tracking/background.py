"""Sends the runs of a sweep to MLflow beside the work, from a thread: a store that is slow or away holds nothing up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from vidpred.errors import UserError
from vidpred.tracking import store
from vidpred.tracking.runs import Tracker
from vidpred.tracking.trials import SweepRuns

log = logging.getLogger(__name__)

_EVERY_SECONDS = 2.0
"""Between two rounds; what a trial reports in between goes in one request."""
_AGAIN_SECONDS = 10.0
"""A store that did not answer is left alone for so long."""
_PATIENCE_SECONDS = 30.0
"""At the end, for one trial to be sent."""


class Background:
    """Made by `mirrored`. Trials are named, and read when they are sent."""

    def __init__(self, runs: SweepRuns, permit: Callable[[], None]) -> None:
        self.last: Callable[[Tracker], None] = lambda _parent: None
        """What is to be done with the sweep's own run before it is closed."""
        self._runs, self._permit = runs, permit
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._waiting: dict[int, None] = {}
        self._status: str | None = None
        self._sent_at = time.monotonic()
        self._warned = False
        self._whole = False
        self._thread = threading.Thread(target=self._work, name="mlflow-mirror", daemon=True)

    def touch(self, numbers: Iterable[int]) -> None:
        """The record of these trials has changed."""
        with self._lock:
            self._waiting |= dict.fromkeys(numbers)

    def close(self, status: str) -> None:
        """Sends what is left as long as the store takes it."""
        self._runs.parent.note(status)
        self._status = status
        self._sent_at = time.monotonic()
        self._wake.set()
        while self._thread.is_alive() and time.monotonic() - self._sent_at < _PATIENCE_SECONDS:
            self._thread.join(0.1)
        if not self._whole:
            log.warning("MLflow lacks a part of the sweep: `vidpred sync` sends it when the store answers")
        elif self._warned:
            log.info("MLflow answers again: everything was sent")

    def _work(self) -> None:
        while True:
            closing = self._status
            try:
                sent = self._round()
                if closing is not None:
                    self._whole = sent and self._attempt(partial(self._close, closing))
            except UserError as error:  # not ours any more, or the record is damaged
                log.warning("the sweep is not sent to MLflow any more: %s", error)
                return
            if closing is not None:
                return
            self._wake.wait(_EVERY_SECONDS if sent else _AGAIN_SECONDS)

    def _round(self) -> bool:
        """Sends all that wait; whether the store took them."""
        while True:
            with self._lock:
                if not self._waiting:
                    return True
                number = next(iter(self._waiting))
                del self._waiting[number]
            if not self._attempt(partial(self._runs.send, number)):
                self.touch([number])
                return False

    def _close(self, status: str) -> None:
        self._runs.tidy()
        self.last(self._runs.parent)
        if not self._runs.parent.close(status):
            raise store.StoreError("no answer in time")

    def _attempt(self, action: Callable[[], None]) -> bool:
        self._permit()
        try:
            action()
        except store.StoreError as error:
            if not self._warned:
                log.warning("MLflow does not have the trials for now, the sweep goes on: %s", error)
                self._warned = True
            return False
        self._sent_at = time.monotonic()
        return True


@contextmanager
def mirrored(runs: SweepRuns, *, permit: Callable[[], None] = lambda: None) -> Iterator[Background]:
    """Inside, a thread sends the trials that are touched; the sweep's run ends as the block does.

    Args:
        runs: Of the sweep; the thread's alone from now on.
        permit: Raises a `UserError` when this process may not write of the sweep any more.
    """
    background = Background(runs, permit)
    background._thread.start()
    status = "FAILED"
    try:
        yield background
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        background.close(status)
