"""The next frame as a per-pixel mix of warps of the last frames, plus a little synthesis.

Our own. It starts as exactly `copy_last`, the bar that most trained predictors miss, and every head has a gradient
from the first steps on. Three ideas make it learn in minutes on two cores:

* Matching costs between the last frames (Dosovitskiy et al. 2015, FlowNet, arXiv 1504.06852) are an input, not
  something to discover; so is the flow that they expect.
* It predicts where a pixel comes from rather than its colour (Liu et al. 2017, deep voxel flow, arXiv 1702.02463),
  by several warps at once, so that motions may overlap and hide each other.
* Residual and blend start at zero behind an open gate, logits are bounded: nothing can saturate shut.

    next = x_T + Σ aₖ·(warp(x_T, fₖ) − warp(x_T, 0)) + b·(warp(x_{T−1}, f_b) − x_T) + g·r

Coordinates, warps, softmax and sum are float32, outside autocast: bfloat16 would round the coordinates to a tenth of
a pixel and more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.correlation import expected_flow, matching_cost
from vidpred.models.blocks.midway import Midway
from vidpred.models.blocks.warp import warp
from vidpred.models.checks import between
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    width: int = 24
    """Channels at half the resolution; the deeper scales have twice and three times as many."""
    warps: int = 3
    """Warps of the last frame that are mixed."""
    radius: int = 3
    """Largest displacement of the matching costs, in pixels at half and at a quarter of the resolution."""
    frames: int = 3
    """Last frames of the context that are looked at."""
    max_flow: float = 12.0
    """Bound of a warp's displacement, in pixels."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range, or `width` is odd.
        """
        for field, low, high in (("width", 2, 1024), ("warps", 1, 16), ("radius", 1, 8), ("frames", 2, 64)):
            between("warpmix", field, getattr(self, field), low, high)
        between("warpmix", "max_flow", self.max_flow, 0.5)
        if self.width % 2:
            raise UserError(f"warpmix: width is {self.width}: give an even number")


def _convs(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.SiLU(),
    )


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class _Sight:
    """What is seen before anything is learned: frames at half resolution, matching costs, expected flows."""

    def __init__(self, context: Tensor, frames: int, radius: int) -> None:
        last, before = context[:, -1], context[:, -2]
        halves = [F.avg_pool2d(x, 2) for x in (last, before)]
        quarters = [F.avg_pool2d(x, 2) for x in halves]
        cost_half = matching_cost(*halves, radius=radius)
        cost_quarter = matching_cost(*quarters, radius=radius)
        flow_half = 2 * expected_flow(cost_half, radius=radius)
        flow_quarter = 4 * expected_flow(cost_quarter, radius=radius)
        flow_quarter = F.interpolate(flow_quarter, scale_factor=2, mode="bilinear", align_corners=False)
        self.flows = torch.cat([flow_half, flow_quarter], dim=1)  # (B, 4, H/2, W/2), in pixels of the full frame
        recent = context[:, -frames:].flatten(1, 2)
        differences = context[:, -frames:].diff(dim=1).flatten(1, 2)
        self.half = torch.cat([F.pixel_unshuffle(recent, 2), F.avg_pool2d(differences, 2), self.flows / 8], dim=1)
        self.cost_half, self.cost_quarter = 8 * cost_half, 8 * cost_quarter


class WarpMix(Predictor):
    """A U-Net at 1/2, 1/4, 1/8 and 1/16 of the frame that says how to warp and mix."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        if config.frames > task.context:
            raise UserError(
                f"warpmix looks at {config.frames} frames but the context has {task.context}: "
                f"set its `frames` to 2 … {task.context}"
            )
        self.config = config
        c, w, k = task.channels, config.width, config.warps
        costs = (2 * config.radius + 1) ** 2
        seen = 4 * c * config.frames + c * (config.frames - 1) + 4
        self.half_costs = nn.Conv2d(costs, w, 1)
        self.quarter_costs = nn.Conv2d(costs, w, 1)
        self.into_half = _convs(seen + w, w)
        self.into_quarter = _convs(2 * w, 2 * w)
        self.into_eighth = _convs(2 * w, 3 * w)
        self.into_sixteenth = _convs(3 * w, 3 * w)
        self.out_eighth = _convs(6 * w, 3 * w)
        self.out_quarter = _convs(5 * w, 2 * w)
        self.out_half = nn.Sequential(nn.Conv2d(3 * w, 2 * w, 3, padding=1), nn.SiLU())
        # one hidden group a warp: with shared features the zero-initialised heads would stay equal for ever
        self.hidden = nn.Conv2d(2 * w, 16 * (k + 1), 3, padding=1)
        self.flow = _zero(nn.Conv2d(16 * (k + 1), (2 + 4) * (k + 1), 1, groups=k + 1))
        self.fine = nn.Conv2d(2 * w // 4 + c * 2, 16, 3, padding=1)
        self.mix = _zero(nn.Conv2d(16, k + 2 + c, 3, padding=1))

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """As `Predictor.forward`; frames of any size, padded to a multiple of 16 inside."""
        height, width = context.shape[-2:]
        down, right = -height % 16, -width % 16
        batch, time = context.shape[:2]
        padded = F.pad(context.flatten(0, 1), (0, right, 0, down), mode="replicate") if down or right else None
        frames = context if padded is None else padded.unflatten(0, (batch, time))
        flows, blend_flow, mix = self._heads(frames)
        with torch.autocast(context.device.type, enabled=False):
            return self._compose(
                context, *(x.float()[..., :height, :width] for x in (flows, blend_flow, mix)), training=self.training
            )

    def _heads(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Displacements (B, 2K, H, W), that of the blend (B, 2, H, W), logits and residual (B, K+2+C, H, W)."""
        with torch.autocast(context.device.type, enabled=False):
            sight = _Sight(context.float(), self.config.frames, self.config.radius)
        costs = F.silu(self.half_costs(sight.cost_half))
        half = self.into_half(torch.cat([sight.half.to(costs.dtype), costs], dim=1))
        costs = F.silu(self.quarter_costs(sight.cost_quarter))
        quarter = self.into_quarter(torch.cat([F.max_pool2d(half, 2), costs], dim=1))
        eighth = self.into_eighth(F.max_pool2d(quarter, 2))
        sixteenth = self.into_sixteenth(F.max_pool2d(eighth, 2))
        x = self.out_eighth(torch.cat([_double(sixteenth), eighth], dim=1))
        x = self.out_quarter(torch.cat([_double(x), quarter], dim=1))
        x = self.out_half(torch.cat([_double(x), half], dim=1))
        raw = self.flow(F.silu(self.hidden(x)))
        fine = torch.cat([F.pixel_shuffle(x, 2), context[:, -1].to(x.dtype), context[:, -2].to(x.dtype)], dim=1)
        mix = self.mix(F.silu(self.fine(fine)))
        with torch.autocast(context.device.type, enabled=False):
            flows = self._displace(raw.float(), sight.flows)
            flows = F.interpolate(flows, scale_factor=2, mode="bilinear", align_corners=False)
        k = self.config.warps
        return flows[:, : 2 * k], flows[:, 2 * k :], mix

    def _displace(self, raw: Tensor, expected: Tensor) -> Tensor:
        """A free displacement plus shares of the expected flows, for each warp; bounded, zero at the start."""
        b, _, h, w = raw.shape
        parts = raw.view(b, self.config.warps + 1, 6, h, w)
        shares = parts[:, :, 2:].unflatten(2, (2, 2))  # of each expected flow, along x and y
        from_matching = (shares * expected.unflatten(1, (2, 2))[:, None]).sum(dim=2)
        bound = self.config.max_flow
        return (bound * torch.tanh((4 * parts[:, :, :2] + from_matching) / bound)).flatten(1, 2)

    def _compose(self, context: Tensor, flows: Tensor, blend_flow: Tensor, mix: Tensor, *, training: bool) -> Output:
        k = self.config.warps
        last, before = context[:, -1], context[:, -2]
        weights = torch.softmax(4 * torch.tanh(mix[:, :k] / 4), dim=1)
        blend = torch.tanh(mix[:, k : k + 1])
        gate = torch.sigmoid(4 * torch.tanh((mix[:, k + 1 : k + 2]) / 4) + 2)
        residual = torch.tanh(mix[:, k + 2 :])
        still = warp(last, torch.zeros_like(blend_flow))
        warped = last
        for i in range(k):
            warped = warped + weights[:, i : i + 1] * (warp(last, flows[:, 2 * i : 2 * i + 2]) - still)
        mixed = warped + blend * (warp(before, blend_flow) - last)
        frame = mixed + gate * residual
        if not training:
            return Output(frame[:, None])
        return Output(frame[:, None], auxiliary=(mixed[:, None], (last + gate * residual)[:, None]))


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def build(config: Config, task: Task) -> Predictor:
    """The model for a task; the frame size may differ at test time. Between two frames, both are warped (`Midway`)."""
    if task.between:
        return Midway(
            width=config.width,
            warps=config.warps,
            radius=config.radius,
            max_flow=config.max_flow,
            channels=task.channels,
        )
    return WarpMix(config, task)
