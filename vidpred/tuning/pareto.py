"""Which trials are best where several figures are to be small at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from vidpred.tuning.results import TIMINGS


def front(rows: Sequence[Mapping[str, float | None]], objectives: Sequence[str]) -> list[int]:
    """Places of the rows that no other row beats in one objective without losing in another, by the first objective.

    Rows without all of them are not among these. Of rows that are equal in all the first counts.

    Args:
        rows: Figures of trials.
        objectives: Names of those that are to be small.
    """
    values = [
        tuple(math.nan if (value := row.get(name)) is None else float(value) for name in objectives) for row in rows
    ]
    order = sorted(
        (i for i, one in enumerate(values) if all(math.isfinite(value) for value in one)),
        key=lambda i: (values[i], i),
    )
    kept: list[int] = []
    for i in order:
        if not any(all(a <= b for a, b in zip(values[j], values[i], strict=True)) for j in kept):
            kept.append(i)
    return kept


def front_of(trials: pd.DataFrame, objectives: Sequence[str]) -> list[dict[str, object]]:
    """The front of a table of trials, for a summary: without timings, which no two runs have alike.

    Args:
        trials: A row a trial; those that failed are left out.
        objectives: Columns that are to be small.
    """
    rows: list[dict[str, Any]] = trials[trials["status"] != "failed"].to_dict("records")  # type: ignore[assignment]
    told = [name for name in objectives if name not in TIMINGS]
    return [
        {"trial": rows[i]["trial"], "model": rows[i]["model"]} | {name: round(float(rows[i][name]), 4) for name in told}
        for i in front(rows, objectives)
    ]
