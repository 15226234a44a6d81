"""The frame between two others as a per-pixel mix of warps of both: `warpmix` where the task is to interpolate.

Where a pixel of the middle frame is in the first frame at p + f, it is in the last one at p - f, if it moves evenly.
So the matching costs compare the two neighbours at opposite displacements, on the pixels of the frame that is asked
for (Park et al. 2020, BMBC, arXiv 2007.12622), and every warp takes from both, each with a weight of its own: what one
neighbour hides comes from the other.

    middle = Σ aₖ·warp(first, fₖ) + bₖ·warp(last, -fₖ) + g·r,  Σ aₖ + bₖ = 1

On a plain background everything matches itself from both sides: there a thing that goes by is seen in neither
neighbour. So the displacements on offer are those that either frame finds in the other, halved, and how much their two
sides differ is an input. It starts as exactly the average of both. As in `warpmix` heads start at zero behind an open
gate, logits are bounded, and coordinates, warps, softmax and sum are float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.models.blocks.correlation import bilateral_cost, expected_flow, matching_cost
from vidpred.models.blocks.distance import perceptual_distance_map
from vidpred.models.blocks.learned_path import check_length, zero_head
from vidpred.models.blocks.pooling import box_blur
from vidpred.models.blocks.warp import warp
from vidpred.types import Output, Predictor

_OFFERED = 4
"""Displacements that are matched: of the last frame in the first and the other way round, at two resolutions."""
_BLUR = 2
"""Differences of two sides are averaged over so many pixels in each direction."""
_HIDDEN = 16
"""Channels from which a warp's displacement is read, and those from which weights and residual are."""


