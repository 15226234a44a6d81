"""From what a classifier believes of windows of a long video to stretches with a class.

In: scores of windows at known places, or how much moves in each frame. Out: stretches in frames, with a class and how
sure it is. Nothing here reads a video or runs a model.

`sliding`   windows all along the video; what is believed of a frame is the mean over the windows that hold it, those in
            whose middle it lies counting most; a stretch is where a class stays above a level.
`proposals` a first pass that runs no model: where more moves than elsewhere, at several levels (after temporal
            actionness grouping, Zhao et al. 2017, arXiv 1704.06228); a second in which the classifier scores windows in
            these stretches only.

Both look at several levels at once and so find a stretch several times, with other ends; of those the one is kept that
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

    levels: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    """Of what is believed of a class, from which on a frame belongs to a stretch."""
    quantiles: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    """Of how much moves in the frames of the video, from which on a frame belongs to a proposal."""
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
        span: Frames of a window.

    Frames that no window holds get what is believed of the nearest that one holds.
    """
    weights = np.sin(np.pi * (np.arange(span) + 0.5) / span) ** 2
    sums, total = np.zeros((count, scores.shape[1])), np.zeros(count)
    for offset, weight in enumerate(weights):
        sums[starts + offset] += weight * scores  # no two windows begin at the same frame
        total[starts + offset] += weight
    held = np.flatnonzero(total)
    sums[held] /= total[held, None]
    nearest = held[np.clip(np.searchsorted(held, np.arange(count)), 0, len(held) - 1)]
    return np.asarray(sums[np.where(total > 0, np.arange(count), nearest)])


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
        The surest first. The score is the mean of what is believed in it, less what is believed around it.
    """
    looks = looks or Looks()
    found: list[Span] = []
    for number, label in enumerate(classes):
        if label == BACKGROUND:
            continue
        curve = believed[:, number]
        stretches = _at_levels(curve, looks.levels, least)
        found += _spans(stretches, _scores(curve, stretches, looks), label, fps=fps, looks=looks)
    return suppressed(found, looks.overlap)


def _at_levels(curve: Floats, levels: Sequence[float], least: int) -> NDArray[np.int64]:
    """Different stretches of so many frames at the least where a curve is at or above any of the levels."""
    none = np.zeros((0, 2), np.int64)
    found = np.unique(np.concatenate([none, *(runs(curve >= level) for level in levels)]), axis=0)
    return np.asarray(found[found[:, 1] - found[:, 0] >= least])


def _scores(curve: Floats, stretches: NDArray[np.int64], looks: Looks) -> Floats:
    inside, outside = means(curve, stretches, looks.around)
    return np.asarray(np.clip(inside - outside, 0, 1))


def _spans(stretches: NDArray[np.int64], scores: Floats, label: str, *, fps: float, looks: Looks) -> list[Span]:
    return [
        Span(float(first) / fps, float(last) / fps, label, float(score))
        for (first, last), score in zip(stretches, scores, strict=True)
        if score >= looks.least_score
    ]


def proposals(energy: Floats, *, least: int, looks: Looks | None = None) -> tuple[NDArray[np.int64], Floats]:
    """Where more moves than elsewhere, at several levels.

    Args:
        energy: How much each frame differs from the one before, (T,).
        least: Frames of a stretch at the least.
        looks: How they are looked for.

    Returns:
        Stretches (N, 2), and how much each stands out from what lies around it, in [0, 1].
    """
    looks = looks or Looks()
    curve = steady(energy)
    levels = np.unique(np.quantile(curve, looks.quantiles))
    stretches = _at_levels(curve, [float(level) for level in levels if level > 0], least)
    ranks = np.searchsorted(np.sort(curve), curve, side="left") / max(1, len(curve))
    return stretches, _scores(ranks, stretches, looks)


def steady(energy: Floats) -> Floats:
    """A curve (T,) without what lasts a frame or two, such as a cut: its median over five frames."""
    padded = np.pad(energy, 2, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1))


def grid_within(stretches: NDArray[np.int64], *, count: int, span: int, stride: int) -> NDArray[np.int64]:
    """First frames of the windows, `stride` apart, that lie in a stretch; of one shorter than a window the one around
    its middle. Sorted, each once: a window that several stretches hold is scored once."""
    last = max(0, count - span)
    wanted = np.zeros(last // stride + 1, bool)
    for first, end in _window_ranges(stretches, last=last, span=span, stride=stride):
        wanted[first:end] = True
    return np.flatnonzero(wanted) * stride


def _window_ranges(stretches: NDArray[np.int64], *, last: int, span: int, stride: int) -> NDArray[np.int64]:
    """For each stretch the first of the grid's windows in it, and the one after the last: (N, 2)."""
    first, end = stretches.T
    middle = np.clip(np.round(((first + end) - span) / 2 / stride), 0, last // stride).astype(np.int64)
    begin = -(-first // stride)
    stop = np.minimum(end - span, last) // stride + 1
    none = stop <= begin
    return np.stack([np.where(none, middle, begin), np.where(none, middle + 1, stop)], axis=1)


def classified(
    stretches: NDArray[np.int64],
    standing_out: Floats,
    starts: NDArray[np.int64],
    scores: Floats,
    classes: Sequence[str],
    *,
    count: int,
    span: int,
    stride: int,
    fps: float,
    looks: Looks | None = None,
) -> list[Span]:
    """Proposals with their class: the mean of what is believed of the windows in each.

    Args:
        stretches: (N, 2), of `proposals`.
        standing_out: (N,), likewise.
        starts: Of `grid_within`.
        scores: What is believed of these windows, (len(starts), classes).
        classes: Names, in order.
        count: Frames of the video.
        span: Frames of a window.
        stride: Of the grid.
        fps: Frames per second.
        looks: How they are looked for.

    Returns:
        The surest first. The score is what is believed of the class times how much the proposal stands out.
    """
    looks = looks or Looks()
    if not len(stretches):
        return []
    last = max(0, count - span)
    ranges = _window_ranges(stretches, last=last, span=span, stride=stride)
    at = np.searchsorted(starts, ranges * stride)
    total = np.concatenate([np.zeros((1, scores.shape[1])), np.cumsum(scores, axis=0)])
    believed = (total[at[:, 1]] - total[at[:, 0]]) / np.diff(at)
    found: list[Span] = []
    for number, label in enumerate(classes):
        if label != BACKGROUND:
            found += _spans(stretches, believed[:, number] * standing_out, label, fps=fps, looks=looks)
    return suppressed(found, looks.overlap)
