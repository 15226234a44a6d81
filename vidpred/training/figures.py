"""What the figures of a table mean: their units, which way is better, and gains over copying or averaging frames.

Without torch, for those who only show figures. `UNITS` has the metrics of every table; `FURTHER_UNITS` those that are
computed where they are asked for by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

UNITS: dict[str, str] = {
    "perceptual_distance": "of 765",
    "psnr_db": "dB",
    "ssim": "",
    "l1": "",
    "mse": "",
    "gdl": "",
    "sharpness_db": "dB",
    "edge_contrast": "",
}
"""Every metric that `score` computes unasked, and its unit; an empty one is of pixels in [0, 1] or has none. PD is 765
where black stands for white, and about 3 d where a grey is d levels of 255 off."""

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

FURTHER_UNITS: dict[str, str] = {
    "capped_share": "",
    "ms_ssim3": "",
    "residual_bpp": "bits",
    "lpips": "",
    "pd_moving": "of 765",
    "psnr_moving_db": "dB",
    "ssim_moving": "",
    "moving_share": "",
    "ssim_openstl": "",
    "mse_sum": "",
    "mae_sum": "",
    "l2_sum": "",
    "total_loss": "",
} | {f"{name}_float": unit for name, unit in UNITS.items()}
"""Metrics that `score` computes where they are asked for by name; `*_float`: of frames neither clamped nor rounded."""

FURTHER_HIGHER_IS_BETTER: dict[str, bool | None] = {
    "capped_share": None,
    "ms_ssim3": True,
    "residual_bpp": False,
    "lpips": False,
    "pd_moving": False,
    "psnr_moving_db": True,
    "ssim_moving": True,
    "moving_share": None,
    "ssim_openstl": True,
    "mse_sum": False,
    "mae_sum": False,
    "l2_sum": False,
    "total_loss": False,
} | {f"{name}_float": better for name, better in HIGHER_IS_BETTER.items()}
"""As `HIGHER_IS_BETTER`. None also: a share of capped or moving pixels says how the others are to be read."""

BASELINES: dict[str, tuple[str, ...]] = {
    "predict": ("copy_last",),
    "interpolate": ("copy_first", "copy_last", "average"),
    "classify": ("majority",),
}
"""For each `task.kind` the models without parameters that every other one is held against: the best of them is the
bar, that is the one with the lowest mean PD on the same windows. To classify, always to say the class that is
commonest in training."""

STILL = 0.1
"""The bar's PD, a thirtieth of a grey level, below which nothing moves: a gain over it would be a ratio to noise."""
NOTHING_MOVES = "nothing moves in these windows"


class Verdict(NamedTuple):
    """What `evaluate` found of a model, against the best of its baselines."""

    baseline: str
    """Which it was."""
    gain: Mapping[str, Any]
    """`intervals.Gain`, in PD."""
    beats: bool
    """Whether it is shown to be better."""


def verdict(metrics: Mapping[str, Any]) -> Verdict:
    """What results/evaluate/metrics.json says of the model."""
    baseline = metrics.get("baseline", "copy_last")  # older files have one baseline only
    return Verdict(baseline, metrics[f"over_{baseline}"], metrics[f"beats_{baseline}"])


def interval_of(gain: Mapping[str, Any], kind: str = "pooled") -> tuple[float, float] | None:
    """The 95 % interval of a gain; None where it has none: one group alone says nothing of how groups vary.

    Args:
        gain: As `intervals.Gain`.
        kind: `pooled` or `macro`.
    """
    if gain.get("units") == 1:
        return None
    low, high = gain[f"{kind}_interval"]
    return low, high


def best_baseline(distances: Mapping[str, float], *, prefix: str = "") -> tuple[str, float]:
    """The name and the distance of the baseline that comes nearest.

    Args:
        distances: By name; whatever else there is besides baselines is passed over.
        prefix: Before each name, such as `val_` in a row of validation.
    """
    found = {name: distances[prefix + name] for name in BASELINES["interpolate"] if prefix + name in distances}
    name = min(found, key=found.__getitem__)
    return name, found[name]


def relative_gain(distance: float, baseline: float, *, still: float = STILL) -> float | None:
    """One minus the ratio of two distances: 0.2 is a fifth less than the baseline's. None where nothing moves.

    Args:
        distance: The model's; lower is better.
        baseline: That of the bar, such as copying the last frame, in the same unit.
        still: Baselines below it are those of windows in which nothing moves; in that unit.
    """
    return None if baseline < still else 1 - distance / baseline


def gain_in_words(gain: float) -> str:
    """`+63.9 %`."""
    return f"{100 * gain:+.1f} %"
