"""Stretches of videos with a class: how much two overlap, which of many to keep, and how good a list of them is.

In: what was found, with scores, and the truth. Out: temporal IoU, a list without doubles, and mAP.

The figures are those of ActivityNet's evaluation (Caba Heilbron et al. 2015): what is found of a class, in all videos
together, takes its turn by falling score and is right where it overlaps a stretch of the truth that none before it has
taken, the one that it overlaps most first; precision is interpolated, so that it never rises with recall, and its mean
over recall is the average precision. The mean is over the classes that the truth has: a class that is nowhere in the
truth counts for nothing, however often it is found, and one that is never found counts 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = (0.3, 0.5, 0.7)
"""Of the temporal IoU, from which on two stretches are taken for the same."""


class Span(NamedTuple):
    """A stretch of a video, in seconds from its start."""

    start: float
    end: float
    label: str
    """The class."""
    score: float = 1.0
    """How sure it is, in [0, 1]; the truth is."""


def overlaps(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Temporal IoU of stretches (N, 2) with stretches (M, 2), each start and end: (N, M) in [0, 1]."""
    shared = np.minimum(one[:, None, 1], other[None, :, 1]) - np.maximum(one[:, None, 0], other[None, :, 0])
    shared = np.maximum(shared, 0)
    either = np.diff(one)[:, 0][:, None] + np.diff(other)[:, 0][None, :] - shared
    return np.asarray(np.divide(shared, either, out=np.zeros_like(shared), where=either > 0))


def bounds(spans: Sequence[Span]) -> NDArray[np.float64]:
    """Starts and ends: (N, 2)."""
    return np.array([(span.start, span.end) for span in spans], np.float64).reshape(-1, 2)


def suppressed(spans: Sequence[Span], most: float, *, of_class: bool = True) -> list[Span]:
    """Those that no surer one of the same class (without `of_class`: of any) overlaps by more than `most` (tIoU)."""
    ranked = sorted(spans, key=lambda span: (-span.score, span.start, span.end, span.label))
    edges = bounds(ranked)
    classes = np.unique([span.label for span in ranked], return_inverse=True)[1]
    kept: list[int] = []
    for i in range(len(ranked)):
        alike = overlaps(edges[i : i + 1], edges[kept])[0] > most
        if not (alike & (classes[kept] == classes[i])).any() if of_class else not alike.any():
            kept.append(i)
    return [ranked[i] for i in kept]


def average_precision(found: Sequence[tuple[str, Span]], truth: Sequence[tuple[str, Span]], threshold: float) -> float:
    """Interpolated average precision of one class: in [0, 1].

    Args:
        found: A video's name and a stretch of it, in any order; of two as sure the first given is taken first.
        truth: The same, whatever their scores.
        threshold: Temporal IoU from which on a stretch is right.

    Raises:
        ValueError: there is no truth.
    """
    if not truth:
        raise ValueError("a class without a stretch in the truth has no average precision")
    of_video: dict[str, list[Span]] = {}
    for video, span in truth:
        of_video.setdefault(video, []).append(span)
    places: dict[str, list[int]] = {}
    for i, (video, _) in enumerate(found):
        places.setdefault(video, []).append(i)
    right = np.zeros(len(found), bool)
    for video, numbers in places.items():
        right[numbers] = matched([found[i][1] for i in numbers], of_video.get(video, ()), threshold)
    return interpolated(right[ranking([span.score for _, span in found])], len(truth))


def ranking(scores: Sequence[float] | NDArray[np.float64]) -> NDArray[np.int64]:
    """Places of scores, the highest first; of two alike the first given."""
    return np.argsort(-np.asarray(scores, np.float64), kind="stable")


def matched(found: Sequence[Span], truth: Sequence[Span], threshold: float) -> NDArray[np.bool_]:
    """Which stretches of one video and class are right: each takes at most one of the truth, and none takes one twice.

    Args:
        found: In any order; they take their turn by falling score.
        truth: What there is to be found.
        threshold: Temporal IoU from which on a stretch is right.
    """
    right, taken = np.zeros(len(found), bool), np.zeros(len(truth), bool)
    if not truth:
        return right
    shared = overlaps(bounds(found), bounds(truth))
    for i in ranking([span.score for span in found]):
        free = np.where(taken, -1.0, shared[i])
        best = int(free.argmax())
        if free[best] >= threshold:
            right[i] = taken[best] = True
    return right


def interpolated(right: NDArray[np.bool_], count: int) -> float:
    """Area under precision over recall, precision being the best at that recall or beyond.

    Args:
        right: Which of a ranking are, the surest first.
        count: How many there are to be found.
    """
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best_from_here[right].sum() / count)


def judged(
    found: Mapping[str, Sequence[Span]],
    truth: Mapping[str, Sequence[Span]],
    thresholds: Sequence[float] = THRESHOLDS,
) -> dict[float, dict[str, float]]:
    """Average precision of each class of the truth, at each threshold; the mean over classes is mAP.

    Args:
        found: For each video what was found in it. A video that the truth does not have is not counted.
        truth: For each video what happens in it; an empty list is a video in which nothing does.
        thresholds: Of the temporal IoU.
    """
    labels = sorted({span.label for spans in truth.values() for span in spans})
    told = {}
    for threshold in thresholds:
        told[threshold] = {
            label: average_precision(
                [(video, span) for video in truth for span in found.get(video, ()) if span.label == label],
                [(video, span) for video, spans in truth.items() for span in spans if span.label == label],
                threshold,
            )
            for label in labels
        }
    return told


def mean_of(precisions: Mapping[str, float]) -> float:
    """mAP at one threshold; 0 where the truth has no class."""
    return float(np.mean(list(precisions.values()))) if precisions else 0.0
