"""The leaderboard as a table for people in Markdown and one for programs in CSV.

In: the standing. Out: text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from vidpred.evaluation.intervals import Gain
from vidpred.leaderboard.page import percent, share, short, speed
from vidpred.leaderboard.table import KINDS, PD, Row, Standing, flat, gain_of

_FURTHER = (
    "PSNR ↑", "SSIM ↑", "sharpness ↑", "edges", "parameters", "operations", "train clips/s", "predict clips/s", "steps",
    "seeds",
)  # fmt: skip

LEGEND = (
    "Figures are means over seeds, of PD with the range of the seeds; gains are of PD, with 95 % intervals. **Bold**: "
    "beats it, with the whole interval, pooled and macro, on at least 20 independent units. *Italic*: a baseline. "
    "Edges: their contrast, of that of the last frames seen; what is blurred has less, what adds edges more."
)


def markdown(standing: Standing, facts: Mapping[str, Any]) -> str:
    """A page of Markdown: what was asked for, the table, and what has no figures."""
    asked = (
        f"{facts['context']} frames of {facts['height']}×{facts['width']} in, {facts['horizon']} out; "
        f"{facts['budget']} and {facts['seeds']} seed{'s' * (facts['seeds'] != 1)} a model; judged on "
        f"{facts['windows']} test windows (list `{facts['list_id']}`, data `{facts['data_id'][:12]}`)."
    )
    rows, references = standing.rows, standing.references
    gains = (f"over {name}, {kind}" for name in references for kind in KINDS)
    headings = ["#", "model", "PD ↓", *gains, *_FURTHER]
    lines = [
        f"# Leaderboard: {facts['title']}",
        "",
        asked,
        "",
        f"| {' | '.join(headings)} |",
        f"|--:|---|{'--:|' * (len(headings) - 2)}",
    ]
    lines += [
        f"| {' | '.join(cells(place, row, references))} |" for place, row in enumerate((r for r in rows if r.means), 1)
    ]
    lines += [
        "",
        LEGEND,
        "",
    ]
    lines += tuned_beside_defaults(standing)
    failed = [row for row in rows if not row.means]
    if failed:
        lines += ["## Without figures", "", *(f"- `{row.name}`: {row.error}" for row in failed), ""]
    partly = {row.name: note for row in rows if row.means and (note := standing.note_of(row))}
    if partly:
        lines += ["## Notes", "", *(f"- `{name}`: {note}" for name, note in partly.items()), ""]
    lines += [f"Made by `{facts['command']}`.", ""]
    return "\n".join(lines)


def tuned_beside_defaults(standing: Standing) -> list[str]:
    """What a sweep found, held against each default; nothing where there is no such row."""
    tuned = standing.tuned
    if tuned is None or not standing.outdone:
        return []
    low, high = tuned.ranges[PD]
    lines = [
        f"## {tuned.name} beside the defaults",
        "",
        f"PD {tuned.means[PD]:.2f} ({low:.2f} to {high:.2f}); it {standing.verdict}. It is {tuned.note}",
        "",
        f"| default | PD ↓ | gain of {tuned.name}, pooled | macro | every seed better than its best |",
        "|---|--:|--:|--:|---|",
    ]
    for row in standing.outdone:
        best, worst = row.ranges[PD]
        pooled, macro = (gain_cell(row.outdone, kind, row.outdone_surely) for kind in KINDS)
        apart = "yes" if high < best else "no"
        lines.append(f"| {row.name} | {row.means[PD]:.2f} ({best:.2f} to {worst:.2f}) | {pooled} | {macro} | {apart} |")
    return [*lines, ""]


def cells(place: int, row: Row, references: Sequence[str]) -> list[str]:
    """One line of the table."""
    means, (low, high) = row.means, row.ranges[PD]
    name = (
        f"*{row.name}*" if row.kind == "baseline" else f"{row.name} (submitted)" * (row.kind == "submitted") or row.name
    )
    return [
        str(place),
        name,
        f"{means[PD]:.2f}" + f" ({low:.2f} to {high:.2f})" * (row.seeds > 1),
        *(
            gain_cell(row.gains.get(other), kind, row.beats.get(other, False))
            for other in references
            for kind in KINDS
        ),
        f"{means['psnr_db']:.2f}",
        f"{means['ssim']:.4f}",
        f"{means['sharpness_db']:.2f}",
        share(row.edges),
        short(row.parameters) if row.parameters else "–",
        short(row.operations) if row.operations else "–",
        speed(row.train_speed),
        speed(row.predict_speed),
        f"{row.steps[1]:,}" if row.steps else "–",
        str(row.seeds) if row.kind != "baseline" else "–",
    ]  # fmt: skip


def gain_cell(gain: Gain | None, kind: str, claim: bool) -> str:
    """A gain with its interval; bold where it is a claim."""
    found = gain_of(gain, kind)
    if found is None:
        return "–"
    told, interval = percent(found[0]), found[1]
    sure = f" ({percent(interval[0])} to {percent(interval[1])})" if interval else ""
    return f"{f'**{told}**' if claim else told}{sure}"


def csv(standing: Standing) -> str:
    """A line a row, with all figures."""
    return pd.DataFrame([flat(row, standing.references) for row in standing.rows]).to_csv(
        index=False, lineterminator="\n"
    )
