"""How sure a gain is: 95 % intervals by a paired bootstrap over what is independent.

Whole groups are drawn, or where the split is by time, stretches of two seconds within each video. `pooled` weighs
every window alike, `macro` every group: a gain on one long video is not a gain on videos. Distances have a gain, a
share of the baseline's; what is in decibels or has no zero, such as SSIM, has a difference.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidpred.training.figures import NOTHING_MOVES, STILL, relative_gain

DRAWS = 2000
"""Bootstrap samples."""
MIN_UNITS = 20
"""Independent units that a claim needs at least."""
FLOOR = STILL
"""Added to each group's mean PD before ratios are taken, in grey levels: a frozen video divides nothing by nothing."""


class Gain(TypedDict):
    """A relative gain: 0.2 is a fifth less distance than the baseline's."""

    still: bool
    """Nothing moves in these windows: there is nothing to gain, and all figures are 0."""
    pooled: float
    macro: float
    pooled_interval: list[float]
    macro_interval: list[float]
    units: int
    """Independent units that the interval rests on."""


class Difference(TypedDict):
    """A difference of two scores, the candidate's minus the baseline's, in their unit."""

    pooled: float
    macro: float
    pooled_interval: list[float]
    macro_interval: list[float]
    units: int
    """Independent units that the interval rests on."""


def paired_gain(
    candidate: ArrayLike,
    baseline: ArrayLike,
    groups: ArrayLike,
    *,
    blocks: ArrayLike | None = None,
    floor: float = FLOOR,
    seed: int = 0,
) -> Gain:
    """The gain of a candidate over a baseline on the same windows, with its 95 % intervals.

    Args:
        candidate: (N,) distance of each window; lower is better.
        baseline: (N,) the other model's.
        groups: (N,) name of the group of each window.
        blocks: (N,) name of the block of each window, each within one group; drawn within groups instead of whole
            groups. None: groups are drawn.
        floor: Added to the mean of each group, in the unit of the distance; a tenth of a grey level for PD. Windows
            whose mean baseline is below it are those in which nothing moves.
        seed: Of the draws.

    Raises:
        ValueError: a block lies in several groups.
    """
    mine, other = np.asarray(candidate, np.float64), np.asarray(baseline, np.float64)
    unit, of_unit = _units(groups, blocks)
    units = len(of_unit)
    overall = relative_gain(float(mine.mean()), float(other.mean()), still=floor)
    if overall is None:
        nothing = [0.0, 0.0]
        return Gain(still=True, pooled=0, macro=0, pooled_interval=nothing, macro_interval=nothing, units=units)
    sums = np.stack([np.bincount(unit, x, minlength=units).astype(float) for x in (mine, other, np.ones_like(mine))])
    whole = blocks is None
    draws = _draws(of_unit, whole=whole, seed=seed)
    pooled = [_pooled(sums[:, d], floor) for d in draws]
    macro = [_macro(sums[:, d], of_unit[d], whole=whole, floor=floor) for d in draws]
    return {
        "still": False,
        "pooled": overall,
        "macro": _macro(sums, of_unit, whole=whole, floor=floor),
        "pooled_interval": _middle(pooled),
        "macro_interval": _middle(macro),
        "units": units,
    }


def paired_difference(
    candidate: ArrayLike,
    baseline: ArrayLike,
    groups: ArrayLike,
    *,
    blocks: ArrayLike | None = None,
    seed: int = 0,
) -> Difference:
    """By how much a candidate's score differs from a baseline's on the same windows, with its 95 % intervals.

    Windows in which either has none, NaN, are left out; so are groups of nothing else.

    Args:
        candidate: (N,) score of each window, such as PSNR.
        baseline: (N,) the other model's.
        groups: (N,) name of the group of each window.
        blocks: As in `paired_gain`.
        seed: Of the draws.

    Raises:
        ValueError: no window has both scores, or a block lies in several groups.
    """
    difference = np.asarray(candidate, np.float64) - np.asarray(baseline, np.float64)
    there = ~np.isnan(difference)
    if not there.any():
        raise ValueError("no window has a score of both models")
    difference = difference[there]
    unit, of_unit = _units(np.asarray(groups)[there], None if blocks is None else np.asarray(blocks)[there])
    units = len(of_unit)
    sums = np.stack(
        [np.bincount(unit, x, minlength=units).astype(float) for x in (difference, np.ones_like(difference))]
    )
    whole = blocks is None
    draws = _draws(of_unit, whole=whole, seed=seed)
    return {
        "pooled": float(difference.mean()),
        "macro": _macro_mean(sums, of_unit, whole=whole),
        "pooled_interval": _middle([float(np.divide(*sums[:, d].sum(axis=1))) for d in draws]),
        "macro_interval": _middle([_macro_mean(sums[:, d], of_unit[d], whole=whole) for d in draws]),
        "units": units,
    }


