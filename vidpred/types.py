"""The shape letters and the few types that every layer shares; those without tensors are `vidpred.records`.

Shapes are written with these letters, in this order, and appear as suffixes of names where it helps
(`context_BTCHW`):

    B  windows in a batch        C  colour channels (3: red, green, blue)
    T  frames in time            H  rows of a frame, W  columns of a frame

Frames are uint8 (T, H, W, C) on disk and on the way to the device, and float32 in [0, 1],
(B, T, C, H, W), from there on.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vidpred.records import Clip, Segment, Task, Window

__all__ = [
    "Batch",
    "Classifier",
    "Clip",
    "Model",
    "Output",
    "Predictor",
    "Scores",
    "Segment",
    "Task",
    "Window",
    "to_float",
    "to_uint8",
]


class Batch(NamedTuple):
    """What a model is trained and scored on."""

    context: Tensor
    """(B, T, C, H, W) float32 in [0, 1]."""
    target: Tensor
    """(B, horizon, C, H, W) float32 in [0, 1]."""
    flow: Tensor | None
    """(B, T-1, 2, H, W) float32 in pixels (x, y), from frame i+1 back to frame i of the context; only for
    models that declare `needs_flow`."""


class Output(NamedTuple):
    """What a predictor returns."""

    frames: Tensor
    """(B, steps, C, H, W) float32, nominally in [0, 1]; not clamped, so that gradients live."""
    auxiliary: tuple[Tensor, ...] = ()
    """Further predictions of the same frames that a model wants trained with a small weight; empty in eval mode."""
    scales: tuple[Tensor, ...] = ()
    """The same frames at every size at which `Predictor.discriminators` judge them, coarsest first:
    (B, steps, C, h, w); empty in eval mode, and for models without."""
    kl: Tensor | None = None
    """A number: the divergence of a model's latents from their prior, for the loss `kl`; None in eval mode, and for
    models without."""


class Scores(NamedTuple):
    """What a classifier returns."""

    logits: Tensor
    """(B, classes) float32, in the order of `Task.classes`; their softmax is what the model believes."""
    auxiliary: tuple[Tensor, ...] = ()
    """Further logits (B, classes) of the same clips, of which `logits` are made: per frame, per moment, per stream. A
    model that has them wants each trained by itself as well, with a small weight; empty in eval mode."""


class Model(nn.Module):
    """What all models of the zoo are."""

    needs_flow: bool = False
    """Whether `forward` wants optical flow beside the frames."""


class Predictor(Model):
    """What every model of `models/predict` is: frames in, the next `steps` frames out.

    A model that gives fewer frames than are asked for is rolled out on its own predictions by
    `models.rollout`; so it never has to know how.
    """

    steps: int = 1
    """Frames that one `forward` gives."""
    teacher_forcing: float = 0.0
    """Where above 0, `forward` also takes `target` while training: (B, steps, C, H, W), the frames it should give; with
    this probability the model goes on from the true frame instead of its own."""
    between: bool = False
    """Whether the frame asked for lies between the context's two (`task.kind: interpolate`) instead of after them; set
    by `zoo.build`. Such a model is not rolled out."""

    stages: tuple[str, ...] = ()
    """Stages that the model is trained in, one after the other, each with parameters and a loss of its own; empty: it
    is trained at once, by the loss on frames."""

    def stage_parameters(self, stage: str) -> list[nn.Parameter]:
        """What moves in a stage of `stages`; all else stays as it is."""
        raise TypeError(f"{type(self).__name__} has no stage {stage}")

    def stage_loss(self, stage: str, batch: Batch) -> Tensor:
        """The loss of a stage of `stages`: a number with a gradient."""
        raise TypeError(f"{type(self).__name__} has no stage {stage}")

    def restored(self, stage: str, frames: Tensor) -> Tensor | None:
        """What a stage of `stages` gives back of frames (..., C, H, W), in their shape; None where it predicts."""
        return None

    def primed(self, context: Tensor) -> Tensor | None:
        """What a model that reads frame by frame expected of each frame of a context but the first, to be shown instead
        of what it saw: (B, T-1, C, H, W). None: it has no expectations."""
        return None

    def discriminators(self) -> nn.Module | None:
        """New networks that tell true frames from predicted ones, for training against them; None: there are none.

        Called with the context (B, T, C, H, W) and the frames as `Output.scales` or `pyramid` has them, they give
        logits (B,) for each scale, high where the frames are taken for true.
        """
        return None

    def pyramid(self, frames: Tensor) -> list[Tensor]:
        """Frames (B, N, C, H, W) at the sizes of `Output.scales`, coarsest first."""
        raise TypeError(f"{type(self).__name__} has no scales")

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """Predicts the `steps` frames that follow.

        Args:
            context: (B, T, C, H, W) float32 in [0, 1].
            flow: (B, T-1, 2, H, W) float32, as in `Batch.flow`; None unless `needs_flow`.
        """
        raise TypeError(f"{type(self).__name__} defines no forward")

    def __call__(self, context: Tensor, flow: Tensor | None = None) -> Output:  # typed for callers
        output: Output = super().__call__(context, flow)
        return output


class Classifier(Model):
    """What every model of `models/classify` is: a clip in, a score for each class out."""

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """Scores the classes of the task.

        Args:
            clip: (B, T, C, H, W) float32 in [0, 1].
            flow: (B, T-1, 2, H, W) float32, as in `Batch.flow`; None unless `needs_flow`.
        """
        raise TypeError(f"{type(self).__name__} defines no forward")

    def __call__(self, clip: Tensor, flow: Tensor | None = None) -> Scores:  # typed for callers
        scores: Scores = super().__call__(clip, flow)
        return scores


def to_uint8(frames: Tensor) -> Tensor:
    """What a user gets: [0, 1] floats of any shape, clamped and rounded to uint8."""
    return frames.float().clamp(0, 1).mul(255).round().to(torch.uint8)


def to_float(frames: Tensor) -> Tensor:
    """uint8 (..., T, H, W, C) to float32 in [0, 1], (..., T, C, H, W)."""
    return frames.movedim(-1, -3).float().div(255)
