"""The report's section of the data: how long clips are and how much moves in them, whose they are, what the split kept
apart. In: `Inputs`. Out: what the template shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from vidpred.data import card_figures as figures
from vidpred.report.inputs import Inputs

_LISTED = 6
"""Rows of a table of counts; the others are counted together, and stand in the data set's own card."""


def section(inputs: Inputs) -> dict[str, Any]:
    """Histograms, tables of counts, and what the check of the split found."""
    sources = inputs.sources.astype(object).where(inputs.sources.notna(), None).to_dict("records")
    kept = [{str(k): v for k, v in row.items()} for row in sources if row["status"] == "kept"]
    for row in kept:  # pandas reads whole numbers beside missing ones as fractions
        row.update({name: int(row[name]) for name in ("width", "height") if row.get(name) is not None})
    clips = inputs.clips
    return {
        "charts": [chart for chart in _charts(clips) if chart["spread"] is not None],
        "tables": [table for table in _tables(kept, clips) if table["rows"]],
        "leakage": inputs.leakage,
    }


def _charts(clips: pd.DataFrame) -> Iterable[dict[str, Any]]:
    timed = clips[clips["fps"] > 0]
    for title, unit, values in (
        ("Length of clips", "s", timed["length"] / timed["fps"]),
        ("Motion of clips", "grey levels a frame", clips["motion"]),
    ):
        yield {"title": title, "unit": unit, "spread": figures.histogram(values.tolist())}


def _tables(sources: list[dict[str, Any]], clips: pd.DataFrame) -> Iterable[dict[str, Any]]:
    labels: Mapping[str, list[str]] = {
        "Licences, by source": figures.licences(sources),
        "Sizes of the sources": figures.sizes(sources),
        "Labels, by clip": [label for label in clips["label"].tolist() if label],
    }
    for title, values in labels.items():
        rows, others = figures.counted(values, most=_LISTED)
        yield {"title": title, "rows": rows, "others": others}
