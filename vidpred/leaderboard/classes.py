"""The leaderboard of classifiers: top-1 on the same test videos, with intervals, beside the commonest class.

In: entries, and where their scores are kept. Out: rows, best first, and these as Markdown, CSV and one HTML page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from vidpred import __version__
from vidpred.evaluation.intervals import Gain, as_gain, beats, paired_difference
from vidpred.leaderboard.contest import Entry, Kind
from vidpred.leaderboard.page import short, speed
from vidpred.leaderboard.scores import Scores, read_scores
from vidpred.training.classes import TOP
from vidpred.training.figures import interval_of

TOP1 = "top1"
METRICS = (TOP1, "top5", "cross_entropy")
KINDS = ("pooled", "macro")
"""Of gains: over videos, and over groups."""
LEGEND = (
    "Top-1 is the share of test videos that are told right, each judged by the mean over its windows: the mean over "
    "seeds with their range, and its 95 % interval, a bootstrap over groups of the videos' means over seeds. The gain "
    "is in points over always saying the class that is commonest in training. **Bold**: the whole interval of the "
    "gain, over videos and over groups, is above zero, on at least 20 groups. *Italic*: the baseline."
)


@dataclass(frozen=True)
class ClassRow:
    """One line of the leaderboard."""

    name: str
    kind: Kind
    model: str
    means: dict[str, float] = field(default_factory=dict)
    """Of each of `METRICS`, over videos and seeds; empty where there are no figures."""
    spread: tuple[float, float] = (0.0, 0.0)
    """The least and the greatest top-1 of the seeds."""
    interval: tuple[float, float] | None = None
    """Of top-1, 95 %; None: one group alone has none."""
    gain: Gain | None = None
    """Over the baseline, of top-1; None: it is that."""
    beats: bool = False
    """Whether that is a claim."""
    parameters: int = 0
    operations: int = 0
    train_speed: float | None = None
    """Clips/s."""
    predict_speed: float | None = None
    """Windows/s."""
    steps: int | None = None
    """The most of the seeds."""
    seeds: int = 0
    rate: float | None = None
    rates: dict[str, float | None] = field(default_factory=dict)
    error: str = ""
    note: str = ""
    outdone: Gain | None = None
    """Of a default row beside a tuned one: the gain of the tuned one over it."""


@dataclass(frozen=True)
class ClassStanding:
    """All rows, and what they are told against."""

    rows: list[ClassRow]
    """Best first, those without figures last."""
    bar: str
    """The baseline."""

    @property
    def tuned(self) -> ClassRow | None:
        """The row of what a sweep found, where it has figures and defaults beside it."""
        return next((row for row in self.rows if row.kind == "tuned" and row.means and self.outdone), None)

    @property
    def outdone(self) -> list[ClassRow]:
        """The default rows that it is held against."""
        return [row for row in self.rows if row.outdone is not None]


def make_class_rows(entries: Sequence[Entry], folder: Path, *, bar: str) -> ClassStanding:
    """Rows of all entries.

    Args:
        entries: What was held.
        folder: `VIDPRED_HOME/leaderboard`.
        bar: What gains are over; it has figures.
    """
    scores = {entry.name: [read_scores(folder / "scores" / m.score) for m in entry.members] for entry in entries}
    videos = {name: mean_videos(found) for name, found in scores.items() if found}
    tuned = next((videos[entry.name] for entry in entries if entry.kind == "tuned" and entry.name in videos), None)
    rows = [_row(entry, scores[entry.name], videos, bar, tuned) for entry in entries]
    return ClassStanding(sorted(rows, key=lambda row: (-row.means.get(TOP1, -np.inf), row.name)), bar)


def mean_videos(scores: Sequence[Scores]) -> pd.DataFrame:
    """A row a video: the mean over seeds."""
    rows = pd.concat([one.windows[["source", "group", "label", *METRICS]] for one in scores], ignore_index=True)
    return rows.groupby(["source", "group", "label"], sort=True, as_index=False).mean()


def _row(
    entry: Entry, scores: list[Scores], videos: Mapping[str, pd.DataFrame], bar: str, tuned: pd.DataFrame | None
) -> ClassRow:
    if not scores:
        return ClassRow(entry.name, entry.kind, entry.model, rates=entry.rates, error=entry.error, note=entry.note)
    mine = videos[entry.name]
    sure = paired_difference(mine[TOP1], np.zeros(len(mine)), mine["group"])
    gain = None if entry.name == bar else _over(mine, videos[bar])
    outdone = None if tuned is None or entry.kind != "trained" else _over(tuned, mine)
    of_seeds = [float(one.windows[TOP1].mean()) for one in scores]
    steps = [member.steps for member in entry.members if member.steps is not None]
    return ClassRow(
        name=entry.name,
        kind=entry.kind,
        model=entry.model,
        means={name: float(mine[name].mean()) for name in METRICS},
        spread=(min(of_seeds), max(of_seeds)),
        interval=interval_of(dict(sure)),
        gain=gain,
        beats=gain is not None and beats(gain),
        parameters=int(scores[0].figures["parameters"]),
        operations=int(scores[0].figures["operations"]),
        train_speed=_mean([member.clips_per_second for member in entry.members]),
        predict_speed=_mean([one.figures["clips_per_second"] for one in scores]),
        steps=max(steps) if steps else None,
        seeds=len(scores),
        rate=entry.rate,
        rates=entry.rates,
        error=entry.error,
        note=entry.note,
        outdone=outdone,
    )


def _over(mine: pd.DataFrame, theirs: pd.DataFrame) -> Gain:
    """In top-1, on the same videos in the same order."""
    return as_gain(paired_difference(mine[TOP1], theirs[TOP1], mine["group"]))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def flat(row: ClassRow) -> dict[str, Any]:
    """A row as one line of a table: names and plain values."""
    low, high = row.interval or (None, None)
    out: dict[str, Any] = {"name": row.name, "kind": row.kind, "model": row.model}
    out |= {name: row.means.get(name) for name in METRICS}
    out |= {"top1_low": low, "top1_high": high}
    out |= {"top1_worst_seed": row.spread[0], "top1_best_seed": row.spread[1]} if row.means else {}
    for prefix, gain in (("", row.gain), ("tuned_", row.outdone)):
        if gain is None:
            continue
        for kind in KINDS:
            low, high = interval_of(dict(gain), kind) or (None, None)
            named = {kind: dict(gain)[kind], f"{kind}_low": low, f"{kind}_high": high}
            out |= {f"{prefix}gain_{name}": value for name, value in named.items()}
        out[f"{prefix}beats"] = beats(gain)
    out |= {"parameters": row.parameters, "operations": row.operations} if row.means else {}
    out |= {"train_clips_per_second": row.train_speed, "predict_windows_per_second": row.predict_speed}
    return out | {
        "steps": row.steps, "seeds": row.seeds, "learning_rate": row.rate, "error": row.error, "note": row.note
    }  # fmt: skip


def csv(standing: ClassStanding) -> str:
    """A line a row, with all figures."""
    return pd.DataFrame([flat(row) for row in standing.rows]).to_csv(index=False, lineterminator="\n")


def headings(facts: Mapping[str, Any]) -> list[str]:
    """Of the table."""
    tops = ["top-5"] if facts["classes"] > TOP else []
    return [
        "model", "top-1 ↑", "95 %", "seeds", "over majority", *tops, "cross-entropy ↓", "parameters", "operations",
        "train clips/s", "windows/s", "steps",
    ]  # fmt: skip


def cells(row: ClassRow, facts: Mapping[str, Any]) -> list[str]:
    """One line of the table, without its place."""
    low, high = row.spread
    spread = f"{row.seeds} ({percent(low)} to {percent(high)})" if row.seeds > 1 else str(row.seeds)
    tops = [percent(row.means["top5"])] if facts["classes"] > TOP else []
    return [
        row.name + " (submitted)" * (row.kind == "submitted"),
        percent(row.means[TOP1]),
        f"{percent(row.interval[0])} to {percent(row.interval[1])}" if row.interval else "–",
        spread if row.kind != "baseline" else "–",
        _gain_told(row.gain, "pooled"),
        *tops,
        f"{row.means['cross_entropy']:.3f}",
        short(row.parameters) if row.parameters else "–",
        short(row.operations) if row.operations else "–",
        speed(row.train_speed),
        speed(row.predict_speed),
        f"{row.steps:,}" if row.steps else "–",
    ]


def _gain_told(gain: Gain | None, kind: str) -> str:
    """In points, with its interval."""
    if gain is None:
        return "–"
    known: dict[str, Any] = dict(gain)
    interval = interval_of(known, kind)
    return points(known[kind]) + (f" ({points(interval[0])} to {points(interval[1])})" if interval else "")


def beside_defaults(standing: ClassStanding) -> tuple[str, list[list[str]]] | None:
    """What a sweep found, held against each default: the verdict, and a table with its headings first."""
    tuned, held = standing.tuned, standing.outdone
    if tuned is None:
        return None
    sure = sum(row.outdone is not None and beats(row.outdone) for row in held)
    verdict = (
        f"{tuned.name} beats {sure} of {len(held)} default{'s' * (len(held) != 1)} with the whole 95 % interval above "
        "zero, over videos and over groups."
    )
    lines = [["default", "top-1 ↑", f"{tuned.name}, points", "over groups", "every seed better than its best"]]
    for row in held:
        gains = (_gain_told(row.outdone, kind) for kind in KINDS)
        apart = "yes" if tuned.spread[0] > row.spread[1] else "no"
        lines.append([row.name, percent(row.means[TOP1]), *gains, apart])
    return verdict, lines


def percent(share: float) -> str:
    """`87.5 %`."""
    return f"{100 * share:.1f} %"


def points(gain: float) -> str:
    """`+87.0`, with a true minus."""
    return f"{100 * gain:+.1f}".replace("-", "−")


def asked(facts: Mapping[str, Any]) -> str:
    """What the leaderboard was held for: a sentence."""
    seeds = f"{facts['seeds']} seed{'s' * (facts['seeds'] != 1)}"
    rates = ", ".join(facts["rates"])
    several = f"the best of the learning rates {rates} by cross-entropy on validation"
    return (
        f"{facts['classes']} classes by {facts['context']} frames of {facts['height']}×{facts['width']}; "
        f"{facts['budget']} and {seeds} a model, {several if len(facts['rates']) > 1 else f'learning rate {rates}'}; "
        f"judged on {facts['windows']:,} test windows (list {facts['list_id']}, data {facts['data_id'][:12]})."
    )


def markdown(standing: ClassStanding, facts: Mapping[str, Any]) -> str:
    """A page of Markdown."""
    columns = ["#", *headings(facts)]
    lines = [f"# Leaderboard: {facts['title']}", "", asked(facts), "", f"| {' | '.join(columns)} |"]
    lines.append(f"|--:|---|{'--:|' * (len(columns) - 2)}")
    for place, row in enumerate((row for row in standing.rows if row.means), 1):
        name, top1, *rest = cells(row, facts)
        name = f"*{name}*" if row.kind == "baseline" else name
        lines.append(f"| {' | '.join([str(place), name, f'**{top1}**' if row.beats else top1, *rest])} |")
    lines += ["", LEGEND, ""]
    if found := beside_defaults(standing):
        verdict, table = found
        table.insert(1, ["---", *["--:"] * (len(table[0]) - 1)])
        lines += ["## What the sweep found, beside the defaults", "", verdict, ""]
        lines += [*(f"| {' | '.join(line)} |" for line in table), ""]
    failed = [row for row in standing.rows if not row.means]
    if failed:
        lines += ["## Without figures", "", *(f"- `{row.name}`: {row.error}" for row in failed), ""]
    noted = [(row.name, " ".join(filter(None, (row.error, row.note)))) for row in standing.rows if row.means]
    if any(note for _, note in noted):
        lines += ["## Notes", "", *(f"- `{name}`: {note}" for name, note in noted if note), ""]
    return "\n".join([*lines, f"Made by `{facts['command']}`.", ""])


def render(standing: ClassStanding, facts: Mapping[str, Any]) -> str:
    """One HTML page that loads nothing from anywhere."""
    own = files("vidpred.leaderboard")
    style = files("vidpred.report").joinpath("style.css").read_text(encoding="utf-8")
    style += own.joinpath("board.css").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(own.joinpath("classes.html").read_text(encoding="utf-8"))
    ranked = [row for row in standing.rows if row.means]
    return template.render(
        style=Markup(style),  # ours, not input
        version=__version__,
        facts=facts,
        asked=asked(facts),
        headings=headings(facts),
        rows=[(row, cells(row, facts)) for row in ranked],
        failed=[row for row in standing.rows if not row.means],
        beside=beside_defaults(standing),
        bar=next(row for row in ranked if row.name == standing.bar),
        legend=LEGEND.replace("**", "").replace("*", ""),
    )
