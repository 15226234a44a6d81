"""Entries as rows: means over seeds, gains with intervals, the place.

In: entries, and where their scores are kept. Out: a table of rows, best PD first, those without figures last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vidpred.evaluation.deciles import by_motion_decile
from vidpred.evaluation.intervals import Gain, beats, paired_gain
from vidpred.leaderboard.contest import Entry, Kind
from vidpred.leaderboard.scores import Scores, read_scores
from vidpred.training.figures import interval_of

PD = "perceptual_distance"
EDGES = "edge_contrast"
METRICS = (PD, "psnr_db", "ssim", "sharpness_db", EDGES)
"""Those that the leaderboard shows."""
KINDS = ("pooled", "macro")
"""Of gains."""


@dataclass(frozen=True)
class Row:
    """One line of the leaderboard."""

    name: str
    kind: Kind
    model: str
    means: dict[str, float] = field(default_factory=dict)
    """Of each of `METRICS`, over windows and seeds; empty where there are no figures."""
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    """The least and the greatest of the seeds."""
    gains: dict[str, Gain] = field(default_factory=dict)
    """Over each of the references; of the mean over seeds of each window."""
    beats: dict[str, bool] = field(default_factory=dict)
    """Whether a gain is a claim (`intervals.beats`)."""
    edges: float | None = None
    """Contrast of edges as a share of that of the last frames seen, which are as sharp as what comes: what blurs is
    below 1, what adds edges above. None where that is not known."""
    parameters: int = 0
    operations: int = 0
    train_speed: float | None = None
    """Clips/s."""
    predict_speed: float | None = None
    """Clips/s."""
    steps: tuple[int, int] | None = None
    """The fewest and the most of the seeds."""
    seeds: int = 0
    rate: float | None = None
    rates: dict[str, float | None] = field(default_factory=dict)
    deciles: list[float | None] = field(default_factory=list)
    """Gain over the first of the references by how much moves, from the stillest tenth of the windows; None where
    nothing moves; empty for that reference itself."""
    error: str = ""
    note: str = ""
    outdone: Gain | None = None
    """Of a default row beside a tuned one: the gain of the tuned one over it."""
    outdone_surely: bool = False
    """Whether that gain is a claim."""


@dataclass(frozen=True)
class Standing:
    """All rows, and what they are told against."""

    rows: list[Row]
    """Best first, those without figures last."""
    references: tuple[str, str]
    """What gains are over."""
    motion: list[float]
    """The first reference's mean PD in each tenth of the windows."""

    @property
    def tuned(self) -> Row | None:
        """The row of what a sweep found, where it has figures."""
        return next((row for row in self.rows if row.kind == "tuned" and row.means), None)

    @property
    def outdone(self) -> list[Row]:
        """The default rows that it is held against."""
        return [row for row in self.rows if row.outdone is not None]

    def note_of(self, row: Row) -> str:
        """What a reader has to know of a row, and is not told beside the defaults."""
        known = row is self.tuned and bool(self.outdone)
        return " ".join(part for part in (row.error, "" if known else row.note) if part)

    @property
    def verdict(self) -> str:
        """In words, how many of these it beats."""
        sure, held = sum(row.outdone_surely for row in self.outdone), len(self.outdone)
        which = f"{'each' if sure == held else sure} of {held} default{'s' * (held != 1)}"
        return f"beats {which} with the whole 95 % interval above zero, pooled and macro"


def make_rows(entries: Sequence[Entry], folder: Path, *, references: tuple[str, str], by_time: bool) -> Standing:
    """Rows of all entries.

    Args:
        entries: What was held.
        folder: `VIDPRED_HOME/leaderboard`.
        references: What gains are told over; the first has figures.
        by_time: Whether intervals draw stretches of time instead of whole groups.
    """
    scores = {entry.name: entry_scores(entry, folder) for entry in entries}
    windows = {name: mean_windows(found) for name, found in scores.items() if found}
    parts = by_motion_decile(windows, baseline=references[0])
    tuned = next((entry.name for entry in entries if entry.kind == "tuned" and scores[entry.name]), None)
    rows = []
    for entry in entries:
        if not scores[entry.name]:
            rows.append(_without_figures(entry))
            continue
        gains = _gains(windows, entry.name, references, by_time=by_time)
        of_parts = parts.loc[parts["model"] == entry.name, "gain"]
        deciles = [None if np.isnan(g) else float(g) for g in of_parts]
        row = _row(entry, scores[entry.name], gains, deciles, crisp=_crisp(windows))
        if tuned and entry.kind == "trained":
            over = paired(windows[tuned], windows[entry.name], by_time=by_time)
            row = replace(row, outdone=over, outdone_surely=beats(over))
        rows.append(row)
    return Standing(
        rows=sorted(rows, key=lambda row: (row.means.get(PD, np.inf), row.name)),
        references=references,
        motion=[float(part) for part in parts.groupby("decile")["motion"].first()],
    )


