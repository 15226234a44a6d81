"""The protocol "UCF-101 in print", that of Mathieu et al. 2015 (arXiv 1511.05440) and of those who compare with them.

Every tenth of 3783 test videos at 240x320, four frames in, two out, the second from the first. Only pixels that move
count: all others are black in prediction and truth alike, and PSNR, SSIM and sharpness are of the whole frame so
masked. The figures are those of the authors' published test code (github.com/coupriec/VideoPredictionICLR2016), with
its constants; they are not those of `vidpred.training.metrics`.

In: frames, and the flow-colour images that come with the authors' test set; where they are missing ours stand in. Out:
a figure for each clip and step, and their means.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vidpred.data.flow import flow_picture, flow_to_previous
from vidpred.training.similarity import SSIM_WINDOW, ssim_map
from vidpred.types import to_uint8

CONTEXT = 4
"""Frames in."""
STEPS = 2
"""Frames out."""
MOVES_BELOW = 0.2
"""A pixel moves where a channel of the flow-colour image, in [0, 1], is below this: colours are saturated there."""
SKIP_DB = 50.0
"""Clips of this PSNR or more are left out of all means: next to nothing moves in them."""
UNITS = {"psnr_db": "dB", "ssim": "", "sharpness_db": "dB"}
"""What is reported, and its unit; higher is better."""

_LUMA = (0.299, 0.587, 0.114)
_SCALE = 256**2 / 255**2
"""Errors are of pixels in [-1, 1], times 128, against a peak of 255: a grey level too much in 255."""
_LEAST = 1e-4 / 255**2
"""The least error, which caps decibels at 88."""
_STILL = 0.5
"""Pixels: the least speed at which our colours are full, so that noise on a still clip is no motion."""


class Means(TypedDict):
    """What is printed of one step."""

    step: int
    """From 1."""
    clips: int
    """Those that count."""
    psnr_db: float
    ssim: float
    sharpness_db: float


@torch.no_grad()
def score_clips(
    context: Tensor, prediction: Tensor, target: Tensor, *, flow_images: Tensor | None = None
) -> dict[str, Tensor]:
    """PSNR, SSIM and sharpness of moving pixels.

    Args:
        context: (B, 4, 3, H, W) float in [0, 1].
        prediction: (B, 2, 3, H, W); clamped, as the authors' network ends in a tanh, but not rounded; NaN is black.
        target: Same shape.
        flow_images: (B, 2, 3, H, W) in [0, 1], white where nothing moves: of the last frame of the context, then of
            the first of the target. Figures in print rest on those of the authors; None computes `flow_colours`.

    Returns:
        (B, 2) float64 for each of `UNITS`; NaN in all where the clip is skipped.

    Raises:
        ValueError: other shapes.
    """
    frames = (len(target), STEPS, 3, *target.shape[-2:])
    images = target if flow_images is None else flow_images
    same = prediction.shape == target.shape == images.shape == frames
    if not same or context.shape != (len(target), CONTEXT, *frames[2:]):
        raise ValueError(
            f"context is {tuple(context.shape)}, prediction {tuple(prediction.shape)}, target {tuple(target.shape)}, "
            f"flow images {tuple(images.shape)}: (B, {CONTEXT}, 3, H, W), then (B, {STEPS}, 3, H, W)"
        )
    with torch.autocast(target.device.type, enabled=False):
        if flow_images is None:
            flow_images = flow_colours(context[:, -1], target)
        moves = (flow_images < MOVES_BELOW).any(dim=2, keepdim=True).to(target.device)
        p, y = (torch.where(moves, x.double().nan_to_num(0).clamp(0, 1), 0) for x in (prediction, target))
        scores = {"psnr_db": _psnr_db(p, y), "ssim": _ssim(p, y), "sharpness_db": _sharpness_db(p, y)}
    kept = scores["psnr_db"] < SKIP_DB
    return {name: torch.where(kept, values, torch.nan) for name, values in scores.items()}


def means(scores: dict[str, Tensor]) -> list[Means]:
    """What is printed for each step: the mean over the clips that count, NaN where none does.

    Args:
        scores: As `score_clips` gives them, of all clips: (N, 2) each.
    """
    found: list[Means] = []
    for step in range(STEPS):
        psnr_db, ssim, sharpness_db = (float(scores[name][:, step].nanmean()) for name in UNITS)
        clips = int(scores["psnr_db"][:, step].isfinite().sum())
        found.append(Means(step=step + 1, clips=clips, psnr_db=psnr_db, ssim=ssim, sharpness_db=sharpness_db))
    return found


def flow_colours(last: Tensor, target: Tensor) -> Tensor:
    """Our own flow-colour images, for clips that come without: DIS flow from each frame to the next.

    Colours are full at a field's largest speed, as in Middlebury's code where it is told nothing else, but at half a
    pixel at least. So what moves is what moves at 0.8 of that speed or more. The authors' flow is another: figures
    that rest on these images are not comparable with those in print.

    Args:
        last: (B, 3, H, W) float in [0, 1], the last frame of the context.
        target: (B, 2, 3, H, W).

    Returns:
        (B, 2, 3, H, W) float32 in [0, 1].
    """
    clips = to_uint8(torch.cat([last[:, None], target], dim=1)).movedim(2, -1).cpu().numpy()
    pictures: list[np.ndarray] = []
    for clip in clips:
        backwards = flow_to_previous(clip[::-1])  # played backwards, the frame before is the one that follows
        for field in backwards[::-1]:
            fastest = float(np.hypot(*field).max())
            pictures.append(flow_picture(field, largest=max(_STILL, fastest)))
    return torch.from_numpy(np.stack(pictures)).movedim(-1, 1).view(target.shape).to(target.device).float() / 255


def _psnr_db(p: Tensor, y: Tensor) -> Tensor:
    return _decibels(_SCALE * (p - y).square().mean(dim=(2, 3, 4)))


def _sharpness_db(p: Tensor, y: Tensor) -> Tensor:
    """Differences of gradients are not squared, though scaled as if; their sum leaves out the outermost pixels, but is
    divided by the number of all.
    """
    total = torch.zeros(p.shape[:2], dtype=p.dtype, device=p.device)
    for dim in (-2, -1):
        difference = (p.diff(dim=dim).abs() - y.diff(dim=dim).abs()).abs()
        # of the pixel and the one before it: the first difference is that of the second pixel, the last one is cropped
        inner = difference.narrow(dim, 0, difference.shape[dim] - 1)
        across = -1 if dim == -2 else -2
        total += inner.narrow(across, 1, inner.shape[across] - 2).sum(dim=(2, 3, 4))
    return _decibels(_SCALE / 2 * total / p[0, 0].numel())


def _ssim(p: Tensor, y: Tensor) -> Tensor:
    """Of luma, the frame continued in black: their convolution is as large as frame and window together."""
    border = SSIM_WINDOW - 1
    weights = torch.tensor(_LUMA, dtype=p.dtype, device=p.device)[:, None, None]
    luma_p, luma_y = (F.pad((x * weights).sum(dim=2), (border,) * 4) for x in (p, y))
    return ssim_map(luma_p, luma_y).mean(dim=(2, 3))


def _decibels(error: Tensor) -> Tensor:
    return -10 * error.clamp(min=_LEAST).log10()
