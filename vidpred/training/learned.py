"""LPIPS, the learned perceptual distance (Zhang et al. 2018, arXiv 1801.03924): an optional extra.

Its network was trained on ImageNet; the weights are not ours to bundle. They come with the package `lpips` and
torchvision, which loads AlexNet's from the internet the first time.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from vidpred.errors import UserError


def lpips(p: Tensor, y: Tensor) -> Tensor:
    """LPIPS of AlexNet, per frame.

    Args:
        p: (B, N, 3, H, W) in [0, 1].
        y: Same shape.

    Returns:
        (B, N) float64.

    Raises:
        UserError: the package or its weights are missing.
    """
    network = _network(y.device)
    distance: Tensor = network(2 * p.flatten(0, 1) - 1, 2 * y.flatten(0, 1) - 1)
    return distance.view(y.shape[:2]).double()


@lru_cache(maxsize=1)
def _network(device: torch.device) -> Any:
    try:
        package = importlib.import_module("lpips")
        return package.LPIPS(net="alex", verbose=False).eval().requires_grad_(False).to(device)
    except (ImportError, OSError) as error:  # OSError: AlexNet's weights could not be loaded
        raise UserError(
            f"lpips needs pretrained weights that vidpred does not bundle ({error}): run `pip install lpips` where the "
            "internet can be reached, or leave lpips out"
        ) from None
