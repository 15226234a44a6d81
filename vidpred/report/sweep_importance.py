"""How much each setting mattered in a sweep, and how far that can be known from so many trials.

The measure is permutation importance (Breiman 2001, doi:10.1023/A:1010933404324) of a forest that predicts log PD from
the settings: half of what its squared error on trials that it has not seen grows by when one setting is shuffled among
them, as a share of the variance. (Half, since a shuffled setting errs twice by its share: so this is its total-effect
index, Sobol 1993, which is 1 for a setting that decides all.) The forest is grown again and again on trials drawn with
replacement, and judged on those that were not drawn; the spread over these draws is the uncertainty that is told.
Trials are compared at one step, since what was stopped early has no figure at the last one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from vidpred.report.sweep_settings import Tried

ALL = "all models"
"""The group in which the model itself is a setting, beside those that all models vary."""
FEWEST = 12
"""Trials below which nothing is said of a group."""
PER_SETTING = 4
"""Trials that there must be for each setting."""
DRAWS, _TREES, _SHUFFLES = 30, 10, 3
MOST = 400
"""Trials of a group that the forest sees; more make it slower, not surer."""


@dataclass(frozen=True)
class Importance:
    """Of the settings of one model, or of all models together."""

    group: str
    trials: int
    """That were compared."""
    explained: float | None
    """Share of the differences between trials that the forest foretells where it has not seen them; None: not tried."""
    shares: Mapping[str, tuple[float, float, float]]
    """Of each setting: mean, 5 % and 95 % quantile over the draws; empty where there is nothing to say."""
    why_not: str = ""
    """Why there is nothing to say."""


def importances(tried: Tried, *, seed: int = 0) -> list[Importance]:
    """Of all models together where there are several, then of each model that varied something.

    The same trials give the same figures.
    """
    distances = tried.at(tried.common_step).clip(lower=1e-6).map(math.log)
    groups: dict[str, dict[str, pd.Series[float]]] = {}
    if len(tried.models) > 1:
        shared = set.intersection(*({s.place for s in tried.settings[m]} for m in tried.models))
        codes = {model: float(i) for i, model in enumerate(tried.models)}
        groups[ALL] = {"model": tried.trials["model"].map(codes)} | {
            place.partition(".")[2]: pd.concat(
                [s.scale for m in tried.models for s in tried.settings[m] if s.place == place]
            )
            for place in sorted(shared)
            # of a setting that is words in one model and numbers in another the levels mean different things
            if all(s.levels is None for m in tried.models for s in tried.settings[m] if s.place == place)
        }
    groups |= {m: {s.name: s.scale for s in tried.settings[m]} for m in tried.models if tried.settings[m]}
    return [_importance(group, pd.DataFrame(columns), distances, seed) for group, columns in groups.items()]


def _importance(group: str, columns: pd.DataFrame, distances: pd.Series[float], seed: int) -> Importance:
    known = columns.index.intersection(distances.index)
    if len(known) > MOST:
        known = known[np.linspace(0, len(known) - 1, MOST).astype(int)]
    needed = max(FEWEST, PER_SETTING * columns.shape[1])
    if len(known) < needed:
        settings = f"{columns.shape[1]} setting{'s' * (columns.shape[1] != 1)}"
        return Importance(
            group, len(known), None, {}, f"{len(known)} trials are too few for {settings}, it takes {needed}"
        )
    x, y = columns.loc[known].to_numpy(np.float64), distances.loc[known].to_numpy(np.float64)
    if np.ptp(y) < 1e-9:
        return Importance(group, len(known), None, {}, "all trials came out alike")
    explained, shares = _judged(x, y, np.random.default_rng(seed))
    if explained <= 0:
        return Importance(group, len(known), explained, {}, "what came out cannot be foretold from the settings")
    low, high = np.quantile(shares, (0.05, 0.95), axis=0)
    told = zip(columns.columns, shares.mean(0), low, high, strict=True)
    ordered = sorted(((str(n), float(m), float(a), float(b)) for n, m, a, b in told), key=lambda one: -one[1])
    return Importance(group, len(known), explained, {name: (mean, a, b) for name, mean, a, b in ordered})


def _judged(
    x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]], rng: np.random.Generator
) -> tuple[float, NDArray[np.float64]]:
    """The share of variance that forests foretell in trials they have not seen, and what each column has in it by draw.

    Args:
        x: (trials, settings).
        y: (trials,).
        rng: Of draws, forests and shuffles.
    """
    unexplained, shares = [], []
    for _ in range(DRAWS):
        drawn = rng.integers(len(y), size=len(y))
        unseen = np.setdiff1d(np.arange(len(y)), drawn)
        if len(unseen) < 3:
            continue
        # a drawn one in three columns at each branch would hide a setting behind others when there are few
        forest = RandomForestRegressor(
            _TREES, min_samples_leaf=2, max_features=None, random_state=int(rng.integers(2**31))
        )
        forest.fit(x[drawn], y[drawn])
        error = np.mean((forest.predict(x[unseen]) - y[unseen]) ** 2)
        unexplained.append(error)
        shares.append([_shuffled(forest, x[unseen], y[unseen], column, rng) - error for column in range(x.shape[1])])
    variance = float(np.var(y))
    return 1 - float(np.mean(unexplained)) / variance, np.array(shares) / (2 * variance)


def _shuffled(
    forest: RandomForestRegressor,
    x: NDArray[np.floating[Any]],
    y: NDArray[np.floating[Any]],
    column: int,
    rng: np.random.Generator,
) -> float:
    """The mean squared error once one column says nothing."""
    several = np.tile(x, (_SHUFFLES, 1))
    several[:, column] = np.concatenate([rng.permutation(x[:, column]) for _ in range(_SHUFFLES)])
    return float(np.mean((forest.predict(several) - np.tile(y, _SHUFFLES)) ** 2))
