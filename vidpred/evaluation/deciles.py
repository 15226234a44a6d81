"""Where a gain comes from: windows sorted by how much moves, cut into ten parts of equal number.

In: tables of scores, a row a window, `copy_last`'s among them. Out: a row for each model and part. What moves is
told by the distance from the last frame of the context to the truth, which is what `copy_last` scores.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from vidpred.training.figures import STILL, relative_gain

DECILES = 10
"""Parts; as many as there are windows where these are fewer."""


def by_motion_decile(
    tables: Mapping[str, pd.DataFrame],
    *,
    metric: str = "perceptual_distance",
    baseline: str = "copy_last",
    still: float = STILL,
) -> pd.DataFrame:
    """Each model's mean distance and gain in each tenth of the windows, from those that move least to those that most.

    Args:
        tables: Model to its scores, as `score_model` gives them: the same windows in the same order.
        metric: A distance, lower is better.
        baseline: The model that gains are over, and whose distance says how much moves.
        still: In that distance's unit; a part whose mean baseline is below it has no gain: NaN.

    Returns:
        Columns `model`, `decile` (from 1), `windows` (how many), `motion` (the baseline's mean distance), the metric
        (the model's mean) and `gain` (the share by which it is less than the baseline's); the baseline itself left out.

    Raises:
        ValueError: the baseline has no table, or the tables are of other windows.
    """
    if baseline not in tables:
        raise ValueError(f"no table of {baseline}: there are {', '.join(tables)}")
    windows = tables[baseline][["clip", "start"]].reset_index(drop=True)
    for name, table in tables.items():
        if not table[["clip", "start"]].reset_index(drop=True).equals(windows):
            raise ValueError(f"{name} and {baseline} were scored on other windows")
    motion = tables[baseline][metric].to_numpy(np.float64)
    parts = np.array_split(np.argsort(motion, kind="stable"), min(DECILES, len(motion)))
    rows = []
    for name, table in tables.items():
        if name == baseline:
            continue
        distance = table[metric].to_numpy(np.float64)
        for number, part in enumerate(parts, start=1):
            copied, mine = float(motion[part].mean()), float(distance[part].mean())
            gain = relative_gain(mine, copied, still=still)
            rows.append(
                {
                    "model": name,
                    "decile": number,
                    "windows": len(part),
                    "motion": copied,
                    metric: mine,
                    "gain": np.nan if gain is None else gain,
                }
            )
    return pd.DataFrame(rows, columns=["model", "decile", "windows", "motion", metric, "gain"])
