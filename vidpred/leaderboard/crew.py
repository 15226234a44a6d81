"""Jobs carried out one after the other in this process, or side by side in several; one that fails ends no other.

In: jobs, and a function that is told of every outcome and may ask for more jobs. Ctrl-C or SIGTERM lets running
trainings write their checkpoint first.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from vidpred.errors import UserError
from vidpred.leaderboard.bench import Bench
from vidpred.leaderboard.plan import Plan
from vidpred.leaderboard.runs import Run, train_run
from vidpred.leaderboard.scores import Judgement, judge
from vidpred.training.loop import Stopped

Job = Run | Judgement
_PATIENCE_SECONDS = 20
"""How long processes that were asked to stop may take."""


@dataclass(frozen=True)
class Failure:
    """Why a job came to nothing, in one line."""

    reason: str


Outcome = dict[str, Any] | Failure


def carry_out(jobs: Sequence[Job], plan: Plan, *, done: Callable[[Job, Outcome], Sequence[Job]]) -> bool:
    """Does jobs, and those that `done` asks for in turn, in `plan.jobs` processes.

    Args:
        jobs: Given out in this order; those that `done` returns come before the ones still waiting.
        plan: What they need to know.
        done: Told of every outcome, in this process.

    Returns:
        Whether all was done: False after Ctrl-C or SIGTERM.
    """
    with _asked_to_stop() as asked:
        if plan.jobs == 1:
            return _one_by_one(deque(jobs), plan, done, asked)
        return _side_by_side(deque(jobs), plan, done, asked)


def _one_by_one(
    waiting: deque[Job], plan: Plan, done: Callable[[Job, Outcome], Sequence[Job]], asked: threading.Event
) -> bool:
    bench = Bench(plan)
    while waiting and not asked.is_set():
        job = waiting.popleft()
        outcome = _attempt(bench, job, asked.is_set)
        if outcome is None:
            return False
        waiting.extendleft(reversed(done(job, outcome)))
    return not waiting


def _side_by_side(
    waiting: deque[Job], plan: Plan, done: Callable[[Job, Outcome], Sequence[Job]], asked: threading.Event
) -> bool:
    free = [_Worker(plan) for _ in range(plan.jobs)]
    busy: dict[Connection, tuple[_Worker, Job]] = {}
    try:
        while (waiting or busy) and not asked.is_set():
            while waiting and free:
                worker, job = free.pop(), waiting.popleft()
                worker.give(job)
                busy[worker.pipe] = worker, job
            for pipe in wait(list(busy), timeout=0.5):
                assert isinstance(pipe, Connection)
                worker, job = busy.pop(pipe)
                outcome = worker.take()
                if outcome is None:  # it was asked to stop, and so shall we be
                    asked.set()
                    break
                free.append(worker if worker.process.is_alive() else _Worker(plan))
                waiting.extendleft(reversed(done(job, outcome)))
    finally:
        for worker in [*free, *(one for one, _ in busy.values())]:
            worker.process.terminate()
        for worker in [*free, *(one for one, _ in busy.values())]:
            worker.process.join(_PATIENCE_SECONDS)
            worker.process.kill()
    return not asked.is_set()


class _Worker:
    """A process that does one job at a time."""

    def __init__(self, plan: Plan) -> None:
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_work, args=(theirs, plan, os.getpid()), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, job: Job) -> None:
        self.pipe.send(job)

    def take(self) -> Outcome | None:
        """The outcome that is there; None where the process was asked to stop."""
        try:
            outcome: Outcome | None = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            how = f"by signal {-code}, perhaps for want of memory" if code < 0 else f"with code {code}"
            return Failure(f"its process ended {how}")
        return outcome


def _work(pipe: Connection, plan: Plan, parent: int) -> None:
    """What a worker process does until its pipe is closed."""
    with _asked_to_stop() as asked:
        bench = Bench(plan)
        while not asked.is_set():
            try:
                if not pipe.poll(0.5):
                    continue
                job = pipe.recv()
            except (EOFError, OSError):
                return
            outcome = _attempt(bench, job, lambda: asked.is_set() or os.getppid() != parent)
            pipe.send(outcome)


def _attempt(bench: Bench, job: Job, should_stop: Callable[[], bool]) -> Outcome | None:
    """Does a job; None where it was stopped."""
    try:
        return train_run(bench, job, should_stop) if isinstance(job, Run) else judge(bench, job)
    except Stopped:
        return None
    except UserError as error:
        return Failure(str(error))
    except Exception as error:  # noqa: BLE001 - a model that is being written may raise anything: it costs its own row
        lines = str(error).strip().splitlines() or [""]
        return Failure(f"{type(error).__name__}: {lines[0]}"[:300])


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, once; a second one does what it always does."""
    asked = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}

    def ask(number: int, _: object) -> None:
        asked.set()
        signal.signal(number, before[number])

    for number in numbers:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number in numbers:
            signal.signal(number, before[number])
