"""What `vidpred predict` does with a model that predicts what follows: a clip in, the same with more frames out.

The clip's last frames are the context. Where the truth is wanted, its own last frames are predicted from those before:
of a short clip as many as are left when the model has its context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from vidpred.errors import UserError
from vidpred.evaluation.pictures import STRIP_STEPS, spread
from vidpred.serving.clip import Clip, Job, Reading, look_of, scores
from vidpred.serving.heat import error_maps
from vidpred.serving.panels import Column, Result
from vidpred.serving.plan import HAPPENED, PD, Finish, alike, beside, in_words
from vidpred.serving.predictor import FramePredictor

SHOWN = 100
"""Known frames in the result, at the most: the last ones."""
_COPY = "copying the last frame"

Truth = Literal["none", "needed", "if there"]
"""Whether a clip's own last frames are predicted: never; always; or where it has more than the model looks at."""


@dataclass(frozen=True)
class Continuing:
    """Predicts so many frames of each clip, or as many as there is truth for, with each of some `alike` models."""

    models: Mapping[str, FramePredictor]
    count: int
    truth: Truth = "none"
    heat: bool = False
    """Whether errors are drawn, where there is a truth."""
    fps: float | None = None
    """At which clips are read; None: the models', else the clip's own."""

    def __post_init__(self) -> None:
        """Refuses models that cannot be compared.

        Raises:
            UserError: they are not `alike`.
        """
        alike(self.models, fps=self.fps)

    @property
    def _first(self) -> FramePredictor:
        return next(iter(self.models.values()))

    @property
    def _context(self) -> int:
        return max(predictor.task.context for predictor in self.models.values())

    @property
    def reading(self) -> Reading:
        """The last frames of a clip, as far apart as in training."""
        fps = self.fps or self._first.fps
        return Reading(look_of(self._first, fps), fps, self._last)

    def _last(self, numbers: np.ndarray) -> np.ndarray:
        interval = self._first.task.interval
        every: np.ndarray = numbers[(len(numbers) - 1) % interval :: interval]
        return every[-(max(SHOWN, self._context) + self.count) :]

    def make(self, clips: Sequence[tuple[Job, Clip]]) -> list[Finish | UserError]:
        """As of `Plan`."""
        ready = [self._ready(job, clip) for job, clip in clips]
        able = [one for one in ready if isinstance(one, _Ready)]
        most = max((one.count for one in able), default=0)
        predicted = {
            name: predictor.predict_batch(np.stack([one.known[-predictor.task.context :] for one in able]), most)
            for name, predictor in self.models.items()
            if able
        }
        places = {id(one): place for place, one in enumerate(able)}
        return [
            partial(
                self._result, one, {name: frames[places[id(one)]][: one.count] for name, frames in predicted.items()}
            )
            if isinstance(one, _Ready)
            else one
            for one in ready
        ]

    def _ready(self, job: Job, clip: Clip) -> _Ready | UserError:
        """What a clip gives to look at and to compare with; the reason where it is too short."""
        interval, context, needs_truth = self._first.task.interval, self._context, self.truth == "needed"
        length = (clip.length - 1) // interval + 1
        room, rate = length - context, clip.rate / interval
        if room < needs_truth:
            why = f"{context} to look at and 1 to compare with" if needs_truth else f"{context} to look at"
            every = f", every {interval}th" if interval > 1 else ""
            return UserError(
                f"{job.name} is too short: {_frames(length)} at {clip.rate:g} per second{every}, "
                f"the model needs {context + needs_truth} ({why}): give a longer clip or a higher --fps"
            )
        if self.truth == "none" or room == 0:
            lacks = "there is no heat map, nor anything" if self.heat else "there is nothing"
            note = f"{job.name}: {lacks} to compare with: the model looks at all of its {_frames(length)}"
            return _Ready(job, clip.frames, None, self.count, rate, "" if self.truth == "none" else note)
        count = min(self.count, room)
        note = (
            f"{job.name}: {count} instead of {_frames(self.count)} predicted: it has {length}, the model looks at "
            f"{context}, and there is no more to compare with"
        )
        return _Ready(job, clip.frames[:-count], clip.frames[-count:], count, rate, note if count < self.count else "")

    def _result(self, ready: _Ready, predicted: Mapping[str, np.ndarray]) -> Result:
        """What came of a clip, from the frames (count, H, W, 3) of each model."""
        shown, truth, count = ready.known[-SHOWN:], ready.truth, ready.count
        names = list(self.models)
        found: dict[str, dict[str, float]] = {}
        columns = []
        if truth is not None:
            found = {name: scores(frames, truth) for name, frames in predicted.items()}
            found[_COPY] = scores(np.repeat(shown[-1:], count, axis=0), truth)
            columns.append(Column(HAPPENED, np.concatenate([shown, truth]), f"copied: PD {found[_COPY][PD]:.2f}"))
        for name, frames in predicted.items():
            errors = None
            if truth is not None and self.heat:
                errors = np.zeros((len(shown) + count, *frames.shape[1:3]), np.float32)
                errors[len(shown) :] = error_maps(frames, truth)
            figures = in_words(found[name]) if name in found else ""
            columns.append(Column(name, np.concatenate([shown, frames]), figures, errors))
        told = f"{_frames(len(shown))} of {ready.job.short_name}, then {count} predicted"
        if ready.job.target.suffix.lower() == ".npy":  # they stand there alone
            before = f" before its last {count}" if found else ""
            told = f"{_frames(count)}, predicted from the last {self._context} of {ready.job.short_name}{before}"
        if found:
            told += f"; {beside(found, names)}"
            told += "; nothing moves in what happened" if found[_COPY][PD] == 0 else ""
        seen = range(max(0, len(shown) - self._context), len(shown))
        return Result(
            columns=tuple(columns),
            made=np.arange(len(shown) + count) >= len(shown),
            frames=predicted[names[0]],
            fps=ready.rate,
            told=told,
            note=ready.note,
            strip=(*seen, *(len(shown) + step for step in spread(count, STRIP_STEPS))),
            zero=len(shown) - 1,
            truth=truth is not None,
            captions=len(names) > 1 or self.heat,
            scores=found,
        )


@dataclass(frozen=True)
class _Ready:
    """A clip that is long enough."""

    job: Job
    known: np.ndarray
    """uint8 (T, H, W, 3)."""
    truth: np.ndarray | None
    """uint8 (count, H, W, 3): what followed; None: nobody knows."""
    count: int
    """Frames to predict."""
    rate: float
    """Frames per second of these."""
    note: str
    """What the clip has too few frames for; empty: nothing."""


def _frames(count: int) -> str:
    return f"{count} frame{'s' * (count != 1)}"
