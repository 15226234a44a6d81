"""Which class each of many clips is of, and what happens when in those that are long.

    grouped → read (threads; tiny files share an ffmpeg) → scored in batches, here; long ones are looked through instead

In: a classifier and jobs. Out: for each job, in order, what came of it. Only a few batches are in memory at any time.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vidpred.errors import UserError
from vidpred.serving.classify import Classified, ClipClassifier
from vidpred.serving.clip import Clip, Job, Reading, is_tiny, look_of
from vidpred.serving.localise import LONG, Found, is_long, localise, opened
from vidpred.serving.pipeline import Read, batches, read_ahead
from vidpred.workspace import cores

Outcome = tuple[Job, Classified | Found | UserError]
_RUN = 256
"""Clips that follow each other and are no long videos, which are read and scored as one run, at the most."""


@dataclass(frozen=True)
class Asked:
    """How clips are looked at."""

    windows: int = 8
    """Of a clip that are scored, at the most."""
    way: Literal["auto", "sliding", "proposals", "none"] = "auto"
    """Of looking through: `auto` slides over long ones only, `none` takes each as one clip."""
    always: bool = False
    """Whether `auto` looks through short ones too."""
    least_seconds: float | None = None
    """Of a segment; None: half a window."""

    @property
    def whole(self) -> bool:
        """Whether some clips may be taken as one."""
        return self.way == "none" or (self.way == "auto" and not self.always)


def classified(model: ClipClassifier, jobs: Sequence[Job], asked: Asked) -> Generator[Outcome, None, None]:
    """Gives each clip with what was found, or with the reason why nothing was.

    Raises:
        UserError: no clip can be done: there is no ffmpeg, or no room for frames.
    """
    run: list[Job] = []
    for job, long in _told_long(model, jobs, asked):
        if not long:
            run.append(job)
        if run and (long or len(run) == _RUN):
            yield from _run(model, run, asked)
            run = []
        if long:
            yield job, _looked_through(model, job, asked)
    if run:
        yield from _run(model, run, asked)


def _told_long(model: ClipClassifier, jobs: Sequence[Job], asked: Asked) -> Iterator[tuple[Job, bool]]:
    """Whether each is to be looked through; of tiny files it comes to light when they are read."""
    if not asked.whole or asked.way == "none":
        yield from ((job, not asked.whole) for job in jobs)
        return

    def long(job: Job) -> bool:
        try:
            return not is_tiny(job.source) and is_long(model, opened(model, job.source))
        except UserError:  # the reading says what is wrong with it
            return False

    pool = ThreadPoolExecutor(cores(), thread_name_prefix="opens")
    try:
        yield from zip(jobs, pool.map(long, jobs), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _looked_through(model: ClipClassifier, job: Job, asked: Asked) -> Found | UserError:
    way = "sliding" if asked.way == "auto" else asked.way
    try:
        return localise(model, opened(model, job.source), way, least_seconds=asked.least_seconds)
    except UserError as error:
        return _named(job, str(error))


def _run(model: ClipClassifier, jobs: Sequence[Job], asked: Asked) -> Iterator[Outcome]:
    stop = threading.Event()
    readers = ThreadPoolExecutor(cores(), thread_name_prefix="reads")
    try:
        for batch in batches(read_ahead(readers, _reading(model, asked.windows), jobs, stop)):
            yield from _judged(model, batch, asked)
    finally:
        stop.set()
        readers.shutdown(cancel_futures=True)


def _reading(model: ClipClassifier, windows: int) -> Reading:
    """The frames that windows hold, each once."""

    def choose(numbers: np.ndarray) -> np.ndarray:
        chosen: np.ndarray = numbers[np.unique(model.looked_at(len(numbers), windows))]
        return chosen

    return Reading(look_of(model, model.fps), model.fps, choose, longer="what follows these is not looked at")


def _judged(model: ClipClassifier, batch: Sequence[Read], asked: Asked) -> Iterator[Outcome]:
    whole = [(clip, model.looked_at(clip.length, asked.windows)) for _, clip in batch if isinstance(clip, Clip)]
    able = [(clip.frames, np.searchsorted(np.unique(rows), rows)) for clip, rows in whole if len(rows)]
    scores = iter(model.scores_of(able))
    for job, clip in batch:
        if isinstance(clip, UserError):
            yield job, clip
        elif clip.length < model.span:
            yield job, _too_short(model, job, clip)
        else:
            found = next(scores)
            if asked.way == "auto" and clip.length >= LONG * model.span:
                yield job, _looked_through(model, job, asked)
            else:
                yield job, Classified.of(dict(zip(model.task.classes, found.tolist(), strict=True)))


def _too_short(model: ClipClassifier, job: Job, clip: Clip) -> UserError:
    task = model.task
    every = f" ({task.context}, {task.interval} apart)" if task.interval > 1 else ""
    return UserError(
        f"{job.name} is too short: {clip.length} frame{'s' * (clip.length != 1)} at {clip.rate:g} per second, the "
        f"model looks at {model.span}{every}: give a longer clip"
    )


def _named(job: Job, said: str) -> UserError:
    """An error that names the clip as people know it."""
    said = said.removeprefix(f"{job.source}: ")
    return UserError(said if said.startswith(job.name) else f"{job.name}: {said}")
