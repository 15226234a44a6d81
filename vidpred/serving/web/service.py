"""The way of one upload: read → predict or classify → draw. Each step gathers what other uploads want at the same time.

Reading is ffmpeg's, in processes that small files share; predicting is torch's, one batch at a time; drawing is ours.
Nothing of an upload outlives its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal, TypeVar
from uuid import uuid4

import numpy as np

from vidpred.data import media
from vidpred.data.encode import write_mp4
from vidpred.data.media import MediaError
from vidpred.evaluation.pictures import GREEN, GREY, bordered
from vidpred.serving.web import drawing, reading
from vidpred.serving.web.batcher import Batcher
from vidpred.serving.web.figures import Compared, compared
from vidpred.serving.web.meters import Meters
from vidpred.serving.web.refusal import Refusal
from vidpred.serving.web.settings import Limits
from vidpred.serving.web.shelf import Loaded

T = TypeVar("T")
Show = Literal["prediction", "clip", "beside"]
"""What a GIF or MP4 shows: the predicted frames; the clip and then these; or that beside what really happened."""
SHOWN = 40
"""Known frames in an answer, at the most."""
_CUT = "Only the first {:.3g} seconds of the clip were read."
_TOGETHER = 16
"""Uploads of a batch."""


@dataclass(frozen=True)
class Asked:
    """What somebody wants of an upload."""

    name: str
    """Of the file, as its owner calls it."""
    frames: int
    compare: bool
    """Whether the clip's own last frames are kept back, and predicted."""


@dataclass(frozen=True)
class Foreseen:
    """What came of it."""

    known: np.ndarray
    """uint8 (T, H, W, 3): up to where the prediction begins."""
    predicted: np.ndarray
    """uint8 (N, H, W, 3)."""
    truth: np.ndarray
    """uint8 (M, H, W, 3), M ≤ N: what really followed; empty where nobody knows."""
    fps: float
    compared: Compared | None
    notes: tuple[str, ...]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Told:
    """What a classifier says of an upload."""

    frames: np.ndarray
    """uint8 (T, H, W, 3): its beginning, as the model sees it."""
    count: int
    """Frames that were read."""
    fps: float
    scores: dict[str, float]
    """Of all classes, likeliest first."""
    windows: int
    notes: tuple[str, ...]
    seconds: dict[str, float]


@dataclass(frozen=True)
class _Doubt:
    """What a classifier is asked of one upload."""

    loaded: Loaded
    frames: np.ndarray
    windows: int


@dataclass(frozen=True)
class _Question:
    """What the predictor is asked for one upload."""

    loaded: Loaded
    context: np.ndarray
    truth: np.ndarray
    count: int


