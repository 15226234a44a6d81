"""The report's section of the leaderboard, where one has been held: `Stages` in, a short table out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from vidpred.report.inputs import Stages
from vidpred.report.words import percent, plural, share, short

LISTED = 40
"""Rows in the page; all are in leaderboard/."""
_COLUMNS = (
    ("perceptual_distance", "PD ↓", "{:.2f}".format),
    ("gain_copy_last_pooled", "gain over copy_last ↑", percent),
    ("psnr_db", "PSNR, dB ↑", "{:.2f}".format),
    ("ssim", "SSIM ↑", "{:.4f}".format),
    ("top1", "top-1 ↑", share),
    ("cross_entropy", "cross-entropy ↓", "{:.3f}".format),
    ("parameters", "parameters", short),
    ("operations", "multiply-adds", short),
)
"""Of leaderboard.csv, those that are there: heading, and how a figure is written."""


def section(stages: Stages) -> dict[str, Any] | None:
    """Rows with figures in their order; None: there is no leaderboard."""
    if stages.board is None:
        return None
    rows, facts = stages.board.rows, stages.board.facts
    shown = [column for column in _COLUMNS if column[0] in rows and rows[column[0]].notna().any()]
    rows = rows[rows[[name for name, *_ in shown[:1]]].notna().all(axis=1)]
    return {
        "about": _about(facts),
        "other_data": facts.get("data_id") != stages.model["data_id"],
        "headings": [heading for _, heading, _ in shown],
        "rows": [
            {
                "name": row["name"],
                "model": row["model"],
                "kind": row["kind"],
                "cells": ["–" if pd.isna(row[name]) else form(row[name]) for name, _, form in shown],
            }
            for row in rows.head(LISTED).to_dict("records")
        ],
        "more": max(0, len(rows) - LISTED),
    }


def _about(facts: Mapping[str, Any]) -> str:
    seeds, windows = plural(int(facts["seeds"]), "seed"), plural(int(facts["windows"]), "test window")
    return f"Every model under one budget: {facts['budget']} and {seeds} each, judged on the same {windows}."
