"""Many clips at once: read ahead, predicted together, written beside.

    grouped → read (threads; tiny files share an ffmpeg) → predicted in batches, here → finished and written (threads)

In: jobs and a plan. Out: for each job, in order, what came of it. Only a few batches are in memory at any time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from vidpred.errors import UserError
from vidpred.serving.clip import Clip, Job, Reading, grouped, read_clips
from vidpred.serving.outputs import write_result
from vidpred.serving.panels import Result
from vidpred.serving.plan import Finish, Plan
from vidpred.workspace import cores

_TOGETHER = 16
"""Clips that are predicted at once, at the most."""
_TOGETHER_BYTES = 64 << 20
"""Of frames that were read, from which on no more are waited for."""
_UNWRITTEN = 2 * _TOGETHER
"""Results that wait to be written, at the most; fewer where they are large."""

Outcome = tuple[Job, Result | UserError]
Read = tuple[Job, Clip | UserError]
"""A job, and its clip or the reason why there is none."""


def worked_through(plan: Plan, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
    """Predicts and writes clips; gives each when its file is there, or with the reason why there is none.

    What is closed early, by Ctrl-C for instance, finishes the files that it is writing and begins no others.

    Raises:
        UserError: no clip can be done: there is no ffmpeg, or no room for frames.
    """
    stop = threading.Event()
    readers = ThreadPoolExecutor(cores(), thread_name_prefix="reads")
    writers = ThreadPoolExecutor(cores(), thread_name_prefix="writes")
    try:
        unwritten: deque[tuple[Job, Future[Result] | UserError]] = deque()
        for batch in batches(read_ahead(readers, plan.reading, jobs, stop)):
            most = _UNWRITTEN if _held(batch) < _TOGETHER_BYTES else 0
            for job, made in _made(plan, batch):
                unwritten.append((job, made if isinstance(made, UserError) else writers.submit(_write, job, made)))
            while unwritten and (len(unwritten) > most or _is_done(unwritten[0][1])):
                yield _outcome(*unwritten.popleft())
        while unwritten:
            yield _outcome(*unwritten.popleft())
    finally:
        stop.set()
        readers.shutdown(cancel_futures=True)
        writers.shutdown(cancel_futures=True)


def read_ahead(
    readers: ThreadPoolExecutor, reading: Reading, jobs: Sequence[Job], stop: threading.Event
) -> Iterator[list[Read]]:
    """Groups as they were read, in order; a few more than there are threads are under way."""
    groups = iter(grouped(jobs))
    ahead: deque[tuple[list[Job], Future[list[Clip | UserError]]]] = deque()
    while True:
        for group in islice(groups, cores() + 1 - len(ahead)):
            ahead.append((group, readers.submit(read_clips, group, reading, stop=stop)))
        if not ahead:
            return
        group, future = ahead.popleft()
        yield list(zip(group, future.result(), strict=True))


def batches(groups: Iterator[list[Read]]) -> Iterator[list[Read]]:
    """Groups put together to what is computed at once."""
    batch: list[Read] = []
    for group in groups:
        batch += group
        if len(batch) >= _TOGETHER or _held(batch) >= _TOGETHER_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _held(batch: Sequence[Read]) -> int:
    return sum(clip.frames.nbytes for _, clip in batch if isinstance(clip, Clip))


def _made(plan: Plan, batch: Sequence[Read]) -> Iterator[tuple[Job, Finish | UserError]]:
    made = iter(plan.make([(job, clip) for job, clip in batch if isinstance(clip, Clip)]))
    for job, clip in batch:
        yield job, next(made) if isinstance(clip, Clip) else clip


def _write(job: Job, finish: Finish) -> Result:
    result = finish()
    write_result(job.target, result)
    return result


def _is_done(made: Future[Result] | UserError) -> bool:
    return isinstance(made, UserError) or made.done()


def _outcome(job: Job, made: Future[Result] | UserError) -> Outcome:
    if isinstance(made, UserError):
        return job, made
    try:
        return job, made.result()
    except UserError as error:
        return job, error
