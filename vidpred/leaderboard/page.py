"""The leaderboard as one HTML page that loads nothing from anywhere.

In: rows, clips and facts. Out: text. The page is `template.html`, its looks are the report's `style.css` and
`board.css`, and `sort.js` sorts the table where somebody clicks on a heading.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from vidpred import __version__
from vidpred.leaderboard.pictures import ZOOM, ShownClip
from vidpred.leaderboard.table import PD, Row, Standing
from vidpred.report import charts
from vidpred.training.figures import gain_in_words

CURVES = 5
"""Models in the chart of gains by motion, beside `flow_gate`."""


def render(standing: Standing, clips: Sequence[ShownClip], facts: Mapping[str, Any]) -> str:
    """The page.

    Args:
        standing: The rows.
        clips: What is shown.
        facts: As `board.facts_of` gives them.
    """
    own = files("vidpred.leaderboard")
    script = own.joinpath("sort.js").read_text(encoding="utf-8")
    style = files("vidpred.report").joinpath("style.css").read_text(encoding="utf-8")
    style += own.joinpath("board.css").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "percent": percent,
        "bare": bare,
        "short": short,
        "speed": speed,
        "shade": shade,
        "share": share,
        "breakable": breakable,
    }
    template = environment.from_string(own.joinpath("template.html").read_text(encoding="utf-8"))
    ranked = [row for row in standing.rows if row.means]
    return template.render(
        style=Markup(style),
        script=Markup(script),
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=__version__,
        rows=ranked,
        failed=[row for row in standing.rows if not row.means],
        clips=clips,
        facts={"tuned": None} | dict(facts),  # one that was held before there were such rows
        tuned=standing.tuned,
        outdone=standing.outdone,
        verdict=standing.verdict,
        note_of=standing.note_of,
        motion=standing.motion,
        worst_pd=max(row.means[PD] for row in ranked),
        references=standing.references,
        bar=standing.references[0],
        zoom=ZOOM,
        alone=any(gain["units"] == 1 for row in ranked for gain in row.gains.values()),
        charts={name: Markup(svg) for name, svg in _charts(ranked, standing).items()},
    )


def _charts(rows: Sequence[Row], standing: Standing) -> dict[str, str]:
    moving = [row for row in rows if any(gain is not None for gain in row.deciles)]
    chosen = [row for row in moving if row.kind != "baseline"][:CURVES]
    chosen += [row for row in moving if row.name == "flow_gate"]
    found = {}
    if chosen:
        found["motion"] = charts.motion_chart(
            {row.name: row.deciles for row in chosen}, standing.motion, standing.references[0]
        )
    costly = {row.name: (row.operations, row.means[PD]) for row in rows if row.operations}
    if costly:
        others = {row.name: row.means[PD] for row in rows if row.name in standing.references}
        found["cost"] = charts.cost_chart(costly, others)
    return found


def percent(gain: float | None) -> str:
    """A gain in words, with a true minus; a dash where there is none."""
    return "–" if gain is None else gain_in_words(gain).replace("-", "−")


def bare(gain: float) -> str:
    """As `percent`, without the sign of per cent."""
    return percent(gain).removesuffix(" %")


def short(count: float) -> str:
    """A count with three digits and a letter: 12.3 M."""
    for letter in ("", " k", " M"):
        if count < 999.5:
            return f"{count:.3g}{letter}"
        count /= 1000
    return f"{count:.3g} G"


def breakable(name: str) -> Markup:
    """A name that may go on in another line after each of its words."""
    return Markup("_<wbr>").join(escape(part) for part in name.split("_"))


def share(value: float | None) -> str:
    """A share as a whole percentage."""
    return "–" if value is None else f"{100 * value:.0f} %"


def speed(value: float | None) -> str:
    """Clips/s with two or three digits."""
    return "–" if value is None else f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}"


def shade(gain: float | None) -> str:
    """The colour of a gain's cell: green above zero, red below, the stronger the further."""
    if gain is None:
        return "transparent"
    strength = round(60 * min(1.0, abs(gain)))
    return f"color-mix(in srgb, var({'--good' if gain > 0 else '--bad'}) {strength}%, transparent)"
