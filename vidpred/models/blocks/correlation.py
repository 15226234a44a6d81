"""Local matching costs between two frames: motion, made visible to a convolutional network.

Matching is multiplicative, and a small network does not discover it in minutes; so it is built in. For every pixel
of the later frame and every displacement within a radius, the cost is how much the displaced earlier frame differs
around it. There is nothing to train, and no gradient flows through.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def displacements(radius: int, device: torch.device) -> Tensor:
    """(D, 2) float32: all (x, y) of a square of side 2·radius + 1, row by row; D = (2·radius + 1)²."""
    line = torch.arange(-radius, radius + 1, dtype=torch.float32, device=device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


@torch.no_grad()
def matching_cost(later: Tensor, earlier: Tensor, *, radius: int) -> Tensor:
    """How badly `later` around p matches `earlier` around p + d, for every displacement d.

    Args:
        later: (B, C, H, W) float32 in [0, 1].
        earlier: The same shape.
        radius: Largest displacement along x and y, in pixels of these frames.

    Returns:
        (B, D, H, W) float32 mean absolute difference over 3x3 pixels and all channels, displacements in the order of
        `displacements`. Beyond the border the nearest pixel is taken.
    """
    channels, height, width = later.shape[-3:]
    padded = F.pad(earlier, (radius,) * 4, mode="replicate")
    displaced = padded.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, 2r+1, 2r+1, H, W), a view
    total = (later[:, 0, None, None] - displaced[:, 0]).abs_()
    for channel in range(1, channels):
        total += (later[:, channel, None, None] - displaced[:, channel]).abs_()
    framed = F.pad(total.flatten(1, 2), (1, 1, 1, 1), mode="replicate")
    rows = framed[:, :, :-2] + framed[:, :, 1:-1] + framed[:, :, 2:]
    # sums of slices: six times as fast as avg_pool2d here
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]).div_(9 * channels)


@torch.no_grad()
def bilateral_cost(first: Tensor, last: Tensor, *, radius: int) -> Tensor:
    """As `matching_cost`, for a frame between the two: how badly `first` at p + d matches `last` at p - d."""
    height, width = first.shape[-2:]
    total: Tensor | None = None
    padded = [F.pad(frame, (radius + 1,) * 4, mode="replicate") for frame in (first, last)]
    tall, wide = height + 2, width + 2  # a pixel more on every side, for the mean over 3x3
    for channel in range(first.shape[1]):
        ahead, behind = (frame[:, channel].unfold(1, tall, 1).unfold(2, wide, 1) for frame in padded)
        off = (ahead - behind.flip(1, 2)).abs_()  # (B, 2r+1, 2r+1, H+2, W+2)
        total = off if total is None else total.add_(off)
    framed = total.flatten(1, 2)  # type: ignore[union-attr]
    rows = framed[:, :, :-2] + framed[:, :, 1:-1] + framed[:, :, 2:]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]).div_(9 * first.shape[1])


@torch.no_grad()
def expected_flow(cost: Tensor, *, radius: int, sharpness: float = 60.0) -> Tensor:
    """The mean displacement under softmax(−sharpness·cost): flow from the later frame back to the earlier one.

    Args:
        cost: (B, D, H, W), as `matching_cost` gives it.
        radius: The one the costs were computed with.
        sharpness: Costs differ by about 1/sharpness before one displacement wins. A small pull towards rest
            decides where nothing does, such as on a plain background.

    Returns:
        (B, 2, H, W) float32, (x, y) in pixels of these frames.
    """
    grid = displacements(radius, cost.device)
    rest = 0.002 * grid.norm(dim=1)
    weights = torch.softmax(-sharpness * (cost + rest[None, :, None, None]), dim=1)
    return torch.einsum("bdhw,dk->bkhw", weights, grid)