class Service:
    """The stages, and what they share."""

    def __init__(self, *, scratch: Path, limits: Limits, meters: Meters) -> None:
        self._scratch, self._limits, self._meters = scratch, limits, meters
        self._readers = ThreadPoolExecutor(3, "read")
        self._thinker = ThreadPoolExecutor(1, "predict")
        self._drawers = ThreadPoolExecutor(1, "draw")
        self._small: Batcher[reading.Wanted, reading.Read] = Batcher(
            self._read, self._readers, most=_TOGETHER, alike=lambda one: one.look,
            told=meters.batch.labels("read").observe,
        )  # fmt: skip
        self._large: Batcher[reading.Wanted, reading.Read] = Batcher(
            self._read, self._readers, most=1, workers=2, alike=id, told=meters.batch.labels("read_large").observe
        )
        self._predictor: Batcher[_Question, tuple[np.ndarray, Compared | None]] = Batcher(
            _predicted, self._thinker, most=_TOGETHER, alike=lambda one: (id(one.loaded), one.count),
            told=meters.batch.labels("predict").observe,
        )  # fmt: skip
        self._classifier: Batcher[_Doubt, dict[str, float]] = Batcher(
            _classified, self._thinker, most=_TOGETHER, alike=lambda one: id(one.loaded),
            told=meters.batch.labels("classify").observe,
        )  # fmt: skip
        stages = {
            "read": self._small, "read_large": self._large, "predict": self._predictor, "classify": self._classifier
        }  # fmt: skip
        for stage, batcher in stages.items():
            meters.waiting.labels(stage).set_function(lambda batcher=batcher: batcher.depth)  # type: ignore[misc]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works as long as the block lasts."""
        batchers = (self._small, self._large, self._predictor, self._classifier)
        for batcher in batchers:
            batcher.start()
        try:
            yield
        finally:
            for batcher in batchers:
                await batcher.stop()
            for pool in (self._readers, self._thinker, self._drawers):
                pool.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def _timed(self, stage: str, seconds: dict[str, float]) -> Iterator[None]:
        began = perf_counter()
        try:
            yield
        finally:
            seconds[stage] = perf_counter() - began
            self._meters.stage.labels(stage).observe(seconds[stage])

    def _read(self, wanted: Sequence[reading.Wanted]) -> list[reading.Read | Exception]:
        return reading.read(wanted, scratch=self._scratch, timeout_seconds=self._limits.read_seconds)

    async def foresee(self, data: bytes, loaded: Loaded, asked: Asked) -> Foreseen:
        """Predicts what follows an upload.

        Args:
            data: Its bytes.
            loaded: By which model.
            asked: What is wanted.

        Raises:
            Refusal: it cannot be read, or is too short.
        """
        seconds: dict[str, float] = {}
        task = loaded.predictor.task
        with self._timed("read", seconds):
            last = SHOWN + task.context + asked.frames
            clip = await self._clip(data, loaded, asked.name, interval=task.interval, last=last)
        if len(clip.frames) < task.context + asked.compare:
            raise Refusal(422, "too_short", _too_short(clip, loaded, asked))
        kept = min(asked.frames, len(clip.frames) - task.context) if asked.compare else 0
        known, truth = clip.frames[: len(clip.frames) - kept], clip.frames[len(clip.frames) - kept :]
        question = _Question(loaded, known[-task.context :], truth, asked.frames)
        with self._timed("predict", seconds):
            predicted, figures = await self._predictor(question)
        self._meters.frames.labels(loaded.predictor.info["name"]).inc(len(predicted))
        return Foreseen(known[-SHOWN:], predicted, truth, clip.fps, figures, _notes(clip, kept, asked), seconds)

    async def classify(self, data: bytes, loaded: Loaded, name: str, *, windows: int) -> Told:
        """Says which class an upload is of.

        Args:
            data: Its bytes.
            loaded: By which model.
            name: Of the file, as its owner calls it.
            windows: That are scored at the most.

        Raises:
            Refusal: it cannot be read, or is too short.
        """
        seconds: dict[str, float] = {}
        task = loaded.classifier.task
        span = (task.context - 1) * task.interval + 1
        with self._timed("read", seconds):
            clip = await self._clip(data, loaded, name, interval=1, last=self._limits.max_source_frames)
        count = len(clip.frames)
        if count < span:
            found = f"{count} frame{'s' * (count != 1)} at {clip.fps:g} per second"
            raise Refusal(
                422, "too_short", f"{name} is too short: {found}, the model looks at {span}: take a longer clip"
            )
        with self._timed("classify", seconds):
            scores = await self._classifier(_Doubt(loaded, clip.frames, windows))
        self._meters.clips.labels(loaded.info["name"]).inc()
        notes = (_CUT.format(clip.seconds),) if clip.cut else ()
        ranked = dict(sorted(scores.items(), key=lambda one: -one[1]))
        return Told(clip.frames[:SHOWN], count, clip.fps, ranked, min(windows, count - span + 1), notes, seconds)

    async def moving(self, told: Told) -> bytes:
        """A GIF of what a classifier saw."""
        with self._timed("draw", told.seconds):
            return await asyncio.get_running_loop().run_in_executor(
                self._drawers, lambda: drawing.gif(told.frames, told.fps)
            )

    async def _clip(self, data: bytes, loaded: Loaded, name: str, *, interval: int, last: int) -> reading.Read:
        task = loaded.task
        path = reading.keep(data, self._scratch / uuid4().hex)
        try:
            wanted = reading.Wanted(
                path=path,
                look=reading.look_of(loaded.info, task, self._limits),
                fps=loaded.fps,
                interval=interval,
                last=last,
            )
            return await (self._small if media.is_tiny(path) else self._large)(wanted)
        except MediaError as error:
            raise Refusal(422, "unreadable", f"{name} cannot be used: {error}") from None
        finally:
            path.unlink(missing_ok=True)

    async def gif(self, foreseen: Foreseen, show: Show) -> bytes:
        """A GIF of it."""
        return await self._drawn(foreseen, lambda: drawing.gif(_shown(foreseen, show), foreseen.fps))

    async def mp4(self, foreseen: Foreseen, show: Show) -> bytes:
        """An MP4 of it, by a process of ffmpeg."""
        path = self._scratch / f"{uuid4().hex}.mp4"

        def written() -> bytes:
            try:
                write_mp4(path, _shown(foreseen, show), foreseen.fps)
                return path.read_bytes()
            finally:
                path.unlink(missing_ok=True)

        return await self._drawn(foreseen, written)

    async def strips(self, foreseen: Foreseen) -> dict[str, bytes]:
        """PNGs of `known`, `prediction` and, where there is one, `truth`."""
        parts = {"known": foreseen.known, "prediction": foreseen.predicted, "truth": foreseen.truth}
        return await self._drawn(
            foreseen, lambda: {name: drawing.strip(frames) for name, frames in parts.items() if len(frames)}
        )

    async def _drawn(self, foreseen: Foreseen, work: Callable[[], T]) -> T:
        with self._timed("draw", foreseen.seconds):
            return await asyncio.get_running_loop().run_in_executor(self._drawers, work)


