"""How right a prediction was, beside showing the last known frame again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vidpred.training.metrics import score
from vidpred.types import to_float

METRICS = ("perceptual_distance", "psnr_db")


@dataclass(frozen=True)
class Compared:
    """Figures of every frame whose truth is known, by metric."""

    model: dict[str, list[float]]
    copy_last: dict[str, list[float]]


def compared(predicted: np.ndarray, truth: np.ndarray, last: np.ndarray) -> Compared:
    """The figures of a prediction and of `copy_last`.

    Args:
        predicted: uint8 (N, H, W, 3).
        truth: uint8 (M, H, W, 3), M ≤ N: the first of them are compared.
        last: uint8 (H, W, 3), the last frame that was known.
    """
    both = np.stack([predicted[: len(truth)], np.broadcast_to(last, truth.shape)])
    tensor_BTCHW = to_float(torch.from_numpy(both))
    target_BTCHW = to_float(torch.from_numpy(truth.copy()))[None].expand_as(tensor_BTCHW)
    found = {name: values.tolist() for name, values in score(tensor_BTCHW, target_BTCHW, only=METRICS).items()}
    return Compared(
        model={name: values[0] for name, values in found.items()},
        copy_last={name: values[1] for name, values in found.items()},
    )