def entry_scores(entry: Entry, folder: Path) -> list[Scores]:
    """Of each seed."""
    return [read_scores(folder / "scores" / member.score) for member in entry.members]


def mean_windows(scores: Sequence[Scores]) -> pd.DataFrame:
    """A row a window: the mean over seeds of every metric."""
    keys = ["window", "clip", "start", "group", "block"]
    rows = pd.concat([one.windows for one in scores], ignore_index=True)
    return rows.groupby(keys, sort=False, as_index=False).mean()


def _without_figures(entry: Entry) -> Row:
    return Row(entry.name, entry.kind, entry.model, rates=entry.rates, error=entry.error, note=entry.note)


def _gains(
    windows: dict[str, pd.DataFrame], name: str, references: tuple[str, str], *, by_time: bool
) -> dict[str, Gain]:
    return {
        other: paired(windows[name], windows[other], by_time=by_time)
        for other in references
        if other in windows and other != name
    }


def paired(mine: pd.DataFrame, theirs: pd.DataFrame, *, by_time: bool) -> Gain:
    """The gain in PD of one table of windows over another of the same windows."""
    return paired_gain(mine[PD], theirs[PD], mine["group"], blocks=mine["block"] if by_time else None)


def _crisp(windows: dict[str, pd.DataFrame]) -> float:
    """How sharp frames are: the mean contrast of edges of those that were seen last."""
    return float(windows["copy_last"][EDGES].mean()) if "copy_last" in windows else 0.0


def _row(
    entry: Entry, scores: list[Scores], gains: dict[str, Gain], deciles: list[float | None], *, crisp: float
) -> Row:
    of_seeds = pd.DataFrame([one.windows[list(METRICS)].mean() for one in scores])
    steps = [member.steps for member in entry.members if member.steps is not None]
    return Row(
        name=entry.name,
        kind=entry.kind,
        model=entry.model,
        means={name: float(of_seeds[name].mean()) for name in METRICS},
        ranges={name: (float(of_seeds[name].min()), float(of_seeds[name].max())) for name in METRICS},
        gains=gains,
        beats={name: beats(gain) for name, gain in gains.items()},
        edges=float(of_seeds[EDGES].mean()) / crisp if crisp else None,
        parameters=int(scores[0].figures["parameters"]),
        operations=int(scores[0].figures["operations"]),
        train_speed=_mean([m.clips_per_second for m in entry.members]),
        predict_speed=_mean([one.figures["clips_per_second"] for one in scores]),
        steps=(min(steps), max(steps)) if steps else None,
        seeds=len(scores),
        rate=entry.rate,
        rates=entry.rates,
        deciles=deciles,
        error=entry.error,
        note=entry.note,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def gain_of(gain: Gain | None, kind: str) -> tuple[float, tuple[float, float] | None] | None:
    """A gain and its interval, if it has one, `pooled` or `macro`; None where nothing moves or nothing was compared."""
    if gain is None or gain["still"]:
        return None
    known: dict[str, Any] = dict(gain)
    return known[kind], interval_of(known, kind)


def flat(row: Row, references: Sequence[str]) -> dict[str, Any]:
    """A row as one line of a table: names and plain values."""
    out: dict[str, Any] = {"name": row.name, "kind": row.kind, "model": row.model}
    for name in METRICS:
        low, high = row.ranges.get(name, (None, None))
        out |= {name: row.means.get(name), f"{name}_low": low, f"{name}_high": high}
    for other in references:
        gain = row.gains.get(other)
        for kind in KINDS:
            value, interval = gain_of(gain, kind) or (None, None)
            low, high = interval or (None, None)
            out |= {f"gain_{other}_{kind}": value, f"gain_{other}_{kind}_low": low, f"gain_{other}_{kind}_high": high}
        out[f"beats_{other}"] = row.beats.get(other)
    if row.outdone is not None:
        for kind in KINDS:
            value, interval = gain_of(row.outdone, kind) or (None, None)
            low, high = interval or (None, None)
            out |= {f"tuned_gain_{kind}": value, f"tuned_gain_{kind}_low": low, f"tuned_gain_{kind}_high": high}
        out["tuned_beats"] = row.outdone_surely
    out |= {"parameters": row.parameters, "operations": row.operations} if row.means else {}
    out |= {"train_clips_per_second": row.train_speed, "predict_clips_per_second": row.predict_speed}
    out |= {"steps": row.steps[1] if row.steps else None, "seeds": row.seeds, "learning_rate": row.rate}
    out |= {f"gain_motion_{i}": gain for i, gain in enumerate(row.deciles, 1)}
    return out | {"error": row.error, "note": row.note}
