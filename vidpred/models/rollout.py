"""Any number of frames from any predictor: it is fed its own output until there are enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

import torch
from torch import Tensor

from vidpred.types import Output, Predictor


class _Taught(Protocol):
    """A model that is trained on the frames it should have given."""

    def __call__(self, context: Tensor, flow: Tensor | None, target: Tensor) -> Output: ...


def rollout(
    model: Predictor,
    context: Tensor,
    frames: int,
    *,
    flow: Callable[[Tensor], Tensor] | None = None,
    clamp: bool = False,
    target: Tensor | None = None,
) -> Output:
    """Predicts the next `frames` frames; differentiable through all of them.

    Args:
        model: Called as often as its `steps` make necessary.
        context: (B, T, C, H, W) float32 in [0, 1]; each call sees the T latest frames, true or predicted.
        frames: How many to predict, at least 1.
        flow: From a context to its flow (B, T-1, 2, H, W), as in `Batch.flow`; called before every call of a model
            that declares `needs_flow`, never for another.
        clamp: Whether frames are clamped to [0, 1] before they are fed back, as a user who got them would; the
            returned ones are not. Leave it off while training, so that gradients live.
        target: (B, frames, C, H, W), the truth: for the first call of a model with `teacher_forcing` that is in
            training; no other one gets it.

    Returns:
        `frames` (B, frames, C, H, W), and the auxiliary predictions of the first call.

    Raises:
        ValueError: fewer than one frame, more than one of a model for what lies between two, or the model needs flow
            and none is given.
    """
    if frames < 1:
        raise ValueError(f"cannot roll out {frames} frames: ask for at least 1")
    if model.between and frames > 1:
        raise ValueError(f"{type(model).__name__} gives the one frame between two: it cannot be rolled out")
    if model.needs_flow and flow is None:
        raise ValueError(f"{type(model).__name__} needs optical flow: pass flow=")
    length = context.shape[1]
    parts: list[Tensor] = []
    auxiliary: tuple[Tensor, ...] = ()
    missing = frames
    while missing > 0:
        seen = flow(context) if model.needs_flow and flow is not None else None
        if target is not None and not parts and model.training and frames >= model.steps and model.teacher_forcing > 0:
            output = cast(_Taught, model)(context, seen, target[:, : model.steps])
        else:
            output = model(context, seen)
        if not parts:
            auxiliary = tuple(part[:, :frames] for part in output.auxiliary)
        new = output.frames[:, :missing]
        parts.append(new)
        missing -= new.shape[1]
        context = torch.cat((context, new.clamp(0, 1) if clamp else new), dim=1)[:, -length:]
    return Output(torch.cat(parts, dim=1), auxiliary)
