"""What `vidpred predict` does with a model that interpolates: a clip in, the same at twice its frame rate out.

All of the clip's frames are kept, and one is made between any two. Where the truth is wanted, every second frame of the
clip is left out and made again from its neighbours: left what happened, right what was made of it, with the figures.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from vidpred.errors import UserError
from vidpred.serving.clip import Clip, Job, Reading, look_of, scores
from vidpred.serving.heat import error_maps
from vidpred.serving.panels import Column, Result
from vidpred.serving.plan import HAPPENED, PD, Finish, alike, beside, in_words
from vidpred.serving.predictor import FramePredictor

log = logging.getLogger(__name__)

_GIF_FPS = 50
"""More frames a second no viewer shows of a GIF."""
_STRIP = 13
"""Frames in a strip at the most: the first ones."""


@dataclass(frozen=True)
class Filling:
    """Makes the frame between any two of each clip, with each of some models that are `alike`."""

    models: Mapping[str, FramePredictor]
    again: bool = False
    """Whether the clip's own frames are made again instead, at the frame rate that the model was trained on."""
    heat: bool = False
    """Whether errors are drawn, where the clip's own frames are made again."""
    fps: float | None = None
    """At which clips are read; None: their own, or that of training where their frames are made again."""

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
    def _interval(self) -> int:
        return self._first.task.interval if self.again else 1

    @property
    def reading(self) -> Reading:
        """All of a clip."""
        fps = self.fps or (self._first.fps if self.again else None)
        return Reading(look_of(self._first, fps), fps, self._all)

    def _all(self, numbers: np.ndarray) -> np.ndarray:
        every: np.ndarray = numbers[:: self._interval]
        return every[: len(every) - 1 + len(every) % 2] if self.again else every  # an odd number: the last is known

    def make(self, clips: Sequence[tuple[Job, Clip]]) -> list[Finish | UserError]:
        """As of `Plan`."""
        return [self._one(job, clip) for job, clip in clips]

    def _one(self, job: Job, clip: Clip) -> Finish | UserError:
        if self.again and len(clip.frames) < 3:
            return UserError(
                f"{job.name} is too short: 3 frames are needed, the middle one to compare with: give a longer clip"
            )
        if len(clip.frames) < 2:
            return UserError(
                f"{job.name} is too short: it has one frame at {clip.rate:g} per second, and nothing between"
            )
        known = clip.frames[::2] if self.again else clip.frames
        made = {name: predictor.between(known) for name, predictor in self.models.items()}
        return partial(self._again if self.again else self._doubled, job, clip, made)

    def _doubled(self, job: Job, clip: Clip, made: Mapping[str, np.ndarray]) -> Result:
        fps, count = 2 * clip.rate, len(clip.frames)
        if job.target.suffix.lower() == ".gif" and fps > _GIF_FPS:
            log.warning("%s: GIFs show at most %d frames a second, this has %g: give an .mp4 as --output", job.target,
                        _GIF_FPS, fps)  # fmt: skip
        columns = tuple(Column(name, _between(clip.frames, frames)) for name, frames in made.items())
        first = next(iter(made.values()))
        told = f"{count} frames of {job.short_name} and {count - 1} between, {fps:g} per second"
        if job.target.suffix.lower() == ".npy":  # they stand there alone
            told = f"{count - 1} frame{'s' * (count != 2)}, made between the {count} of {job.short_name}"
        return Result(
            columns=columns,
            made=np.arange(2 * count - 1) % 2 == 1,
            frames=first,
            fps=fps,
            told=told,
            strip=tuple(range(min(_STRIP, 2 * count - 1))),
            plain=len(columns) == 1,
            captions=len(columns) > 1,
        )

    def _again(self, job: Job, clip: Clip, made: Mapping[str, np.ndarray]) -> Result:
        known, truth, names = clip.frames[::2], clip.frames[1::2], list(made)
        average = np.rint((known[:-1].astype(np.float32) + known[1:]) / 2).astype(np.uint8)
        found = {name: scores(frames, truth) for name, frames in made.items()}
        baselines = {
            "copying the frame before": known[:-1],
            "copying the frame after": known[1:],
            "averaging both": average,
        }
        found |= {name: scores(frames, truth) for name, frames in baselines.items()}
        columns = [Column(HAPPENED, clip.frames, f"averaged: PD {found['averaging both'][PD]:.2f}")]
        for name, frames in made.items():
            errors = None
            if self.heat:
                errors = np.zeros(clip.frames.shape[:3], np.float32)
                errors[1::2] = error_maps(frames, truth)
            columns.append(Column(name, _between(known, frames), in_words(found[name]), errors))
        told = f"{len(clip.frames)} frames of {job.short_name}, {len(truth)} of them made again"
        if job.target.suffix.lower() == ".npy":
            told = f"{len(truth)} of the {len(clip.frames)} frames of {job.short_name}, made again"
        return Result(
            columns=tuple(columns),
            made=np.arange(len(clip.frames)) % 2 == 1,
            frames=made[names[0]],
            fps=clip.rate / self._interval,
            told=f"{told}; {beside(found, names)}",
            strip=tuple(range(min(_STRIP, len(clip.frames)))),
            truth=True,
            captions=len(names) > 1 or self.heat,
            scores=found,
        )


def _between(known: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Known frames (N + 1, H, W, 3) with those that were made between: (2·N + 1, H, W, 3)."""
    whole = np.empty((len(known) + len(made), *known.shape[1:]), np.uint8)
    whole[::2], whole[1::2] = known, made
    return whole
