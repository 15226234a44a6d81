"""The strongest predictor here without training: per pixel, whichever guess was right about the frames just seen.

The guesses are to copy the last frame and to carry it on by half an optical-flow step or a whole one. Each is weighted
by prior·(blur(e) + 1)^-p, where e is its perceptual distance on the last two observed transitions; `fit` chooses p,
blur and prior on validation windows. Between two frames no transition is observed: the guesses are then means of both
frames, each carried towards the other, and e is how much these two differ.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from vidpred.errors import UserError
from vidpred.models.blocks.candidates import candidates, midway_candidates, past_errors
from vidpred.models.blocks.distance import perceptual_distance_map
from vidpred.models.blocks.pooling import box_blur
from vidpred.models.checks import between, sees_motion
from vidpred.types import Batch, Output, Predictor, Task

PARTS = (0.0, 0.5, 1.0)
"""The guesses, as multiples of the flow."""


@dataclass(frozen=True)
class Config:
    """What `fit` chooses."""

    p: float = 3.0
    """How strongly past errors count; 0 leaves the prior alone."""
    blur: int = 2
    """Past errors are averaged over so many pixels in each direction."""
    prior: float = 0.4
    """Weight of copying where no guess was better than another; the two flow steps share the rest evenly."""

    def __post_init__(self) -> None:
        between("flow_gate", "p", self.p, 0, 100)
        between("flow_gate", "blur", self.blur, 0, 64)
        between("flow_gate", "prior", self.prior, 0.001, 0.999)


class FlowGate(Predictor):
    """Context (B, T, C, H, W) of any length from 2 and its flow in, one frame out; no parameters."""

    needs_flow = True

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`; all in float32, also under autocast.

        Raises:
            UserError: the context has a single frame.
            ValueError: there is no flow.
        """
        sees_motion("flow_gate", context.shape[1])
        if flow is None:
            raise ValueError("flow_gate needs optical flow: pass flow=")
        with torch.autocast(context.device.type, enabled=False):
            guesses, errors = _guesses(context, flow, between=self.between)
            return Output(_mix(guesses, box_blur(errors, self.config.blur), self.config)[:, None])


def _guesses(context: Tensor, flow: Tensor, *, between: bool) -> tuple[Tensor, Tensor]:
    """Candidates (B, K, C, H, W) and their errors (B, K, H, W), not blurred."""
    if between:
        return midway_candidates(context, flow[:, -1], PARTS)
    return candidates(context[:, -1], flow[:, -1], PARTS), past_errors(context, flow, PARTS)


def _mix(guesses: Tensor, errors: Tensor, config: Config) -> Tensor:
    """The mean of (B, K, C, H, W) weighted by blurred errors (B, K, H, W): (B, C, H, W)."""
    flowing = (1 - config.prior) / (len(PARTS) - 1)
    prior = [math.log(config.prior if part == 0 else flowing) for part in PARTS]
    logits = torch.tensor(prior, device=errors.device)[:, None, None] - config.p * torch.log1p(errors)
    return (logits.softmax(dim=1)[:, :, None] * guesses).sum(dim=1)


def fit(batches: Iterable[Batch], task: Task) -> Config:
    """The config of a small grid with the least mean perceptual distance at the first predicted frame.

    Args:
        batches: Validation windows with flow; read once.
        task: What they were cut for.

    Returns:
        The best config; the same batches always give the same.

    Raises:
        UserError: there are no windows.
        ValueError: the batches have no flow, or were cut for another task.
    """
    strengths, blurs, priors = (1.0, 2.0, 3.0, 5.0), (1, 2, 4), (0.2, 0.4, 0.6, 0.8)
    totals = dict.fromkeys(itertools.product(strengths, blurs, priors), 0.0)
    with torch.no_grad():
        windows = sum(_add_distances(totals, batch, task) for batch in batches)
    if windows == 0:
        raise UserError("flow_gate is fitted on validation windows, but there are none: raise split.val")
    p, blur, prior = min(totals, key=totals.__getitem__)
    return Config(p=p, blur=blur, prior=prior)


def _add_distances(totals: dict[tuple[float, int, float], float], batch: Batch, task: Task) -> int:
    """Adds the windows' summed distances under every config to `totals`; returns how many windows those were."""
    context, flow = batch.context, batch.flow
    if flow is None or context.shape[1] != task.context:
        raise ValueError(f"flow_gate is fitted on contexts of {task.context} frames with flow")
    # one pixel in four tells the configs apart as well as all of them
    thin = (..., slice(None, None, 2), slice(None, None, 2))
    guesses, errors = _guesses(context, flow, between=task.between)
    guesses = guesses[thin]
    truth = batch.target[:, 0][thin]
    for blur in sorted({blur for _, blur, _ in totals}):
        blurred = box_blur(errors, blur)[thin]
        for p, used, prior in totals:
            if used == blur:
                shown = _mix(guesses, blurred, Config(p=p, blur=blur, prior=prior)).mul(255).round().div(255)
                distances = perceptual_distance_map(shown, truth).mean(dim=(1, 2), dtype=torch.float64)
                totals[p, used, prior] += float(distances.sum())
    return len(context)


def build(config: Config, task: Task) -> FlowGate:
    """A `FlowGate`.

    Raises:
        UserError: the context has a single frame.
    """
    sees_motion("flow_gate", task.context)
    return FlowGate(config)
