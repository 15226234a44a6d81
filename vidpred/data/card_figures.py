"""What a data set holds, counted: rows of sources.parquet and the clips of the index in, tables and histograms out.

Plain values that a page or a terminal shows; nothing here draws.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vidpred.records import Clip

Row = Mapping[str, Any]
"""A row of sources.parquet; a column may be missing where a source could not be read."""

BARS = 24
"""Of a histogram, at the most."""
UNKNOWN = "unknown"
STATUSES = ("kept", "dropped", "failed")
FOUND = {
    "frozen_frames": "frames that repeat the one before",
    "freezes": "pictures that stood still too long, where a clip ends",
    "cuts": "cuts, where a clip ends",
    "bars": "sources whose black bars were cut off",
    "still_clips": "clips dropped: too little motion",
    "short_clips": "clips dropped: too few frames",
}
"""Columns of sources.parquet that say what was found in a source, in words."""


@dataclass(frozen=True)
class Histogram:
    """How values are spread."""

    edges: list[float]
    """One more than there are bars; even steps from the first."""
    counts: list[int]
    """Values in each bar; the last holds all that are larger, too."""
    beyond: int
    """How many these are."""
    low: float
    """5th percentile."""
    median: float
    high: float
    """95th percentile."""


def histogram(values: Iterable[float]) -> Histogram | None:
    """Values counted in round steps, up to the 99th percentile; None where there are none."""
    found = np.array([value for value in values if math.isfinite(value)], np.float64)
    if not len(found):
        return None
    low, median, high, top = (float(value) for value in np.percentile(found, [5, 50, 95, 99]))
    least = float(found.min())
    step = _round_step((top - least) / (BARS - 2) or max(abs(top), 1.0) / BARS)
    first = math.floor(least / step)
    bars = min(BARS, math.floor(top / step) - first + 1)
    place = np.clip(np.floor(found / step).astype(np.int64) - first, 0, bars - 1)
    edges = [round((first + i) * step, 10) for i in range(bars + 1)]
    beyond = int((found >= edges[-1]).sum())
    return Histogram(edges, np.bincount(place, minlength=bars).tolist(), beyond, low, median, high)


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20 … (and 0.5, 0.2 …) that is no smaller."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def seconds_of_clips(clips: Iterable[Clip]) -> list[float]:
    """How long each clip is."""
    return [clip.length / clip.fps for clip in clips if clip.fps > 0]


def column(sources: Iterable[Row], name: str) -> list[float]:
    """The values of a column of numbers, of the sources that have one."""
    return [float(row[name]) for row in sources if row.get(name) is not None]


def counted(values: Iterable[str], *, most: int) -> tuple[list[tuple[str, int]], tuple[int, int]]:
    """How often each text stands there, the commonest first; and how many texts are not listed, and their count."""
    tally = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))
    listed = most if len(tally) > most + 1 else len(tally)
    return tally[:listed], (len(tally) - listed, sum(count for _, count in tally[listed:]))


def reasons(sources: Iterable[Row]) -> list[tuple[str, str, int]]:
    """Status, reason and count of what was set aside, the commonest first; dropped before failed.

    What follows a reason's colon belongs to one file only, and is left out.
    """
    tally = Counter((row["status"], row["reason"].split(":")[0]) for row in sources if row["status"] != "kept")
    ordered = sorted(tally.items(), key=lambda item: (item[0][0], -item[1], item[0][1]))
    return [(status, reason, count) for (status, reason), count in ordered]


def counts(sources: Sequence[Row]) -> dict[str, int]:
    """Inputs, and how many of them were kept, dropped and failed."""
    tally = Counter(row["status"] for row in sources)
    return {"inputs": len(sources), **{status: tally[status] for status in STATUSES}}


def found_in(sources: Sequence[Row]) -> list[tuple[str, int, int]]:
    """What was found: in words, how often in all, and in how many sources; what was not found is left out."""
    rows = []
    for name, words in FOUND.items():
        values = [int(row.get(name) or 0) for row in sources]
        rows.append((words, sum(values), sum(value > 0 for value in values)))
    return [row for row in rows if row[1]]


def sizes(sources: Iterable[Row]) -> list[str]:
    """`width×height` of each source that could be read."""
    return [f"{row['width']}×{row['height']}" for row in sources if row.get("width") and row.get("height")]


def rates(sources: Iterable[Row]) -> list[str]:
    """Frames per second of each source that could be read, as text."""
    return [f"{round(value, 2):g}" for value in column(sources, "fps")]


def licences(sources: Iterable[Row]) -> list[str]:
    """The licence of each source, `unknown` where none is told."""
    return [str(row.get("licence") or "").strip() or UNKNOWN for row in sources]


def spread_over(count: int, most: int) -> list[int]:
    """At most so many of `count` rows, evenly over all of them, in order."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))}) if count else []


def moving(clips: Sequence[Clip], most: int, *, frames: int = 2) -> list[int]:
    """Rows of a few clips that move, spread over the livelier half; each has at least so many frames."""
    rows = sorted((i for i, c in enumerate(clips) if c.length >= frames), key=lambda i: (clips[i].motion, clips[i].id))
    lively = [i for i in rows[len(rows) // 2 :] if clips[i].motion > 0]
    return sorted((lively[i] for i in spread_over(len(lively), most)), key=lambda i: (-clips[i].motion, clips[i].id))
