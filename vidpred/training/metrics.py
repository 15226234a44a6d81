"""What predictions are judged by: frames and their truth in, one figure a frame out.

What is scored is what a user gets: frames clamped and rounded to 8 bits. Maps are float32, sums over pixels float64.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from vidpred.errors import UserError
from vidpred.models.blocks.distance import perceptual_distance_map
from vidpred.types import to_uint8

UNITS: dict[str, str] = {
    "perceptual_distance": "grey levels",
    "psnr_db": "dB",
    "ssim": "",
    "l1": "",
    "mse": "",
    "gdl": "",
    "sharpness_db": "dB",
    "edge_contrast": "",
}
"""Every metric of `score`, and its unit; an empty one is of pixels in [0, 1] or has none."""

HIGHER_IS_BETTER: dict[str, bool | None] = {
    "perceptual_distance": False,
    "psnr_db": True,
    "ssim": True,
    "l1": False,
    "mse": False,
    "gdl": False,
    "sharpness_db": True,
    "edge_contrast": None,
}
"""None: neither; `edge_contrast` has no reference, the truth's own value is the best."""

CAP_DB = 60.0
"""Of `psnr_db` and `sharpness_db`: frames without any error would be infinitely good."""
SSIM_WINDOW = 11
"""Pixels a side of SSIM's Gaussian window."""
SSIM_SIGMA = 1.5
"""Its standard deviation in pixels."""
STILL = 0.1
"""Grey levels of `copy_last`'s PD below which nothing moves: a gain over it would be a ratio to noise."""
NOTHING_MOVES = "nothing moves in these windows"


def relative_gain(distance: float, baseline: float, *, still: float = STILL) -> float | None:
    """One minus the ratio of two distances: 0.2 is a fifth less than the baseline's. None where nothing moves.

    Args:
        distance: The model's; lower is better.
        baseline: That of copying the last frame, in the same unit.
        still: Baselines below it are those of windows in which nothing moves; in that unit.
    """
    return None if baseline < still else 1 - distance / baseline


def gain_in_words(gain: float) -> str:
    """`+63.9 %`."""
    return f"{100 * gain:+.1f} %"


@torch.no_grad()
def score(prediction: Tensor, target: Tensor, *, only: Collection[str] | None = None) -> dict[str, Tensor]:
    """Metrics of every frame.

    Args:
        prediction: (B, N, 3, H, W) float in [0, 1] or beyond.
        target: Same shape.
        only: Names of the metrics to compute; None for all.

    Returns:
        Metric name to (B, N) float64, in the order of `UNITS`.

    Raises:
        UserError: SSIM is asked for and frames are smaller than its window.
        ValueError: the shapes differ, or `only` names a metric that is not there.
    """
    if prediction.shape != target.shape or prediction.dim() != 5:
        raise ValueError(f"prediction is {tuple(prediction.shape)}, target {tuple(target.shape)}: both (B, N, 3, H, W)")
    wanted = set(_METRICS if only is None else only)
    if unknown := wanted - _METRICS.keys():
        raise ValueError(f"no metric is called {', '.join(sorted(unknown))}: there are {', '.join(_METRICS)}")
    with torch.autocast(target.device.type, enabled=False):
        p, y = _eight_bits(prediction), _eight_bits(target)
        return {name: metric(p, y) for name, metric in _METRICS.items() if name in wanted}


def _eight_bits(frames: Tensor) -> Tensor:
    return to_uint8(frames).float().div(255)


def _mean(maps: Tensor) -> Tensor:
    """(B, N, C, H, W) to (B, N) float64."""
    return maps.mean(dim=(2, 3, 4), dtype=torch.float64)


def _gradient(frames: Tensor, dim: int) -> Tensor:
    return frames.diff(dim=dim).abs()


def _edges(frames: Tensor) -> Tensor:
    """The sum of both gradients, for pixels that have an upper and a left neighbour."""
    return _gradient(frames, -2)[..., 1:] + _gradient(frames, -1)[..., 1:, :]


def _decibels(error: Tensor) -> Tensor:
    """10·log10(1 / error), capped."""
    return -10 * error.clamp(min=10 ** (-CAP_DB / 10)).log10()


def _perceptual_distance(p: Tensor, y: Tensor) -> Tensor:
    return _mean(perceptual_distance_map(p, y)[:, :, None])


def _l1(p: Tensor, y: Tensor) -> Tensor:
    return _mean((p - y).abs())


def _mse(p: Tensor, y: Tensor) -> Tensor:
    return _mean((p - y).square())


def _psnr_db(p: Tensor, y: Tensor) -> Tensor:
    return _decibels(_mse(p, y))


def _ssim(p: Tensor, y: Tensor) -> Tensor:
    """Wang et al. 2004, per colour channel, where the window lies wholly inside the frame, as scikit-image has it.

    torchmetrics gives the same map, but its mean takes in mirrored borders since version 1.
    """
    if min(y.shape[-2:]) < SSIM_WINDOW:
        raise UserError(
            f"frames are {y.shape[-2]}x{y.shape[-1]}, SSIM's window is {SSIM_WINDOW} pixels: set transcode.height and "
            f"transcode.width to at least {SSIM_WINDOW}"
        )
    p, y = p.double(), y.double()  # variances are differences of near-equal numbers
    # the window is separable, so blurring is one small matrix for rows and one for columns
    over_rows, over_columns = (_blurring(size, y.device) for size in y.shape[-2:])
    mean_p, mean_y, mean_pp, mean_yy, mean_py = (
        over_rows @ maps @ over_columns.T for maps in (p, y, p.square(), y.square(), p * y)
    )
    variance_p, variance_y = mean_pp - mean_p.square(), mean_yy - mean_y.square()
    covariance = mean_py - mean_p * mean_y
    luminance = (2 * mean_p * mean_y + 0.01**2) / (mean_p.square() + mean_y.square() + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (variance_p + variance_y + 0.03**2)
    return _mean(luminance * structure)


def _blurring(size: int, device: torch.device) -> Tensor:
    """(size - 10, size) float64: SSIM's Gaussian window at every place where it lies wholly inside."""
    offsets = torch.arange(size, device=device) - torch.arange(size - SSIM_WINDOW + 1, device=device)[:, None]
    distance = offsets.double() - SSIM_WINDOW // 2
    window = torch.where(distance.abs() <= SSIM_WINDOW // 2, torch.exp(-distance.square() / (2 * SSIM_SIGMA**2)), 0)
    return window / window.sum(dim=1, keepdim=True)


def _gdl(p: Tensor, y: Tensor) -> Tensor:
    rows, columns = (_gradient(y, dim) - _gradient(p, dim) for dim in (-2, -1))
    return _mean(rows.abs()) + _mean(columns.abs())


def _sharpness_db(p: Tensor, y: Tensor) -> Tensor:
    return _decibels(_mean((_edges(y) - _edges(p)).abs()))


def _edge_contrast(p: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001 - of the prediction alone
    return _mean(_edges(p))


_METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "perceptual_distance": _perceptual_distance,
    "psnr_db": _psnr_db,
    "ssim": _ssim,
    "l1": _l1,
    "mse": _mse,
    "gdl": _gdl,
    "sharpness_db": _sharpness_db,
    "edge_contrast": _edge_contrast,
}
