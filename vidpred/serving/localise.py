"""What happens in a long video, and when: a classifier slid over it, or only over where it may be.

In: a classifier and a video of any length. Out: stretches with a class (`vidpred.evaluation.localise` says how they are
found), and what a timeline is drawn of. The video is read part by part: memory does not grow with its frames, only by
a few numbers for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vidpred.data import launch
from vidpred.data.complaints import MediaError
from vidpred.data.progress import progress
from vidpred.data.stream import Part, Source
from vidpred.errors import UserError
from vidpred.evaluation import localise as places
from vidpred.evaluation.detections import Span, suppressed
from vidpred.evaluation.localise import Looks
from vidpred.records import BACKGROUND
from vidpred.serving.classify import AT_ONCE, ClipClassifier
from vidpred.serving.looks import told
from vidpred.serving.threshold import THRESHOLD

LONG = 8
"""Windows that a video holds one after the other from which on it is long: it need not be of one class."""
_PICTURES = 48
"""Frames that are kept for the timeline at the most."""
_MOST_OVERLAP = 0.3
"""Share of a told stretch, of whatever class, that a surer one may cover (temporal IoU)."""


@dataclass(frozen=True)
class Found:
    """What was found in a video."""

    path: Path
    way: str
    """One of `places.WAYS`."""
    fps: float
    """Frames per second that it was read at."""
    frames: int
    """Of the video, at that rate."""
    spans: list[Span]
    """All, the surest first; they overlap. `told` has those for people."""
    classes: tuple[str, ...]
    curves: np.ndarray
    """float32 (T, classes): what is believed of each frame."""
    windows: int
    """That the model has scored."""
    pictures: list[tuple[int, np.ndarray]] = field(default_factory=list)
    """Frames here and there, evenly spaced: number and uint8 (H, W, 3)."""

    @property
    def seconds(self) -> float:
        """Length."""
        return self.frames / self.fps

    def told(self, threshold: float = THRESHOLD) -> list[Span]:
        """Stretches that are at least so sure, in order of time; where two say different of one moment, the surer."""
        sure = [span for span in self.spans if span.score >= threshold]
        return sorted(suppressed(sure, _MOST_OVERLAP, of_class=False), key=lambda span: (span.start, span.end))


def is_long(model: ClipClassifier, source: Source) -> bool:
    """Whether a video is so long that it need not be of one class throughout."""
    return source.seconds is not None and source.seconds * source.fps >= LONG * model.span


def opened(model: ClipClassifier, path: Path) -> Source:
    """A video at the size and frame rate that the model was trained on; black bars stay, since they would be known only
    when all of it was read.

    Raises:
        UserError: it cannot be read.
    """
    fps, look = model.info.get("fps"), told(model.info)
    try:
        return Source(
            path, height=model.task.height, width=model.task.width, ffmpeg=launch.any_ffmpeg(),
            fps=float(fps) if fps else None, fit=look["fit"], background=look["background"],
        )  # fmt: skip
    except MediaError as error:
        raise UserError(f"{path}: {error}") from None


def localise(
    model: ClipClassifier,
    source: Source,
    way: str = "sliding",
    *,
    least_seconds: float | None = None,
    looks: Looks | None = None,
) -> Found:
    """Looks for stretches with a class.

    Args:
        model: Best with a class `background`; without one every moment is of some class, more or less surely.
        source: As `opened` gives it.
        way: `sliding` or `proposals`.
        least_seconds: Of a stretch; None: half a window.
        looks: How they are looked for.

    Raises:
        UserError: the video cannot be read, or is shorter than a window.
    """
    if way not in places.WAYS:
        raise UserError(f"--localise {way} is unknown: there are {', '.join(places.WAYS)}")
    least = max(1, round(least_seconds * source.fps) if least_seconds is not None else model.span // 2)
    try:
        return (_slid if way == "sliding" else _proposed)(model, source, least, looks or Looks())
    except MediaError as error:
        raise UserError(f"{source.path}: {error}") from None


def _slid(model: ClipClassifier, source: Source, least: int, looks: Looks) -> Found:
    pictures = _Pictures()
    shown = pictures.seen(_shown(source, f"looking at {source.path.name}"))
    scored = _score(model, shown, stride=places.stride_of(model.span))
    return _found(model, source, "sliding", scored, pictures, least, looks)


def _proposed(model: ClipClassifier, source: Source, least: int, looks: Looks) -> Found:
    pictures, stride, span = _Pictures(), places.stride_of(model.span), model.span
    shown = pictures.seen(_shown(source, f"first look at {source.path.name}"))
    first = _score(model, shown, stride=span)
    _long_enough(model, pictures.count)
    believed = places.per_frame(first.starts, first.scores, count=pictures.count, span=span)
    stretches = places.proposals(places.happening(believed, model.task.classes), span=span, looks=looks)
    starts = places.grid_within(stretches, count=pictures.count, span=span, stride=stride)
    starts = starts[~np.isin(starts, first.starts)]
    frames = np.unique((starts[:, None] + np.arange(span)).ravel())
    second = _score(model, _shown(source, f"second look at {source.path.name}", frames), wanted=starts)
    order = np.argsort(np.concatenate([first.starts, second.starts]), kind="stable")
    both = _Scored(
        np.concatenate([first.starts, second.starts])[order], np.concatenate([first.scores, second.scores])[order]
    )
    return _found(model, source, "proposals", both, pictures, least, looks)


def _found(
    model: ClipClassifier, source: Source, way: str, scored: _Scored, pictures: _Pictures, least: int, looks: Looks
) -> Found:
    _long_enough(model, pictures.count)
    curves = places.per_frame(scored.starts, scored.scores, count=pictures.count, span=model.span)
    spans = places.sliding(curves, model.task.classes, fps=source.fps, least=least, looks=looks)
    return Found(
        source.path, way, source.fps, pictures.count, spans, model.task.classes, curves.astype(np.float32),
        len(scored.starts), pictures.kept,
    )  # fmt: skip


def _long_enough(model: ClipClassifier, count: int) -> None:
    if count < model.span:
        raise UserError(f"{count} frames, and the model looks at {model.span}: give a longer video")


@dataclass(frozen=True)
class _Scored:
    starts: np.ndarray
    """int64 (N,)."""
    scores: np.ndarray
    """float64 (N, classes)."""


def _score(
    model: ClipClassifier, parts: Iterable[Part], *, stride: int = 1, wanted: np.ndarray | None = None
) -> _Scored:
    """What the model believes of windows: those that begin at `wanted`, or one every `stride` frames and the last.

    Only frames that a coming window holds are kept.
    """
    span, classes = model.span, len(model.task.classes)
    starts: list[int] = []
    scores: list[np.ndarray] = []
    waiting: list[np.ndarray] = []

    def take(start: int, frames: np.ndarray) -> None:
        starts.append(start)
        waiting.append(frames)
        if len(waiting) == AT_ONCE:
            flush()

    def flush() -> None:
        if waiting:
            scores.append(model.believed(np.stack(waiting)))
            waiting.clear()

    held, base, following = np.empty((0, 0, 0, 0), np.uint8), 0, 0
    todo = iter(wanted.tolist()) if wanted is not None else None
    start: int | None = next(todo, None) if todo is not None else 0
    for part in parts:
        if len(held) and part.first == following:
            held = np.concatenate([held, part.frames])
        else:
            held, base = part.frames, part.first
        following = base + len(held)
        while start is not None and start + span <= following:
            if start >= base:
                take(start, model.window(held, start - base).copy())
            start = next(todo, None) if todo is not None else start + stride
        if todo is None:  # of these frames at least the last window is still to come, wherever it begins
            keep = max(base, min(following if start is None else start, following - span))
        else:
            keep = following if start is None else min(start, following)
        held, base = held[max(0, keep - base) :], max(base, keep)
    if todo is None and len(held) >= span and starts and starts[-1] != following - span:
        take(following - span, model.window(held, following - span - base).copy())
    flush()
    return _Scored(
        np.array(starts, np.int64),
        np.concatenate(scores).astype(np.float64) if scores else np.zeros((0, classes)),
    )


class _Pictures:
    """Counts frames as they pass, and keeps some of them, evenly spaced, however many come."""

    def __init__(self) -> None:
        self.count = 0
        self.kept: list[tuple[int, np.ndarray]] = []
        self._every = 1

    def seen(self, parts: Iterable[Part]) -> Iterator[Part]:
        for part in parts:
            self.count = part.first + len(part.frames)
            first = -(-part.first // self._every) * self._every
            for number in range(first, self.count, self._every):
                if number % self._every == 0:
                    self.kept.append((number, part.frames[number - part.first].copy()))
                if len(self.kept) > 2 * _PICTURES:
                    self._every *= 2
                    self.kept = [item for item in self.kept if item[0] % self._every == 0]
            yield part


def _shown(source: Source, text: str, wanted: np.ndarray | None = None) -> Iterator[Part]:
    """The parts of a video, with a progress bar in seconds."""
    total = source.seconds or 0
    with progress(text, max(1, round(total))) as advance:
        done = 0
        for part in source.parts(wanted):
            yield part
            now = round((part.first + len(part.frames)) / source.fps)
            for _ in range(now - done):
                advance()
            done = max(done, now)


def lacks_background(model: ClipClassifier) -> bool:
    """Whether every moment is of some class for the model."""
    return BACKGROUND not in model.task.classes
