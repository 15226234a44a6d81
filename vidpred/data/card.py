"""The data set's card: one HTML page that loads nothing, about all that went in and what became of it.

In: the rows of sources.parquet, the shards, the stage's figures and how fast it went. Out: the page, the same for the
same data but for its line on speed. Names and licences come from strangers: the template escapes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from vidpred import __version__
from vidpred.data import card_figures as figures
from vidpred.data import card_pictures as pictures
from vidpred.data.shards import Shards
from vidpred.errors import UserError
from vidpred.workspace import atomic

SET_ASIDE = 50
"""Files named on the page; the others are counted."""
LISTED = 12
"""Rows of a table of counts; the others are counted together."""
NAME = 120
"""Letters of a name, at the most: the middle of a longer one is left out."""


class Chart(NamedTuple):
    """A histogram as the page draws it."""

    title: str
    unit: str
    spread: figures.Histogram
    of: str
    """What is counted."""


class Table(NamedTuple):
    """A table of counts."""

    title: str
    of: str
    """What is counted."""
    rows: list[tuple[str, int]]
    others: tuple[int, int]
    """How many further ones there are, and their count."""
    note: str = ""


def write_card(
    path: Path,
    *,
    sources: Sequence[Mapping[str, Any]],
    shards: Shards,
    summary: Mapping[str, Any],
    throughput: Mapping[str, Any] | None,
) -> None:
    """Writes the page.

    Args:
        path: Where to.
        sources: Rows of sources.parquet.
        shards: What was made of them.
        summary: Of the stage: inputs, kept, dropped, failed.
        throughput: How fast it went: decoded and cached (files), seconds, frames, video_seconds; None: not told.

    Raises:
        UserError: kept, dropped and failed do not add up to the inputs.
    """
    page = render(sources=sources, shards=shards, summary=summary, throughput=throughput)
    with atomic(path) as part:
        part.write_text(page, encoding="utf-8")


def render(
    *,
    sources: Sequence[Mapping[str, Any]],
    shards: Shards,
    summary: Mapping[str, Any],
    throughput: Mapping[str, Any] | None,
) -> str:
    """The page as text; see `write_card`."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    tally = {name: int(summary[name]) for name in ("inputs", *figures.STATUSES)}
    if sum(tally[status] for status in figures.STATUSES) != tally["inputs"]:
        raise UserError(f"{tally['inputs']} inputs, but {tally}: a source was lost; please report this")
    own = files("vidpred.data")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "count": "{:,}".format, "plural": _plural, "figure": _figure, "duration": duration, "short": _short,
    }  # fmt: skip
    template = environment.from_string(own.joinpath("card.html").read_text(encoding="utf-8"))
    tiles, motions, size = pictures.draw(shards)
    clips = shards.clips
    aside = [row for row in sources if row["status"] != "kept"]
    return template.render(
        style=Markup(own.joinpath("card.css").read_text(encoding="utf-8")),  # ours, not input
        version=__version__,
        meta=shards.meta,
        fps=shards.meta["fps"],
        seconds=sum(figures.seconds_of_clips(clips)),
        tally=tally,
        reasons=figures.reasons(sources),
        charts=_charts(sources, shards),
        tables=_tables(sources, shards),
        found=figures.found_in(sources),
        tiles=tiles,
        motions=motions,
        size=size,
        aside=aside[:SET_ASIDE],
        aside_more=max(0, len(aside) - SET_ASIDE),
        speed=_speed(throughput),
    )


def _charts(sources: Sequence[Mapping[str, Any]], shards: Shards) -> list[Chart]:
    asked = [
        ("Length of clips", "s", figures.seconds_of_clips(shards.clips), "clip"),
        ("Length of sources", "s", figures.column(sources, "seconds"), "source"),
        ("Motion of clips", "grey levels a frame", [clip.motion for clip in shards.clips], "clip"),
    ]
    spread = [(title, unit, figures.histogram(values), of) for title, unit, values, of in asked]
    return [Chart(title, unit, found, of) for title, unit, found, of in spread if found is not None]


def _tables(sources: Sequence[Mapping[str, Any]], shards: Shards) -> list[Table]:
    clips = shards.clips
    labels = [clip.label for clip in clips if clip.label]
    groups = len({clip.group for clip in clips})
    labelled = f"{_plural(len(set(labels)), 'label')}; {_plural(len(clips) - len(labels), 'clip')} without one"
    asked: list[tuple[str, str, Iterable[str], str]] = [
        ("Licences", "sources", figures.licences(sources), ""),
        ("Size of sources", "sources", figures.sizes(sources), ""),
        ("Frames per second", "sources", figures.rates(sources), ""),
        ("Labels", "clips", labels, labelled),
        ("Parts of the official split", "clips", [clip.part for clip in clips if clip.part], ""),
        ("Groups", "clips", [clip.group for clip in clips] if groups < len(clips) else [], _plural(groups, "group")),
    ]
    tables = [Table(title, of, *figures.counted(values, most=LISTED), note=note) for title, of, values, note in asked]
    return [table for table in tables if table.rows]


def _speed(throughput: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Rates of what was decoded in this run."""
    if throughput is None:
        return None
    seconds = float(throughput["seconds"])
    known = seconds > 0 and throughput["decoded"] > 0
    rate = {
        name: throughput[key] / seconds if known else 0.0
        for name, key in (("files", "decoded"), ("frames", "frames"), ("video_seconds", "video_seconds"))
    }
    return {"decoded": throughput["decoded"], "cached": throughput["cached"], "seconds": seconds, "rate": rate}


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _figure(value: float) -> str:
    """Three digits at least, without an exponent: 0.126, 12.6, 1,260."""
    if value == 0:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if places else text


def duration(seconds: float) -> str:
    """Seconds as people say them: 4.2 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 60:
        return f"{_figure(round(seconds, 1))} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _short(name: str) -> str:
    return name if len(name) <= NAME else f"{name[: NAME // 2]}…{name[-NAME // 2 :]}"
