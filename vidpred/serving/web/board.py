"""The project's leaderboard, for the page: a few columns of what `vidpred leaderboard` wrote."""

from __future__ import annotations

import csv
from pathlib import Path

from pydantic import BaseModel, Field

_FILE = "leaderboard.csv"
_ROWS = 200
_MOST_BYTES = 4 << 20
_CELL = 200


class BoardRow(BaseModel):
    """One model."""

    name: str
    kind: str = Field(description="`trained`, `baseline` or `submitted`.")
    perceptual_distance: float | None
    psnr_db: float | None
    ssim: float | None
    top1: float | None = Field(description="Of classifiers, whose leaderboard has no PD.")
    top1_low: float | None = Field(description="The ends of its 95 % interval.")
    top1_high: float | None
    gain: float | None = Field(
        description="In PD over copy_last, pooled over all windows; of classifiers in top-1 over majority."
    )
    gain_low: float | None
    gain_high: float | None
    parameters: float | None


class Board(BaseModel):
    """All of it, best first; no rows where the project has none."""

    rows: list[BoardRow]


def read(folder: Path | None) -> Board:
    """What stands in a folder, read anew each time: a leaderboard may be held while we serve."""
    path = folder / _FILE if folder else None
    try:
        if path is None or not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return Board(rows=[])
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = [_row(line) for line, _ in zip(csv.DictReader(file), range(_ROWS), strict=False)]
    except (OSError, csv.Error):
        return Board(rows=[])
    known = [row for row in rows if (row.perceptual_distance, row.top1) != (None, None)]
    return Board(rows=sorted(known, key=lambda row: (-(row.top1 or 0), row.perceptual_distance or 0)))


def _row(line: dict[str, str]) -> BoardRow:
    gain = "gain" if line.get("top1") else "gain_copy_last"
    return BoardRow(
        name=(line.get("name") or "?")[:_CELL],
        kind=(line.get("kind") or "")[:_CELL],
        perceptual_distance=_number(line, "perceptual_distance"),
        psnr_db=_number(line, "psnr_db"),
        ssim=_number(line, "ssim"),
        top1=_number(line, "top1"),
        top1_low=_number(line, "top1_low"),
        top1_high=_number(line, "top1_high"),
        gain=_number(line, f"{gain}_pooled"),
        gain_low=_number(line, f"{gain}_pooled_low"),
        gain_high=_number(line, f"{gain}_pooled_high"),
        parameters=_number(line, "parameters"),
    )


def _number(line: dict[str, str], name: str) -> float | None:
    try:
        found = float(line.get(name) or "nan")
    except ValueError:
        return None
    return found if abs(found) < float("inf") else None
