"""`vidpred diff MODEL MODEL`: parameters, data, figures and pictures of two models side by side."""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from pathlib import Path

import typer
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from rich import box
from rich.console import Console
from rich.table import Table

from vidpred import __version__
from vidpred.commands.explain import printable, write_page
from vidpred.tracking.lineage.compare import Comparison, Figure, Pair, compare
from vidpred.tracking.lineage.subject import opened

_NAMED = 8
"""Sources named; the others are counted."""


def diff(one: str, other: str, *, as_json: bool, html: Path | None) -> None:
    """Prints it, and writes the page where one is asked for.

    Raises:
        UserError: there is no such model, or the store does not answer.
    """
    with opened(one) as first, opened(other) as second:
        found = compare(first, second, pictures=html is not None)
    if html is not None:
        write_page(html, page(found))
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
        return
    if found.same:
        names = " and ".join(dict.fromkeys((one, other, *found.models)))
        typer.echo(printable(f"one and the same model: {names}"))
        if html is not None:
            typer.echo(f"{html} is the page, which says so")
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    for title, pairs in (("", found.identity), ("parameters", found.params), ("model and task", found.config)):
        if pairs:
            console.print(_table(title, found.models, pairs))
        elif title == "parameters" and "params.yaml" not in " ".join(found.unseen):
            console.print("parameters: the same\n")
    for line in clips_in_words(found):
        console.print(printable(line), markup=False)
    if found.figures:
        console.print(_figures(found))
        console.print(f"95 % intervals on {found.windows}", markup=False)
    for line in found.unseen:
        console.print(f"not seen from here: {printable(line)}", markup=False, style="yellow")
    if html is not None:
        console.print(f"{html} is the page", markup=False)


def _table(title: str, models: Pair, pairs: dict[str, Pair]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title or None, title_justify="left")
    table.add_column("differs")
    for model in models:
        table.add_column(printable(model), overflow="fold")
    for name, pair in pairs.items():
        table.add_row(printable(name), *(printable(value) for value in pair))
    return table


def clips_in_words(found: Comparison) -> list[str]:
    """What of the data differs."""
    if found.clips is None:
        return []
    lines = [", ".join(f"{count:,} clips in {which}" for which, count in found.clips.items())]
    for label, names in (("added", found.added), ("removed", found.removed)):
        if names:
            more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
            lines.append(f"{label}: {', '.join(names[:_NAMED])}{more}")
    if found.moved:
        lines.append(f"{found.moved:,} clips are in another part of the split")
    return lines


def _figures(found: Comparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("test")
    for model in found.models:
        table.add_column(printable(model), justify="right")
    for heading in ("difference", "95 %"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for figure in found.figures:
        table.add_row(
            f"{figure.name}{f', {figure.unit}' if figure.unit else ''}", f"{figure.one:.5g}", f"{figure.other:.5g}",
            f"{figure.other - figure.one:+.3g}", interval_in_words(figure), verdict(figure, found.models),
        )  # fmt: skip
    return table


def interval_in_words(figure: Figure) -> str:
    """`-0.3 to -0.1`."""
    return "–" if figure.interval is None else "{:+.3g} to {:+.3g}".format(*figure.interval)


def verdict(figure: Figure, models: Pair) -> str:
    """Who is better, where that is clear."""
    if not figure.better:
        return "equal" if figure.one == figure.other else ""
    if figure.interval is None:
        return ""
    return f"{printable(models[figure.better == 'other'])} is better" if figure.clear else "not clear"


def page(found: Comparison) -> str:
    """One HTML page that loads nothing."""
    own = files("vidpred.commands")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(own.joinpath("diff.html").read_text(encoding="utf-8"))
    return template.render(
        style=Markup(own.joinpath("lineage.css").read_text(encoding="utf-8")),  # ours, not input
        found=found,
        tables=[("Who they are", found.identity), ("Parameters", found.params), ("Model and task", found.config)],
        clips=clips_in_words(found),
        rows=[(f, f"{f.other - f.one:+.3g}", interval_in_words(f), verdict(f, found.models)) for f in found.figures],
        pictures=[
            (one, *(f"data:image/gif;base64,{base64.b64encode(gif).decode()}" for gif in (one.one, one.other)))
            for one in found.pictures
        ],
        version=__version__,
    )
