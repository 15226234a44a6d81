"""How sure a gain is: 95 % intervals by a paired bootstrap over what is independent.

Whole groups are drawn; where the split is by time too, if there are enough videos for a claim. With fewer videos
stretches of two seconds are drawn within each, one fewer than it has: as many would give a variance that is too small
by one part in their number (Rao and Wu 1988). One stretch says nothing of how the stretches of its video vary, and two
neighbours little, so videos of so few are drawn whole, among each other (collapsed strata: Wolter 2007, chapter 2).

`pooled` weighs every window alike, `macro` every group: a gain on one long video is not a gain on videos. Distances
have a gain, a share of the baseline's; what is in decibels or has no zero, such as SSIM, has a difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidpred.training.figures import NOTHING_MOVES, STILL, relative_gain

DRAWS = 2000
"""Bootstrap samples."""
MIN_UNITS = 20
"""Independent units that a claim needs at least."""
MIN_BLOCKS = 3
"""Blocks of a video that are drawn within it at least; those of a shorter one stay together."""
_AT_ONCE = 500_000
"""Units drawn at once: enough to be fast, and no more memory than that."""
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
        blocks: (N,) name of the block of each window, each within one group; drawn within groups where there are
            fewer than `MIN_UNITS` of these. None: groups are drawn.
        floor: Added to the mean of each group, in the unit of the distance; a tenth of a grey level for PD. Windows
            whose mean baseline is below it are those in which nothing moves.
        seed: Of the draws.

    Raises:
        ValueError: a block lies in several groups.
    """
    mine, other = np.asarray(candidate, np.float64), np.asarray(baseline, np.float64)
    unit, group = _units(groups, blocks)
    overall = relative_gain(float(mine.mean()), float(other.mean()), still=floor)
    if overall is None:
        nothing = [0.0, 0.0]
        return Gain(still=True, pooled=0, macro=0, pooled_interval=nothing, macro_interval=nothing, units=len(group))
    sums = _sums(unit, mine, other)
    samples = _Samples.of(group, seed=seed)
    found = [
        (_pooled(drawn, floor), _macro(samples.by_video(drawn), samples.video_weights, floor))
        for drawn in samples.each(sums)
    ]
    pooled, macro = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return {
        "still": False,
        "pooled": overall,
        "macro": float(_macro(_of_groups(sums, group), np.ones(1), floor)),
        "pooled_interval": _middle(pooled),
        "macro_interval": _middle(macro),
        "units": len(group),
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
    unit, group = _units(np.asarray(groups)[there], None if blocks is None else np.asarray(blocks)[there])
    sums = _sums(unit, difference)
    samples = _Samples.of(group, seed=seed)
    found = [
        (np.divide(*drawn.sum(axis=-1)), _weighted(np.divide(*samples.by_video(drawn)), samples.video_weights))
        for drawn in samples.each(sums)
    ]
    pooled, macro = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return {
        "pooled": float(difference.mean()),
        "macro": float(np.mean(np.divide(*_of_groups(sums, group)))),
        "pooled_interval": _middle(pooled),
        "macro_interval": _middle(macro),
        "units": len(group),
    }


def beats(gain: Gain) -> bool:
    """Whether the whole interval lies above zero, pooled and macro, and rests on enough units for a claim."""
    return gain["units"] >= MIN_UNITS and min(gain["pooled_interval"][0], gain["macro_interval"][0]) > 0


def as_gain(difference: Difference) -> Gain:
    """A difference of scores of which more is better, such as top-1, as a gain in their unit."""
    return Gain(still=False, **difference)


def why_not(gain: Gain, *, unit: str = "%") -> str:
    """What keeps a gain from being a claim, in words; empty where it is one.

    Args:
        gain: To be told.
        unit: Of a hundredth of it.
    """
    if gain["still"]:
        return f"{NOTHING_MOVES}, so there is nothing to gain"
    if gain["units"] < MIN_UNITS:
        units = "1 group or stretch" if gain["units"] == 1 else f"{gain['units']} independent groups or stretches"
        return f"it is judged by {units} of time, and a claim needs {MIN_UNITS}"
    low, high = min(gain["pooled_interval"], gain["macro_interval"])
    if low > 0:
        return ""
    verdict = "holds zero" if high >= 0 else "says that it is worse"
    return f"the 95 % interval of the gain, {100 * low:+.1f} to {100 * high:+.1f} {unit}, {verdict}"


def _units(groups: ArrayLike, blocks: ArrayLike | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What is drawn: the number of each window's unit, and of each unit's group."""
    group = np.unique(np.asarray(groups), return_inverse=True)[1]
    if blocks is None:
        return group, np.arange(int(group.max()) + 1)
    block = np.unique(np.asarray(blocks), return_inverse=True)[1]
    of_block = np.zeros(int(block.max()) + 1, np.int64)
    of_block[block] = group
    if (of_block[block] != group).any():
        raise ValueError("a block lies in several groups: name blocks by their group too")
    counts = np.bincount(of_block)
    if len(counts) >= MIN_UNITS:
        return group, np.arange(len(counts))
    few = counts < MIN_BLOCKS
    if few.sum() == 1 and len(few) > 1:  # by itself it would never vary: the shortest of the others joins it
        few[np.argmin(np.where(few, np.iinfo(np.int64).max, counts))] = True
    drawn = np.unique(np.where(few[group], len(of_block) + group, block), return_inverse=True)[1]
    of_unit = np.zeros(int(drawn.max()) + 1, np.int64)
    of_unit[drawn] = group
    return drawn, of_unit


@dataclass(frozen=True)
class _Samples:
    """Bootstrap samples of units. Columns of one video stand side by side."""

    units: NDArray[np.int64]
    """(DRAWS, columns): which unit each sample holds in each column."""
    weights: NDArray[np.float64]
    """(columns,) that make up for units that are not drawn."""
    first: NDArray[np.int64]
    """(videos,) the first column of each."""
    video_weights: NDArray[np.float64]
    """(videos,) likewise."""

    @classmethod
    def of(cls, group: NDArray[np.int64], *, seed: int) -> _Samples:
        """Samples of units, given the group of each: see the module's text."""
        rng = np.random.default_rng(seed)
        counts = np.bincount(group)
        if (counts == 1).all():
            ones = np.ones(len(group))
            return cls(rng.integers(0, len(group), (DRAWS, len(group))), ones, np.arange(len(group)), ones)
        videos = [_of_stratum(np.flatnonzero(group == g), rng, whole=False) for g in np.flatnonzero(counts > 1)]
        alone = np.flatnonzero(counts[group] == 1)
        strata = videos + ([_of_stratum(alone, rng, whole=True)] if len(alone) else [])
        places = np.cumsum([0, *(len(s.weights) for s in strata)])
        return cls(
            units=np.concatenate([s.units for s in strata], axis=1),
            weights=np.concatenate([s.weights for s in strata]),
            first=np.concatenate([s.first + place for s, place in zip(strata, places[:-1], strict=True)]),
            video_weights=np.concatenate([s.video_weights for s in strata]),
        )

    def each(self, sums: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        """The sums, (n, units), of all samples, some at a time: (n, some, columns)."""
        some = max(1, _AT_ONCE // len(self.weights))
        for start in range(0, len(self.units), some):
            yield sums[:, self.units[start : start + some]] * self.weights

    def by_video(self, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, some, columns) added up for each video: (n, some, videos)."""
        return np.add.reduceat(drawn, self.first, axis=-1)


def _of_stratum(members: NDArray[np.int64], rng: np.random.Generator, *, whole: bool) -> _Samples:
    """Samples of one fewer than there are, each weighing so much more: of a video's blocks, or of whole videos."""
    drawn, scale = len(members) - 1, len(members) / (len(members) - 1)
    first = np.arange(drawn if whole else 1)
    return _Samples(
        units=members[rng.integers(0, len(members), (DRAWS, drawn))],
        weights=np.full(drawn, scale),
        first=first,
        video_weights=np.full(len(first), scale if whole else 1.0),
    )


def _sums(unit: NDArray[np.int64], *values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n + 1, units): the sum of each value over the windows of a unit, and how many these are."""
    return np.stack([np.bincount(unit, x).astype(float) for x in (*values, np.ones(len(unit)))])


def _of_groups(sums: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.stack([np.bincount(group, s) for s in sums])


def _pooled(drawn: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    mine, other, count = drawn.sum(axis=-1)
    return np.asarray(1 - mine / np.maximum(other, floor * count))  # a draw may hold nothing but frozen videos


def _macro(of_videos: NDArray[np.float64], weights: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """One minus the geometric mean over videos of the ratio of their means; one drawn twice counts twice."""
    mine, other, count = of_videos
    return np.asarray(1 - np.exp(_weighted(np.log((mine / count + floor) / (other / count + floor)), weights)))


def _weighted(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weighted mean over the last axis."""
    return np.asarray((values * weights).sum(axis=-1) / np.broadcast_to(weights, values.shape[-1:]).sum())


def _middle(values: NDArray[np.float64]) -> list[float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return [float(low), float(high)]