def _predicted(questions: Sequence[_Question]) -> list[tuple[np.ndarray, Compared | None] | Exception]:
    """What all of them want of one model."""
    loaded, count = questions[0].loaded, questions[0].count
    frames = loaded.predictor.predict_batch(np.stack([one.context for one in questions]), count)
    return [
        (mine, compared(mine, one.truth, one.context[-1]) if len(one.truth) else None)
        for mine, one in zip(frames, questions, strict=True)
    ]


def _classified(doubts: Sequence[_Doubt]) -> list[dict[str, float] | Exception]:
    return [one.loaded.classifier.scores(one.frames, windows=one.windows) for one in doubts]


def _shown(foreseen: Foreseen, show: Show) -> np.ndarray:
    """The frames of a GIF or MP4: what was known in a grey border, what is predicted in a green one."""
    if show == "prediction":
        return foreseen.predicted
    continued = np.concatenate([bordered(foreseen.known, GREY), bordered(foreseen.predicted, GREEN)])
    if show == "clip" or not len(foreseen.truth):
        return continued
    happened = bordered(np.concatenate([foreseen.known, foreseen.truth]), GREY)
    return np.concatenate([happened, continued[: len(happened)]], axis=2)


def _too_short(clip: reading.Read, loaded: Loaded, asked: Asked) -> str:
    found, context = len(clip.frames), loaded.predictor.task.context
    more = " and one more to compare with" if asked.compare else ""
    hint = ": turn the comparison off, or take a longer clip" if asked.compare and found >= context else ""
    return (
        f"{asked.name} is too short: {found} frame{'s' * (found != 1)} at {clip.fps:g} per second, "
        f"the model looks at {context}{more}{hint or ': take a longer clip'}"
    )


def _notes(clip: reading.Read, kept: int, asked: Asked) -> tuple[str, ...]:
    notes = []
    if clip.cut:
        notes.append(_CUT.format(clip.seconds))
    if asked.compare and kept < asked.frames:
        notes.append(
            f"Only the first {kept} of the {asked.frames} predicted frames stand beside the truth: the clip has "
            f"{len(clip.frames)} frames, of which the model was shown {len(clip.frames) - kept}."
        )
    return tuple(notes)
