"""What predictions are judged by: frames and their truth in, one figure a frame out.

What is scored is what a user gets: frames clamped and rounded to 8 bits. Maps are float32, sums over pixels float64.
`figures.UNITS` has the metrics of every table, `figures.FURTHER_UNITS` those that are computed where asked for by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from vidpred.models.blocks.distance import perceptual_distance_map
from vidpred.training import conventions, moving
from vidpred.training.figures import FURTHER_UNITS, UNITS
from vidpred.training.learned import lpips
from vidpred.training.similarity import ms_ssim, ssim_map
from vidpred.types import to_uint8

CAP_DB = 60.0
"""Of `psnr_db` and `sharpness_db`: frames without any error would be infinitely good."""


@torch.no_grad()
def score(
    prediction: Tensor, target: Tensor, *, only: Collection[str] | None = None, last: Tensor | None = None
) -> dict[str, Tensor]:
    """Metrics of every frame.

    Args:
        prediction: (B, N, 3, H, W) float in [0, 1] or beyond.
        target: Same shape.
        only: Names of the metrics to compute, also of `FURTHER_UNITS`; None for all of `UNITS`.
        last: (B, 3, H, W), the last frame of the context; `*_moving` and `moving_share` need it.

    Returns:
        Metric name to (B, N) float64, in the order of `UNITS` and `FURTHER_UNITS`. NaN: `*_moving` of a frame in
        which nothing moves.

    Raises:
        UserError: SSIM is asked for and frames are smaller than its window; or `lpips`, and its weights are missing.
        ValueError: the shapes differ, `only` names a metric that is not there, or one that needs `last` without it.
    """
    if prediction.shape != target.shape or prediction.dim() != 5:
        raise ValueError(f"prediction is {tuple(prediction.shape)}, target {tuple(target.shape)}: both (B, N, 3, H, W)")
    names = [*UNITS, *FURTHER_UNITS]
    wanted = set(UNITS if only is None else only)
    if unknown := wanted.difference(names):
        raise ValueError(f"no metric is called {', '.join(sorted(unknown))}: there are {', '.join(names)}")
    if of_moving := wanted & _OF_MOVING.keys():
        if last is None:
            raise ValueError(f"{', '.join(sorted(of_moving))}: give the last frame of the context as `last`")
        if last.shape != target[:, 0].shape:
            raise ValueError(f"last is {tuple(last.shape)}, target {tuple(target.shape)}: last is (B, 3, H, W)")
    found: dict[str, Tensor] = {}
    with torch.autocast(target.device.type, enabled=False):
        if as_seen := wanted & _METRICS.keys():
            p, y = _eight_bits(prediction), _eight_bits(target)
            found |= {name: _METRICS[name](p, y) for name in as_seen}
        if of_moving and last is not None:
            p, y = _eight_bits(prediction), _eight_bits(target)
            where = moving.moving_pixels(_eight_bits(last), y)
            found |= {name: _OF_MOVING[name](p, y, where) for name in of_moving}
        found |= {name: _AS_GIVEN[name](prediction.float(), target.float()) for name in wanted & _AS_GIVEN.keys()}
    return {name: found[name] for name in names if name in found}


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
    return _mean(ssim_map(p, y))


def _ms_ssim3(p: Tensor, y: Tensor) -> Tensor:
    return ms_ssim(p, y).mean(dim=2)


def _capped_share(p: Tensor, y: Tensor) -> Tensor:
    """1 where PSNR is capped, else 0: its mean is the share of frozen frames."""
    return (_mse(p, y) <= 10 ** (-CAP_DB / 10)).double()


def _residual_bpp(p: Tensor, y: Tensor) -> Tensor:
    """What an entropy coder without context would spend on the residual: a histogram for each channel of a frame."""
    levels = 511  # -255 to 255
    residual = (y - p).mul(255).round().long().flatten(3) + 255
    rows = residual.flatten(0, 2)
    place = torch.arange(len(rows), device=rows.device)[:, None] * levels
    counts = torch.bincount((rows + place).flatten(), minlength=len(rows) * levels).view(-1, levels)
    bits: Tensor = torch.special.entr(counts.double() / rows.shape[1]).sum(dim=1) / math.log(2)
    return bits.view(residual.shape[:3]).sum(dim=2)


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
    "capped_share": _capped_share,
    "ms_ssim3": _ms_ssim3,
    "residual_bpp": _residual_bpp,
    "lpips": lpips,
}
"""Of frames clamped and rounded to 8 bits."""

_OF_MOVING: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "pd_moving": moving.pd_moving,
    "psnr_moving_db": lambda p, y, where: _decibels(moving.mse_moving(p, y, where)),
    "ssim_moving": moving.ssim_moving,
    "moving_share": moving.moving_share,
}
"""Of the same frames, and of which pixels move."""

_AS_GIVEN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ssim_openstl": conventions.ssim_openstl,
    "mse_sum": conventions.mse_sum,
    "mae_sum": conventions.mae_sum,
    "l2_sum": conventions.l2_sum,
    "total_loss": conventions.total_loss,
} | {f"{name}_float": _METRICS[name] for name in UNITS}
"""Of frames neither clamped nor rounded."""
