"""Two clips laid over each other in time: frames at one rate, and sums for every shift of one against the other.

In: shards, or pictures and how many a second. Out: frames, and arrays with an entry for each shift.
"""

from __future__ import annotations

import numpy as np

from vidpred.data.shards import Shards
from vidpred.records import Segment

RATE = 10
"""Frames a second that are looked at, where there are as many."""
FEWEST = 8
"""Frames of a segment that are looked at in any case, where there are as many."""


def sampled(shards: Shards, segment: Segment) -> tuple[np.ndarray, float]:
    """Frames at `RATE` or a little more, and how many a second: uint8 (n, H, W, 3)."""
    fps = shards.clips[segment.clip].fps
    step = max(1, min(int(fps / RATE + 1e-6), segment.length // FEWEST))
    return shards.frames(segment.clip, segment.start, (segment.length - 1) // step + 1, step), fps / step


def ticks(length: int, rate: float, wanted: float) -> np.ndarray:
    """Which of `length` pictures, `rate` a second, are shown at `wanted` (no more than `rate`) a second."""
    count = max(1, round(length / rate * wanted))
    return np.minimum((np.arange(count) * rate / wanted + 1e-6).astype(np.int64), length - 1)


class Shifts:
    """All shifts of n pictures against m others, from the one where the last of the m meets the first of the n.

    Attributes:
        overlap: How many pictures meet, for each of the n + m - 1 shifts.
    """

    def __init__(self, n: int, m: int) -> None:
        """Counts them."""
        self.n, self.m = n, m
        by = self.by(np.arange(n + m - 1))
        self._first = np.maximum(0, -by)
        self._end = np.minimum(n, m - by)
        self.overlap: np.ndarray = self._end - self._first

    def by(self, entry: np.ndarray) -> np.ndarray:
        """What an entry stands for: picture i of the n meets picture i + by of the m."""
        return entry - (self.n - 1)

    def summed(self, values: np.ndarray) -> np.ndarray:
        """Sums of (n - k, m - k) values over the pairs that meet, for any k."""
        entry = np.arange(values.shape[1]) - np.arange(values.shape[0])[:, None] + self.n - 1
        return np.bincount(entry.ravel(), values.ravel(), minlength=len(self.overlap))

    def meeting(self, values: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the values (n, …) and of the others (m, …) that meet: (n + m - 1, …) each."""
        before, before_others = (np.concatenate([np.zeros_like(v[:1]), np.cumsum(v, axis=0)]) for v in (values, others))
        by = self.by(np.arange(len(self.overlap)))
        ends, firsts = self._end + by, self._first + by
        return before[self._end] - before[self._first], before_others[ends] - before_others[firsts]
