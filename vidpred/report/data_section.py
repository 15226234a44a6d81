"""The report's section of the data: how long clips are and how much moves in them, whose they are, what the split kept
apart. In: `Stages`. Out: what the template shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from vidpred.data import card_figures as figures
from vidpred.report.inputs import Stages
from vidpred.report.words import figure

_LISTED = 6
"""Rows of a table of counts; the others are counted together, and stand in the data set's own card."""


def section(inputs: Stages) -> dict[str, Any]:
    """Histograms, tables of counts, and what the check of the split found."""
    sources = inputs.sources.astype(object).where(inputs.sources.notna(), None).to_dict("records")
    kept = [{str(k): v for k, v in row.items()} for row in sources if row["status"] == "kept"]
    for row in kept:  # pandas reads whole numbers beside missing ones as fractions
        row.update({name: int(row[name]) for name in ("width", "height") if row.get(name) is not None})
    clips = inputs.clips
    spreads = list(_spreads(clips))
    return {
        "charts": [
            {"title": title, "unit": unit, "spread": spread}
            for title, unit, values in spreads
            if not _alike(values) and (spread := figures.histogram(values.tolist())) is not None
        ],
        "facts": [
            f"{title}: {figure(float(values.median()))} {unit}, all alike."
            for title, unit, values in spreads
            if len(values) and _alike(values)
        ],
        "tables": [table for table in _tables(kept, clips) if table["rows"]],
        "leakage": inputs.leakage,
    }


def _spreads(clips: pd.DataFrame) -> Iterable[tuple[str, str, pd.Series[float]]]:
    timed = clips[clips["fps"] > 0]
    yield "Length of clips", "s", timed["length"] / timed["fps"]
    yield "Motion of clips", "grey levels a frame", clips["motion"]


def _alike(values: pd.Series[float]) -> bool:
    """Whether they differ by less than a hundredth: a histogram would be one bar."""
    return len(values) == 0 or bool(values.max() - values.min() <= 0.01 * abs(values.median()))


def _tables(sources: list[dict[str, Any]], clips: pd.DataFrame) -> Iterable[dict[str, Any]]:
    for title, of, counts, values in (
        ("Licences, by source", "licence", "sources", figures.licences(sources)),
        ("Sizes of the sources", "pixels", "sources", figures.sizes(sources)),
        ("Labels, by clip", "label", "clips", [label for label in clips["label"].tolist() if label]),
    ):
        rows, others = figures.counted(values, most=_LISTED)
        yield {"title": title, "of": of, "counted": counts, "rows": rows, "others": others}
