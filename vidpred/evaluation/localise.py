"""From what a classifier believes of windows of a long video to stretches with a class.

In: scores of windows at known places. Out: stretches in frames, with a class and how sure it is. Nothing here reads a
video or runs a model.

`sliding`   windows all along the video; what is believed of a frame is the mean over the windows that hold it, those in
            whose middle it lies counting most; a stretch is where a class stays above a level.
`proposals` a light first pass, windows side by side, proposes where anything but background may happen (after temporal
            actionness grouping, Zhao et al. 2017, arXiv 1704.06228); a second slides the windows over these stretches
            only, and tells their class and their ends.

Several levels are looked at, and so a stretch is found several times, with other ends; of those the one is kept that
differs most from what lies around it (outer-inner contrast, Shou et al. 2018, arXiv 1807.08333).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidpred.evaluation.detections import Span, suppressed
from vidpred.records import BACKGROUND

Floats = NDArray[np.float64]

WAYS = ("sliding", "proposals")


@dataclass(frozen=True)
class Looks:
    """How stretches are looked for."""

    levels: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    """Of what is believed of a class, from which on a frame belongs to a stretch."""
    proposed: float = 0.3
    """Of what is believed of all classes but the background, from which on a frame belongs to a proposal."""
    around: float = 0.25
    """Share of its length on either side that a stretch is compared with."""
    overlap: float = 0.2
    """Temporal IoU from which on two stretches of one class are taken for the same."""
    least_score: float = 0.01
    """Stretches that are less sure are left out."""


def stride_of(span: int) -> int:
    """Frames from one window to the next: a quarter of a window."""
    return max(1, span // 4)


def per_frame(starts: NDArray[np.int64], scores: Floats, *, count: int, span: int) -> Floats:
    """What is believed of each frame: (count, classes), each row adding up to 1.

    Args:
        starts: First frame of each window, (N,).
        scores: What is believed of each, (N, classes).
        count: Frames of the video.
        span: Frames of a window; together they hold every frame.
    """
    weights = np.sin(np.pi * (np.arange(span) + 0.5) / span) ** 2
    sums, total = np.zeros((count, scores.shape[1])), np.zeros(count)
    for offset, weight in enumerate(weights):
        sums[starts + offset] += weight * scores  # no two windows begin at the same frame
        total[starts + offset] += weight
    return np.asarray(sums / total[:, None])


def runs(above: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First frame, and frame after the last, of each stretch of True: (N, 2)."""
    steps = np.diff(np.concatenate([[0], above.astype(np.int8), [0]]))
    return np.stack([np.flatnonzero(steps > 0), np.flatnonzero(steps < 0)], axis=1)


def means(values: Floats, stretches: NDArray[np.int64], around: float = 0) -> tuple[Floats, Floats]:
    """Mean of a curve (T,) in each stretch (N, 2), and in what lies around it on either side (0 where nothing does)."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    first, last = stretches.T
    length = last - first
    margin = np.maximum(1, np.round(length * around)).astype(np.int64)
    before, after = np.maximum(0, first - margin), np.minimum(len(values), last + margin)
    inside = total[last] - total[first]
    outside, beside = total[after] - total[before] - inside, (after - before) - length
    return inside / length, np.divide(outside, beside, out=np.zeros_like(outside), where=beside > 0)


def sliding(
    believed: Floats, classes: Sequence[str], *, fps: float, least: int, looks: Looks | None = None
) -> list[Span]:
    """Stretches where a class stays above a level, at several levels.

    Args:
        believed: Of each frame and class, (T, classes), as `per_frame` gives it.
        classes: Names, in order; `background` is no one's stretch.
        fps: Frames per second.
        least: Frames of a stretch at the least.
        looks: How they are looked for.

    Returns:
        The surest first. The score is the mean of what is believed in it, less that of what lies around it.
    """
    looks = looks or Looks()
    found: list[Span] = []
    for number, label in enumerate(classes):
        if label == BACKGROUND:
            continue
        curve = believed[:, number]
        stretches = _at_levels(curve, looks.levels, least)
        inside, outside = means(curve, stretches, looks.around)
        found += [
            Span(float(first) / fps, float(last) / fps, label, float(score))
            for (first, last), score in zip(stretches, np.minimum(1, inside - outside), strict=True)
            if score >= looks.least_score
        ]
    return suppressed(found, looks.overlap)


def _at_levels(curve: Floats, levels: Sequence[float], least: int) -> NDArray[np.int64]:
    """Different stretches of so many frames at the least where a curve is at or above any of the levels."""
    none = np.zeros((0, 2), np.int64)
    found = np.unique(np.concatenate([none, *(runs(curve >= level) for level in levels)]), axis=0)
    return np.asarray(found[found[:, 1] - found[:, 0] >= least])


def happening(believed: Floats, classes: Sequence[str]) -> Floats:
    """How likely it is of each frame that anything happens in it: (T,). Without a class `background` how sure the
    likeliest class is."""
    if BACKGROUND in classes:
        return np.asarray(1 - believed[:, list(classes).index(BACKGROUND)])
    return np.asarray(believed.max(axis=1))


def proposals(likely: Floats, *, span: int, looks: Looks | None = None) -> NDArray[np.int64]:
    """Where something may happen: stretches (N, 2), with half a window on either side, that do not touch.

    Args:
        likely: That something happens in a frame, (T,), as `happening` gives it of windows side by side.
        span: Frames of a window.
        looks: How they are looked for.
    """
    near = np.zeros(len(likely), bool)
    for first, end in runs(likely >= (looks or Looks()).proposed):
        near[max(0, first - span // 2) : end + span // 2] = True
    return runs(near)


def grid_within(stretches: NDArray[np.int64], *, count: int, span: int, stride: int) -> NDArray[np.int64]:
    """First frames of windows, `stride` apart, that lie in a stretch (N, 2); in one shorter than a window the one that
    lies around its middle. Sorted, each once."""
    last = max(0, count - span)
    wanted = np.zeros(last // stride + 1, bool)
    for first, end in stretches:
        begin, stop = -(-first // stride), min(end - span, last) // stride + 1
        if stop > begin:
            wanted[begin:stop] = True
        else:
            wanted[int(np.clip(round((first + end - span) / 2 / stride), 0, last // stride))] = True
    return np.flatnonzero(wanted) * stride