class Midway(Predictor):
    """Context (B, 2, C, H, W) in, the frame between out: a U-Net at 1/2 to 1/16 of the frame; frames of any size.

    Args:
        width: Channels at half the resolution; the deeper scales have twice and three times as many.
        warps: Displacements, each of which takes from both neighbours.
        radius: Largest displacement of the matching costs, in pixels at half and at a quarter of the resolution.
        max_flow: Bound of a displacement, in pixels: of half the way from the first frame to the last.
        channels: Of a frame.
    """

    def __init__(self, *, width: int, warps: int, radius: int, max_flow: float, channels: int) -> None:
        super().__init__()
        self.warps, self.radius, self.max_flow = warps, radius, max_flow
        costs, w = (2 * radius + 1) ** 2, width
        self.half_costs, self.quarter_costs = (nn.Conv2d(costs, w, 1) for _ in range(2))
        self.into_half = _convs(9 * channels + 3 * _OFFERED + 1 + w, w)
        self.into_quarter = _convs(2 * w, 2 * w)
        self.into_eighth = _convs(2 * w, 3 * w)
        self.into_sixteenth = _convs(3 * w, 3 * w)
        self.out_eighth = _convs(6 * w, 3 * w)
        self.out_quarter = _convs(5 * w, 2 * w)
        self.out_half = nn.Sequential(nn.Conv2d(3 * w, 2 * w, 3, padding=1), nn.SiLU())
        # one hidden group a warp: with shared features the zero-initialised heads would stay equal for ever
        self.hidden = nn.Conv2d(2 * w, _HIDDEN * warps, 3, padding=1)
        self.flow = nn.Conv2d(_HIDDEN * warps, (2 + 2 * _OFFERED) * warps, 1, groups=warps)
        nn.init.zeros_(self.flow.weight)
        nn.init.zeros_(self.flow.bias)  # type: ignore[arg-type]
        self.fine = nn.Conv2d(w // 2 + 2 * channels + _OFFERED + 1, _HIDDEN, 3, padding=1)
        self.mix = zero_head(_HIDDEN, 2 * warps + 1 + channels)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`.

        Raises:
            UserError: the context is not of two frames.
        """
        check_length("warpmix between two frames", context, 2)
        height, width = context.shape[-2:]
        down, right = -height % 16, -width % 16
        frames = context
        if down or right:
            frames = F.pad(context.flatten(0, 1), (0, right, 0, down), mode="replicate").unflatten(0, (-1, 2))
        flows, mix = (maps[..., :height, :width].float() for maps in self._heads(frames))
        with torch.autocast(context.device.type, enabled=False):
            return self._compose(context[:, 0].float(), context[:, 1].float(), flows, mix)

    def _heads(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Displacements (B, 2K, H, W) to the first frame; logits, gate and residual (B, 2K+1+C, H, W)."""
        with torch.autocast(context.device.type, enabled=False):
            seen, flows, cost_half, cost_quarter = self._sight(context.float())
            doubt = _doubt(context.float(), flows)
            seen = torch.cat((seen, F.avg_pool2d(doubt, 2) / 2), dim=1)
        costs = F.silu(self.half_costs(8 * cost_half))
        half = self.into_half(torch.cat((seen.to(costs.dtype), costs), dim=1))
        costs = F.silu(self.quarter_costs(8 * cost_quarter))
        quarter = self.into_quarter(torch.cat((F.max_pool2d(half, 2), costs), dim=1))
        eighth = self.into_eighth(F.max_pool2d(quarter, 2))
        x = self.into_sixteenth(F.max_pool2d(eighth, 2))
        for layer, skip in ((self.out_eighth, eighth), (self.out_quarter, quarter), (self.out_half, half)):
            x = layer(torch.cat((F.interpolate(x, scale_factor=2, mode="nearest"), skip), dim=1))
        raw = self.flow(F.silu(self.hidden(x)))
        fine = (F.pixel_shuffle(x, 2), context.flatten(1, 2).to(x.dtype), doubt.to(x.dtype) / 2)
        mix = self.mix(F.silu(self.fine(torch.cat(fine, dim=1))))
        with torch.autocast(context.device.type, enabled=False):
            return F.interpolate(self._displaced(raw.float(), flows), scale_factor=2, mode="bilinear"), mix

    def _sight(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What is seen before anything is learned, at half the resolution, and costs there and at a quarter."""
        halves = F.avg_pool2d(context.flatten(0, 1), 2).unflatten(0, (-1, 2))
        quarters = F.avg_pool2d(halves.flatten(0, 1), 2).unflatten(0, (-1, 2))
        cost_half, cost_quarter = (bilateral_cost(x[:, 0], x[:, 1], radius=self.radius) for x in (halves, quarters))
        found = []
        for scale, frames in ((1, halves), (2, quarters)):
            for one, other, sign in ((1, 0, 1), (0, 1, -1)):
                flow = expected_flow(
                    matching_cost(frames[:, one], frames[:, other], radius=self.radius), radius=self.radius
                )
                found.append(F.interpolate(sign * scale * flow, scale_factor=scale, mode="bilinear"))
        flows = torch.cat(
            found, dim=1
        )  # (B, 8, H/2, W/2), in pixels of the full frame: half the way is half of 2, or of 4
        frames = F.pixel_unshuffle(context.flatten(1, 2), 2)
        return torch.cat((frames, halves[:, 1] - halves[:, 0], flows / 8), dim=1), flows, cost_half, cost_quarter

    def _displaced(self, raw: Tensor, expected: Tensor) -> Tensor:
        """A free displacement plus shares of the expected ones, for each warp; bounded, zero at the start."""
        parts = raw.unflatten(1, (self.warps, 2 + 2 * _OFFERED))
        shares = parts[:, :, 2:].unflatten(2, (_OFFERED, 2))  # of each expected displacement, along x and y
        matched = (shares * expected.unflatten(1, (_OFFERED, 2))[:, None]).sum(dim=2)
        return (self.max_flow * torch.tanh((4 * parts[:, :, :2] + matched) / self.max_flow)).flatten(1, 2)

    def _compose(self, first: Tensor, last: Tensor, flows: Tensor, mix: Tensor) -> Output:
        k = self.warps
        weights = torch.softmax(4 * torch.tanh(mix[:, : 2 * k] / 4), dim=1)
        gate = torch.sigmoid(4 * torch.tanh(mix[:, 2 * k : 2 * k + 1] / 4) + 2)
        residual = gate * torch.tanh(mix[:, 2 * k + 1 :])
        mixed = torch.zeros_like(first)
        for i, displacement in enumerate(flows.split(2, dim=1)):
            mixed = mixed + weights[:, 2 * i, None] * warp(first, displacement)
            mixed = mixed + weights[:, 2 * i + 1, None] * warp(last, -displacement)
        frame = mixed + residual
        if not self.training:
            return Output(frame[:, None])
        return Output(frame[:, None], auxiliary=(mixed[:, None], ((first + last) / 2 + residual)[:, None]))


@torch.no_grad()
def _doubt(context: Tensor, flows: Tensor) -> Tensor:
    """(B, 5, H, W): log(e + 1) of staying in place and of each displacement of (B, 8, H/2, W/2), in grey levels.

    e is the perceptual distance of what a displacement brings from the first frame to what its opposite brings from
    the last one, averaged around each pixel.
    """
    whole = F.interpolate(flows, scale_factor=2, mode="bilinear")
    sides = [(context[:, 0], context[:, 1])]
    sides += [(warp(context[:, 0], flow), warp(context[:, 1], -flow)) for flow in whole.split(2, dim=1)]
    off = torch.stack([perceptual_distance_map(first, last) for first, last in sides], dim=1)
    return torch.log1p(box_blur(off, _BLUR))


def _convs(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.SiLU(),
    )
