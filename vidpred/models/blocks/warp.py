"""Backward warping: an image and a flow in, the image seen through the flow out."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Samples `image` bilinearly at p + flow(p); beyond the border the border's pixels go on.

    Always in float32, also under autocast: bfloat16 would round a coordinate of 50 to a quarter of a pixel.

    Args:
        image: (B, C, H, W).
        flow: (B, 2, H, W) in pixels, x then y.

    Returns:
        (B, C, H, W) float32.
    """
    height, width = image.shape[-2:]
    with torch.autocast(image.device.type, enabled=False):
        image, flow = image.float(), flow.float()
        x = torch.arange(width, device=flow.device, dtype=torch.float32) + flow[:, 0]
        y = torch.arange(height, device=flow.device, dtype=torch.float32)[:, None] + flow[:, 1]
        # align_corners=False: -1 and 1 are the outer edges of the outermost pixels
        # in two planes, which takes half the time of pairs to write and is as fast to read
        grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=1).movedim(1, -1)
        return functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
