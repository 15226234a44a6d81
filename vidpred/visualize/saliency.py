"""Which pixels of a clip, at which moments, speak for a class and which against it.

    integrated  the way from a clip that shows nothing to the clip, gradients summed along it (Sundararajan et al. 2017,
                arXiv 1703.01365): what is given to pixels adds up to what the clip adds to the class's logit
    smooth      gradients of noisy copies, averaged (Smilkov et al. 2017, arXiv 1706.03825): where a change would matter
    cam         where the last convolution's maps are, weighted by their gradients (Selvaraju et al. 2016,
                arXiv 1610.02391): coarse, and of frames only

In: a classifier, a window of a clip and its flow. Out: a `Saliency`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.types import Classifier
from vidpred.visualize.streams import differentiable

Method = Literal["integrated", "smooth", "cam"]
Baseline = Literal["grey", "still"]
_AT_ONCE = 8
"""Points of the way, or noisy copies, that are computed together."""


@dataclass(frozen=True)
class Saliency:
    """What speaks for a class. What speaks against it is negative, where the method tells."""

    pixels: np.ndarray
    """float32 (T, H, W)."""
    flow: np.ndarray | None
    """float32 (T-1, H, W), of the flow; None: the model takes none, or the method tells nothing of it."""
    logit: float
    """Of the class."""
    baseline_logit: float | None = None
    """Of the class for the clip that shows nothing; only `integrated` asks."""

    @property
    def missing(self) -> float | None:
        """By how much `integrated` misses the difference of the logits, as a share of it: more points make it less."""
        if self.baseline_logit is None:
            return None
        gained = self.logit - self.baseline_logit
        told = float(self.pixels.sum(dtype=np.float64))
        told += 0.0 if self.flow is None else float(self.flow.sum(dtype=np.float64))
        return abs(told - gained) / max(abs(gained), 1e-6)


def saliency(
    model: Classifier,
    clip: Tensor,
    flow: Tensor | None,
    number: int,
    *,
    method: Method = "integrated",
    baseline: Baseline = "grey",
    points: int = 64,
    noise: float = 0.1,
    seed: int = 0,
) -> Saliency:
    """What of a window speaks for a class.

    Args:
        model: On the device of the clip; is left as it is.
        clip: (1, T, C, H, W) float32 in [0, 1].
        flow: (1, T-1, 2, H, W) as `Batch.flow`, where the model takes it.
        number: Of the class.
        method: See the module.
        baseline: What shows nothing: grey frames, or the mean of the clip's own, standing still; and no flow.
        points: On the way of `integrated`, or noisy copies of `smooth`.
        noise: Its deviation, for `smooth`, as a share of full scale, and of the fastest flow.
        seed: Of the noise.

    Raises:
        UserError: the model has no convolution, for `cam`.
    """
    with differentiable(model):
        with torch.no_grad():
            logit = float(model(clip, flow).logits[0, number])
        if method == "cam":
            return Saliency(_cam(model, clip, flow, number), None, logit)
        if method == "smooth":
            return _smooth(model, clip, flow, number, logit, points, noise, seed)
        ground = torch.full_like(clip, 0.5) if baseline == "grey" else clip.mean(dim=1, keepdim=True).expand_as(clip)
        still = torch.zeros_like(flow) if flow is not None else None
        with torch.no_grad():
            before = float(model(ground, still).logits[0, number])
        slopes = torch.zeros_like(clip)
        flow_slopes = torch.zeros_like(flow) if flow is not None else None
        shares = (torch.arange(points, device=clip.device) + 0.5) / points
        for some in shares.split(_AT_ONCE):
            along = some[:, None, None, None, None]
            moved = along * flow if flow is not None else None
            slope, flow_slope = _slopes(model, ground + along * (clip - ground), moved, number)
            slopes += slope.sum(dim=0, keepdim=True) / points
            if flow_slopes is not None and flow_slope is not None:
                flow_slopes += flow_slope.sum(dim=0, keepdim=True) / points
        given = ((clip - ground) * slopes).sum(dim=2)[0].cpu().numpy()
        of_flow = None
        if flow is not None and flow_slopes is not None:
            of_flow = (flow * flow_slopes).sum(dim=2)[0].cpu().numpy()
        return Saliency(given, of_flow, logit, before)


def _slopes(model: Classifier, clip: Tensor, flow: Tensor | None, number: int) -> tuple[Tensor, Tensor | None]:
    """Gradients of a class's logit by clips, and by their flow."""
    inputs = [part.detach().requires_grad_(True) for part in (clip, flow) if part is not None]
    logits = model(inputs[0], inputs[1] if flow is not None else None).logits
    found = torch.autograd.grad(logits[:, number].sum(), inputs, allow_unused=True, materialize_grads=True)
    return found[0], found[1] if flow is not None else None


def _smooth(
    model: Classifier,
    clip: Tensor,
    flow: Tensor | None,
    number: int,
    logit: float,
    points: int,
    noise: float,
    seed: int,
) -> Saliency:
    draw = torch.Generator().manual_seed(seed)

    def noisy(part: Tensor, count: int, scale: float) -> Tensor:
        return part + scale * torch.randn(count, *part.shape[1:], generator=draw).to(part.device)

    pixels = torch.zeros_like(clip[:, :, 0])
    of_flow = torch.zeros_like(flow[:, :, 0]) if flow is not None else None
    for first in range(0, points, _AT_ONCE):
        count = min(_AT_ONCE, points - first)
        moved = noisy(flow, count, noise * max(1.0, float(flow.abs().max()))) if flow is not None else None
        slope, flow_slope = _slopes(model, noisy(clip, count, noise), moved, number)
        pixels += slope.abs().sum(dim=2).sum(dim=0, keepdim=True) / points
        if of_flow is not None and flow_slope is not None:
            of_flow += flow_slope.abs().sum(dim=2).sum(dim=0, keepdim=True) / points
    return Saliency(pixels[0].cpu().numpy(), of_flow[0].cpu().numpy() if of_flow is not None else None, logit)


def _cam(model: Classifier, clip: Tensor, flow: Tensor | None, number: int) -> np.ndarray:
    """The maps of the last convolution that still tells places apart and that the clip reaches: float32 (T, H, W)."""
    kept: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _, __, output: kept.append(output))
        for module in model.modules()
        if isinstance(module, nn.Conv2d | nn.Conv3d)
    ]
    shown = clip.detach().requires_grad_(True)
    try:
        logit = model(shown, flow).logits[0, number]
    finally:
        for hook in hooks:
            hook.remove()
    of_clip = [maps for maps in kept if maps.requires_grad and maps.shape[-1] * maps.shape[-2] > 1]
    if not of_clip:
        raise UserError("the model has no convolution whose maps tell places apart: take another --method")
    maps = of_clip[-1]
    (slope,) = torch.autograd.grad(logit, maps)
    if maps.dim() == 4:  # moments stand where clips of a batch do
        maps, slope = maps.transpose(0, 1)[None], slope.transpose(0, 1)[None]
    weights = slope.mean(dim=(2, 3, 4), keepdim=True)
    found = F.relu((weights * maps).sum(dim=1, keepdim=True))
    size = [clip.shape[1], *clip.shape[-2:]]
    whole = F.interpolate(found.detach(), size=size, mode="trilinear", align_corners=False)[0, 0]
    return np.asarray(whole.cpu().numpy(), np.float32)
