"""Where a model is good: its gain by how much moves, in ten parts of the windows as large as each other.

In: the distance of each window, the model's and `copy_last`'s. Out: a gain for each tenth, from the stillest windows to
the liveliest. What moves is told by `copy_last`'s distance: what the truth differs from the last frame that was seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vidpred.training.figures import relative_gain

PARTS = 10


def gains_by_motion(candidate: ArrayLike, copied: ArrayLike, *, parts: int = PARTS) -> list[float | None]:
    """The gain over copying in each part of the windows, ordered by motion; None where nothing moves or no window is.

    Args:
        candidate: (N,) distance of each window.
        copied: (N,) that of `copy_last`.
        parts: How many.
    """
    mine, other = np.asarray(candidate, np.float64), np.asarray(copied, np.float64)
    order = np.argsort(other, kind="stable")
    return [
        relative_gain(float(mine[some].mean()), float(other[some].mean())) if len(some) else None
        for some in np.array_split(order, parts)
    ]


def motion_limits(copied: ArrayLike, *, parts: int = PARTS) -> list[float]:
    """The mean of `copy_last`'s distance in each part; NaN where no window is."""
    ordered = np.sort(np.asarray(copied, np.float64))
    return [float(some.mean()) if len(some) else float("nan") for some in np.array_split(ordered, parts)]
