"""The next frame as a per-pixel mix of warps of the last frames, plus a little synthesis.

Our own. With `prior: consistency` it starts as a better `flow_gate`, with `none` as exactly `copy_last`, the bar that
most trained predictors miss; every head has a gradient from the first steps on. What makes it learn in minutes:

* Optical flow, the guesses along it and how well they would have predicted the frames just seen are inputs; so are
  matching costs between the last frames (Dosovitskiy et al. 2015, FlowNet, arXiv 1504.06852). Neither has to be
  discovered.
* It predicts where a pixel comes from rather than its colour (Liu et al. 2017, deep voxel flow, arXiv 1702.02463),
  by several warps at once, so that motions may overlap and hide each other.
* Residual and blend start at zero behind an open gate, logits are bounded: nothing can saturate shut.

    mixed = x_T + Σ wₖ·(warp(x_T, fₖ) − warp(x_T, 0)),  w = softmax(bounded − trust·log(error + 1) + favour)
    next = x_T + active·(mixed + b·(warp(x_{T−1}, f_b) − mixed) + g·r − x_T)

Coordinates, warps, softmax and sum are float32, outside autocast: bfloat16 would round the coordinates to a tenth of
a pixel and more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.correlation import expected_flow, matching_cost
from vidpred.models.blocks.distance import perceptual_distance_map
from vidpred.models.blocks.learned_path import standardise
from vidpred.models.blocks.midway import Midway
from vidpred.models.blocks.pooling import box_blur, halved
from vidpred.models.blocks.warp import warp
from vidpred.models.checks import between
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    prior: Literal["none", "consistency"] = "consistency"
    """Where training starts. `consistency`: as `flow_gate`, warps lie along the optical flow and are trusted as far as
    they were right about the frames just seen; needs flow. `none`: as `copy_last`."""
    width: int = 16
    """Channels at half the resolution; the deeper scales have twice and three times as many."""
    fine: int = 16
    """Channels at the full resolution, where the mix is decided."""
    warps: int = 3
    """Warps of the last frame that are mixed with it; by the prior ½, 1, 1½ … steps of the flow, or 1 if only one."""
    radius: int = 3
    """Largest displacement of the matching costs, in pixels at half and at a quarter of the resolution."""
    frames: int = 3
    """Last frames of the context that are looked at."""
    max_flow: float = 12.0
    """Bound of what is learned of a warp's displacement, in pixels."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range, or `width` is odd.
        """
        for field, low, high in (
            ("width", 2, 1024), ("fine", 1, 1024), ("warps", 1, 16), ("radius", 1, 8), ("frames", 2, 64),
        ):  # fmt: skip
            between("warpmix", field, getattr(self, field), low, high)
        between("warpmix", "max_flow", self.max_flow, 0.5)
        if self.width % 2:
            raise UserError(f"warpmix: width is {self.width}: give an even number")


SEARCH = {
    "config": {
        "width": [8, 16, 24],
        "fine": [8, 16, 32],
        "warps": [2, 3, 4],
        "frames": [2, 3],
        "prior": ["none", "consistency"],
    },
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""


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


class _Guesses(NamedTuple):
    """What optical flow says of the next frame, before anything is learned."""

    onward: Tensor
    """(B, 2, H, W): a whole step of the flow, as it will be at the next frame's pixels."""
    places: Tensor
    """(B, K+1, 2, H, W): where each warp of the last frame, then that of the one before it, takes its pixels from."""
    frames: Tensor
    """(B, K+2, C, H, W): the last frame, its warps, the warp of the one before."""
    errors: Tensor
    """(B, K+2, H, W): log(1 + perceptual distance) that each would have had on the last observed transitions, carried
    along with what moves."""


@torch.no_grad()
def _guess(context: Tensor, flow: Tensor, warps: int) -> _Guesses:
    """Guesses from (B, T, C, H, W) and its flow (B, T-1, 2, H, W)."""
    batch, length, _, height, width = context.shape
    parts = [(k + 1) / 2 for k in range(warps)] if warps > 1 else [1.0]
    onward, places, frames = _carry(context[:, -1], context[:, -2], flow[:, -1], parts)
    errors = torch.zeros(batch, warps + 2, height, width, device=context.device)
    found = min(2, length - 2)
    for end in range(length - 1, length - 1 - found, -1):  # flow[:, i] leads from frame i+1 back to frame i
        _, _, then = _carry(context[:, end - 1], context[:, end - 2], flow[:, end - 2], parts)
        errors = errors + perceptual_distance_map(then, context[:, end, None]) / found
    # the pixel that is here next was judged where it comes from
    return _Guesses(onward, places, frames, torch.log1p(warp(box_blur(errors, 2), onward)))