def beats(gain: Gain) -> bool:
    """Whether the whole interval lies above zero, pooled and macro, and rests on enough units for a claim."""
    return gain["units"] >= MIN_UNITS and min(gain["pooled_interval"][0], gain["macro_interval"][0]) > 0


def why_not(gain: Gain) -> str:
    """What keeps a gain from being a claim, in words; empty where it is one."""
    if gain["still"]:
        return f"{NOTHING_MOVES}, so there is nothing to gain"
    if gain["units"] < MIN_UNITS:
        units = "1 group or stretch" if gain["units"] == 1 else f"{gain['units']} independent groups or stretches"
        return f"it is judged by {units} of time, and a claim needs {MIN_UNITS}"
    low, high = min(gain["pooled_interval"], gain["macro_interval"])
    if low > 0:
        return ""
    verdict = "holds zero" if high > 0 else "says that it is worse"
    return f"the 95 % interval of the gain, {100 * low:+.1f} to {100 * high:+.1f} %, {verdict}"


def _units(groups: ArrayLike, blocks: ArrayLike | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of each window's unit, and of each unit's group."""
    group = np.unique(np.asarray(groups), return_inverse=True)[1]
    unit = group if blocks is None else np.unique(np.asarray(blocks), return_inverse=True)[1]
    of_unit = np.zeros(int(unit.max()) + 1, np.int64)
    of_unit[unit] = group
    if (of_unit[unit] != group).any():
        raise ValueError("a block lies in several groups: name blocks by their group too")
    return unit, of_unit


def _draws(of_unit: NDArray[np.int64], *, whole: bool, seed: int) -> NDArray[np.int64]:
    """(DRAWS, units): which units each sample holds."""
    rng = np.random.default_rng(seed)
    units = len(of_unit)
    if whole:
        return rng.integers(0, units, (DRAWS, units))
    # within each group, so that every video keeps its weight
    members = [np.flatnonzero(of_unit == g) for g in range(int(of_unit.max()) + 1)]
    return np.concatenate([m[rng.integers(0, len(m), (DRAWS, len(m)))] for m in members], axis=1)


def _pooled(sums: NDArray[np.float64], floor: float) -> float:
    mine, other, count = sums.sum(axis=1)
    return float(1 - mine / max(other, floor * count))  # a draw may hold nothing but frozen videos


def _macro(sums: NDArray[np.float64], group: NDArray[np.int64], *, whole: bool, floor: float) -> float:
    """One minus the geometric mean over groups of the ratio of their means; a group drawn twice counts twice."""
    if not whole:
        sums = np.stack([np.bincount(group, s, minlength=int(group.max()) + 1) for s in sums])
        sums = sums[:, sums[2] > 0]
    mine, other, count = sums
    return float(1 - np.exp(np.mean(np.log((mine / count + floor) / (other / count + floor)))))


def _macro_mean(sums: NDArray[np.float64], group: NDArray[np.int64], *, whole: bool) -> float:
    """The mean over groups of their means; a group drawn twice counts twice."""
    if not whole:
        sums = np.stack([np.bincount(group, s, minlength=int(group.max()) + 1) for s in sums])
    total, count = sums
    return float(np.mean(total / count))


def _middle(values: list[float]) -> list[float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return [float(low), float(high)]
