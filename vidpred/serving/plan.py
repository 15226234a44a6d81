"""What is wanted of clips, whatever kind of model does it: how they are read, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from vidpred.errors import UserError
from vidpred.serving import looks
from vidpred.serving.clip import Clip, Job, Reading
from vidpred.serving.panels import Result
from vidpred.serving.predictor import FramePredictor

PD, PSNR = "perceptual_distance", "psnr_db"
HAPPENED = "what happened"
"""The label of the truth."""

Finish = Callable[[], Result]
"""What is left to do for a clip after its frames were predicted; in a thread, beside the next ones."""


class Plan(Protocol):
    """How clips become results."""

    @property
    def reading(self) -> Reading:
        """How clips are read."""

    def make(self, clips: Sequence[tuple[Job, Clip]]) -> list[Finish | UserError]:
        """Predicts several clips at once; a clip that cannot be gives the reason."""


def alike(models: Mapping[str, FramePredictor], *, fps: float | None) -> None:
    """Whether models can be compared frame by frame.

    Args:
        models: By their names.
        fps: Frames per second at which clips are read; None: the models'.

    Raises:
        UserError: they cannot: says which two and why.
    """
    (name, first), *others = models.items()
    for other, predictor in others:
        if first.task.between != predictor.task.between:
            raise UserError(f"{name} and {other} cannot be compared: one interpolates, the other predicts what follows")
        for what, mine, its in (
            ("frame size", _size(first), _size(predictor)),
            *((what, looks.told(first.info)[what], looks.told(predictor.info)[what]) for what in looks.DEFAULTS),
            ("interval", first.task.interval, predictor.task.interval),
            ("frames per second", fps or first.fps, fps or predictor.fps),
        ):
            if mine != its:
                advice = ": give --fps" if what == "frames per second" else ""
                raise UserError(f"{name} and {other} cannot be compared: {what} {mine} and {its}{advice}")


def _size(predictor: FramePredictor) -> str:
    return f"{predictor.task.height}x{predictor.task.width}"


def in_words(scores: Mapping[str, float]) -> str:
    """PD and PSNR."""
    return f"PD {scores[PD]:.2f}, PSNR {scores[PSNR]:.2f} dB"


def beside(scores: Mapping[str, Mapping[str, float]], models: Sequence[str]) -> str:
    """The figures of models, and of the baseline that comes nearest.

    Args:
        scores: Of models and baselines.
        models: Which of them are models.
    """
    near = min((name for name in scores if name not in models), key=lambda name: scores[name][PD])
    if len(models) == 1:
        mine, known = scores[models[0]], scores[near]
        return f"PD {mine[PD]:.2f} ({near}: {known[PD]:.2f}), PSNR {mine[PSNR]:.2f} dB ({known[PSNR]:.2f})"
    return "; ".join(f"{name}: {in_words(scores[name])}" for name in [*models, near])
