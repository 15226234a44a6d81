"""How often a claim is false: models that are equally good, judged again and again. `python -m benchmarks.claims`

Each simulation draws videos of different levels, and in each a few stretches of two seconds in which one model or the
other is ahead by chance; `correlation` is that of a stretch with the one before. The table stands in
docs/evaluation.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from vidpred.evaluation.intervals import Gain, beats, paired_gain

SHAPES: dict[str, list[int]] = {
    "11 videos of 1": [1] * 11,
    "10 of 2": [2] * 10,
    "19 of 2": [2] * 19,
    "7 of 3": [3] * 7,
    "11 of 3": [3] * 11,
    "3 of 10": [10] * 3,
    "1 of 20": [20],
    "30 of 1": [1] * 30,
    "40 of 2": [2] * 40,
    "15 of 1 and 2 of 10": [1] * 15 + [10] * 2,
}
"""Stretches of each video."""
WINDOWS = 4
"""Of a stretch."""


def no_difference(videos: Sequence[int], *, correlation: float, seed: int) -> Gain:
    """The gain of one model over another that is as good.

    Args:
        videos: Stretches of each.
        correlation: Of one stretch with the next in who is ahead.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    video = np.repeat(np.arange(len(videos)), videos)
    ahead = rng.normal(size=len(video))
    for i in np.flatnonzero(np.diff(video, prepend=-1) == 0):
        ahead[i] = correlation * ahead[i - 1] + np.sqrt(1 - correlation**2) * ahead[i]
    block = np.repeat(np.arange(len(video)), WINDOWS)
    level = rng.lognormal(2.5, 0.7, len(videos))[video][block] * rng.lognormal(0, 0.3, len(block))
    ratio = np.exp(0.1 * ahead[block] + rng.normal(0, 0.05, len(block)))
    return paired_gain(level * ratio**0.5, level / ratio**0.5, video[block], blocks=block)


def main() -> None:
    """Prints the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--simulations", type=int, default=1000)
    count = options.parse_args().simulations
    correlations = (0.0, 0.2, 0.4)
    table = Table("stretches", "units", *(f"correlation {c}: claims, interval above 0" for c in correlations))
    for name, videos in SHAPES.items():
        cells, units = [], 0
        for correlation in correlations:
            claims = above = 0
            for seed in range(count):
                gain = no_difference(videos, correlation=correlation, seed=seed)
                claims += beats(gain)
                above += min(gain["pooled_interval"][0], gain["macro_interval"][0]) > 0
                units = gain["units"]
            cells.append(f"{100 * claims / count:.1f} %, {100 * above / count:.1f} %")
        table.add_row(name, str(units), *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
