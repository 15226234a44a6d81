"""What `vidpred predict` does with a model that predicts what follows: a clip in, the same with more frames out.

The clip's last frames are the context. Where the truth is wanted, its own last frames are predicted from those before.
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
    """Predicts so many frames of each clip with each of some models that are `alike`."""

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
        predicted = {
            name: predictor.predict_batch(np.stack([one.known[-predictor.task.context :] for one in able]), self.count)
            for name, predictor in self.models.items()
            if able
        }
        places = {id(one): place for place, one in enumerate(able)}
        return [
            partial(self._result, one, {name: frames[places[id(one)]] for name, frames in predicted.items()})
            if isinstance(one, _Ready)
            else one
            for one in ready
        ]

    def _ready(self, job: Job, clip: Clip) -> _Ready | UserError:
        """What a clip gives to look at and to compare with; the reason where it is too short."""
        interval, context, count = self._first.task.interval, self._context, self.count
        length = (clip.length - 1) // interval + 1
        truth = self.truth == "needed" or (self.truth == "if there" and length >= context + count)
        needed = context + count * truth
        if length >= needed:
            known = clip.frames[:-count] if truth else clip.frames
            return _Ready(job, known, clip.frames[-count:] if truth else None, clip.rate / interval, length)
        why = f"{context} to look at" + (f" and {count} to compare with" if truth else "")
        every = f", every {interval}th" if interval > 1 else ""
        room = length - context
        give = f"--frames {room}, a longer clip" if truth and room > 0 else "a longer clip"
        return UserError(
            f"{job.name} is too short: {length} frame{'s' * (length != 1)} at {clip.rate:g} per second{every}, "
            f"the model needs {needed} ({why}): give {give} or a higher --fps"
        )

    def _result(self, ready: _Ready, predicted: Mapping[str, np.ndarray]) -> Result:
        """What came of a clip, from the frames (count, H, W, 3) of each model."""
        shown, truth, count = ready.known[-SHOWN:], ready.truth, self.count
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
        told = f"{len(shown)} frame{'s' * (len(shown) != 1)} of {ready.job.short_name}, then {count} predicted"
        if found:
            told += f"; {beside(found, names)}"
            told += "; nothing moves in what happened" if found[_COPY][PD] == 0 else ""
        elif self.truth == "if there":
            told += f"; too short to compare with what happened: that takes {self._context + count} frames"
            room = ready.length - self._context
            told += f", or --frames {room}" if room > 0 else ""
            told += "; so there is no heat map" if self.heat else ""
        seen = range(max(0, len(shown) - self._context), len(shown))
        return Result(
            columns=tuple(columns),
            made=np.arange(len(shown) + count) >= len(shown),
            frames=predicted[names[0]],
            fps=ready.rate,
            told=told,
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
    rate: float
    """Frames per second of these."""
    length: int
    """Frames of the clip, as far apart as in training; `known` and `truth` may be fewer."""