def _carry(last: Tensor, before: Tensor, flow: Tensor, parts: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    """A whole step, places and frames, as in `_Guesses`, from two frames (B, C, H, W) and the flow between them."""
    onward = warp(flow, flow)  # the flow of what will be here, not of what is: motion is carried along its own path
    earlier = onward + warp(flow, onward)
    places = torch.stack([*(part * onward for part in parts), earlier], dim=1)
    warped = [warp(last, place) for place in places[:, :-1].unbind(1)]
    return onward, places, torch.stack([last, *warped, warp(before, earlier)], dim=1)


class _Sight:
    """What is seen before anything is learned: frames at half resolution, matching costs, flows, guesses."""

    def __init__(self, context: Tensor, flow: Tensor | None, config: Config) -> None:
        last, before = context[:, -1], context[:, -2]
        halves = [halved(x) for x in (last, before)]
        quarters = [halved(x) for x in halves]
        cost_half = matching_cost(*halves, radius=config.radius)
        cost_quarter = matching_cost(*quarters, radius=config.radius)
        flow_half = 2 * expected_flow(cost_half, radius=config.radius)
        flow_quarter = 4 * expected_flow(cost_quarter, radius=config.radius)
        flow_quarter = F.interpolate(flow_quarter, scale_factor=2, mode="bilinear", align_corners=False)
        flows = [flow_half, flow_quarter]
        # all that is seen has about unit variance: differences of frames as they are would hardly be seen
        recent = standardise(context[:, -config.frames :]).flatten(1, 2)
        differences = 16 * context[:, -config.frames :].diff(dim=1).flatten(1, 2)
        seen = [F.pixel_unshuffle(recent, 2), halved(differences)]
        self.fine = [standardise(last), 16 * (last - before)]
        self.active = _activity(context[:, -config.frames :])
        self.guesses = None
        if flow is not None:
            self.guesses = _guess(context, flow, config.warps)
            onward = self.guesses.onward
            # how the same things moved one frame earlier: what speeds up or slows down
            earlier = warp(flow[:, -2], onward) if flow.shape[1] > 1 else onward
            flows += [halved(field) for field in (onward, flow[:, -1], earlier)]
            changes = 16 * (self.guesses.frames[:, 1:] - last[:, None]).flatten(1, 2)
            errors = self.guesses.errors - 2
            seen += [halved(changes), halved(errors)]
            self.fine += [changes, errors]
        self.flows = torch.cat(flows, dim=1)  # (B, 2·fields, H/2, W/2), in pixels of the full frame
        self.half = torch.cat([*seen, self.flows / 4], dim=1)
        self.cost_half, self.cost_quarter = 8 * cost_half, 8 * cost_quarter


class WarpMix(Predictor):
    """A U-Net at 1/2, 1/4, 1/8 and 1/16 of the frame that says how to warp and mix."""

    needs_flow = True

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        if config.frames > task.context:
            low = "2" if task.context == 2 else f"2 … {task.context}"
            raise UserError(
                f"warpmix looks at {config.frames} frames but the context has {task.context}: set its `frames` to {low}"
            )
        self.config = config
        self.needs_flow = config.prior == "consistency"
        c, w, k = task.channels, config.width, config.warps
        costs = (2 * config.radius + 1) ** 2
        self.fields = 5 if self.needs_flow else 2
        guessed = (k + 1) * c + k + 2 if self.needs_flow else 0
        seen = 4 * c * config.frames + c * (config.frames - 1) + 2 * self.fields + guessed
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
        self.flow = _zero(nn.Conv2d(16 * (k + 1), (2 + 2 * self.fields) * (k + 1), 1, groups=k + 1))
        self.fine = _convs(2 * w // 4 + c * 2 + guessed, config.fine)
        self.mix = _zero(nn.Conv2d(config.fine, k + 3 + c, 3, padding=1))
        if self.needs_flow:
            # chosen on validation parts of real videos, as is the blur of the errors
            self.trust = nn.Parameter(torch.tensor(5.0))
            self.favour = nn.Parameter(torch.tensor([-0.5, 0.0, 0.0] + [-1.5] * k)[: k + 1])

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """As `Predictor.forward`; frames of any size, padded to a multiple of 16 inside.

        Raises:
            UserError: the context has fewer frames than it looks at.
            ValueError: it starts from optical flow, and there is none.
        """
        if context.shape[1] < self.config.frames:
            raise UserError(f"warpmix looks at {self.config.frames} frames and the context has {context.shape[1]}")
        if self.needs_flow and flow is None:
            raise ValueError("warpmix with prior consistency needs optical flow: pass flow=")
        height, width = context.shape[-2:]
        with torch.autocast(context.device.type, enabled=False):
            frames = _padded(context.float())
            sight = _Sight(frames, _padded(flow.float()) if flow is not None and self.needs_flow else None, self.config)
        displacements, mix = self._heads(sight)
        with torch.autocast(context.device.type, enabled=False):
            shown = self._compose(frames, sight, displacements, mix.float())
        first, *others = (frame[:, None, ..., :height, :width] for frame in shown)
        return Output(first, auxiliary=tuple(others))

    def _heads(self, sight: _Sight) -> tuple[Tensor, Tensor]:
        """Displacements (B, K+1, 2, H, W) of the warps and the blend; logits and residual (B, K+3+C, H, W)."""
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
        fine = torch.cat([F.pixel_shuffle(x, 2), *(part.to(x.dtype) for part in sight.fine)], dim=1)
        mix = self.mix(self.fine(fine))
        with torch.autocast(x.device.type, enabled=False):
            learned = F.interpolate(
                self._displace(raw.float(), sight.flows), scale_factor=2, mode="bilinear", align_corners=False
            ).unflatten(1, (-1, 2))
        return learned if sight.guesses is None else sight.guesses.places + learned, mix

    def _displace(self, raw: Tensor, flows: Tensor) -> Tensor:
        """A free displacement plus shares of the flows that are seen, for each warp; bounded, zero at the start."""
        b, _, h, w = raw.shape
        parts = raw.view(b, self.config.warps + 1, 2 + 2 * self.fields, h, w)
        shares = parts[:, :, 2:].unflatten(2, (self.fields, 2))  # of each flow, along x and y
        from_flows = (shares * flows.unflatten(1, (self.fields, 2))[:, None]).sum(dim=2)
        bound = self.config.max_flow
        return (bound * torch.tanh((4 * parts[:, :, :2] + from_flows) / bound)).flatten(1, 2)

    def _compose(self, context: Tensor, sight: _Sight, places: Tensor, mix: Tensor) -> tuple[Tensor, ...]:
        """The frame; in training also that without the residual, and the last frame with the residual alone."""
        k = self.config.warps
        last, before = context[:, -1], context[:, -2]
        logits = 4 * torch.tanh(mix[:, : k + 1] / 4)
        if sight.guesses is not None:
            logits = logits + self.favour[:, None, None] - self.trust * sight.guesses.errors[:, : k + 1]
        weights = torch.softmax(logits, dim=1)
        blend = torch.tanh(mix[:, k + 1 : k + 2])
        gate = torch.sigmoid(4 * torch.tanh((mix[:, k + 2 : k + 3]) / 4) + 2)
        residual = gate * torch.tanh(mix[:, k + 3 :])
        still = warp(last, torch.zeros_like(places[:, 0]))  # a resting warp must be the last frame to the bit
        warped = last
        for i in range(k):
            warped = warped + weights[:, i + 1 : i + 2] * (warp(last, places[:, i]) - still)
        mixing = warped + blend * (warp(before, places[:, k]) - warped) - last
        changes = (mixing + residual, mixing, residual) if self.training else (mixing + residual,)
        return tuple(last + sight.active * change for change in changes)


@torch.no_grad()
def _activity(frames: Tensor) -> Tensor:
    """Where anything has changed: (B, 1, H, W), 0 where nothing has within some twelve pixels, else nearly 1.

    What stands still in frames (B, T, C, H, W) stays as it is to the bit, whatever was learned of what moves.
    """
    changes = F.max_pool2d(255 * frames.diff(dim=1).abs().amax(dim=(1, 2))[:, None], 4)
    around = F.max_pool2d(changes, 7, stride=1, padding=3)
    activity: Tensor = F.interpolate(around / (around + 0.25), scale_factor=4, mode="nearest")
    return activity


def _padded(maps: Tensor) -> Tensor:
    """(B, T, C, H, W) to multiples of 16, the border repeated."""
    down, right = -maps.shape[-2] % 16, -maps.shape[-1] % 16
    if not down and not right:
        return maps
    padded: Tensor = F.pad(maps.flatten(0, 1), (0, right, 0, down), mode="replicate").unflatten(0, maps.shape[:2])
    return padded


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def build(config: Config, task: Task) -> Predictor:
    """The model for a task; the frame size may differ at test time. Between two frames, both are warped (`Midway`).

    Raises:
        UserError: it cannot do the task, or a field is set that has no part in it.
    """
    if task.between:
        for field in ("prior", "fine", "frames"):
            if getattr(config, field) != getattr(Config, field):
                raise UserError(f"warpmix: {field} has no effect where task.kind is interpolate: leave it out")
        return Midway(
            width=config.width,
            warps=config.warps,
            radius=config.radius,
            max_flow=config.max_flow,
            channels=task.channels,
        )
    return WarpMix(config, task)
