"""`vidpred explain MODEL`: the way back from a model to its sources, as a tree, as JSON, as a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import typer
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from vidpred import __version__
from vidpred.errors import UserError
from vidpred.tracking.lineage.hops import MAIN, Hop, Source, Way
from vidpred.tracking.lineage.subject import opened
from vidpred.tracking.lineage.way import way
from vidpred.workspace import atomic

LISTED = 5
"""Sources named unless all are asked for."""
LISTED_ON_PAGE = 200


def explain(model: str, *, as_json: bool, html: Path | None, every: bool) -> None:
    """Prints it, or writes the page where one is asked for.

    Raises:
        UserError: there is no such model, or the store does not answer.
    """
    with opened(model) as subject:
        found = way(subject)
        damaged = list(subject.damaged)
    if html is not None:
        write_page(html, page(found, damaged, every=every))
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
        return
    console = Console(highlight=False)
    if not console.is_terminal:  # whoever reads it wants whole lines
        console = Console(highlight=False, width=10_000)
    if html is None:
        console.print(tree(found, every=every))
    for one in damaged:
        console.print(
            Text.assemble(("damaged: ", "bold red"), f"{printable(one)}; `vidpred verify {model}` checks all")
        )
    if html is not None:
        console.print(f"{html} is the page", markup=False)


def write_page(path: Path, text: str) -> None:
    """Writes it whole or not at all.

    Raises:
        UserError: it cannot be written there.
    """
    try:
        with atomic(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): give another file with --html") from None


def printable(text: object) -> str:
    """Text from a registry without what a terminal would obey."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def tree(found: Way, *, every: bool) -> Tree:
    """The hops in order, the first the weights; what the run had beside its data stands below it."""
    hops = {hop.name: hop for hop in found.hops}
    root = Tree(Text(printable(found.model), style="bold"), guide_style="dim")
    for name in MAIN:
        place = _branch(root, hops[name], every=every)
        if name == "run":
            for side in ("code", "machine", "sweep"):
                if side in hops:
                    _branch(place, hops[side], every=every)
        if name == "sources":
            _add_sources(place, found.sources, every=every)
    return root


def _branch(place: Tree, hop: Hop, *, every: bool) -> Tree:
    head = Text.assemble((hop.name, "bold cyan"), "  ", printable(hop.what))
    branch = place.add(head)
    if hop.hash:
        branch.add(Text.assemble((hop.hash, "green"), (f"  {hop.hash_of}", "dim")))
    for name, value in hop.shown(every=every).items():
        branch.add(Text.assemble((f"{printable(name)}: ", "dim"), printable(value)))
    if hop.known_from:
        branch.add(Text(f"known from {', '.join(hop.known_from)}", style="dim italic"))
    if hop.unseen:
        branch.add(Text(f"not seen from here: {printable(hop.unseen)}", style="yellow"))
    return branch


def _add_sources(place: Tree, sources: Sequence[Source], *, every: bool) -> None:
    shown = sources if every else sources[:LISTED]
    for source in shown:
        note = f"  {source.licence}, {source.clips} clip{'s' * (source.clips != 1)}"
        note += f", {source.parts}" if source.parts else ""
        place.add(Text.assemble(printable(source.name), (printable(note), "dim"), (f"  {source.sha256[:12]}", "green")))
    if len(shown) < len(sources):
        place.add(Text(f"and {len(sources) - len(shown):,} more: --all lists them", style="dim"))


def page(found: Way, damaged: Sequence[str], *, every: bool) -> str:
    """One HTML page that loads nothing: all facts, and of many sources the first unless `every` one is asked for."""
    own = files("vidpred.commands")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(own.joinpath("explain.html").read_text(encoding="utf-8"))
    hops = {hop.name: hop for hop in found.hops}
    shown = found.sources if every else found.sources[:LISTED_ON_PAGE]
    return template.render(
        style=Markup(own.joinpath("lineage.css").read_text(encoding="utf-8")),  # ours, not input
        model=found.model,
        way=[hops[name] for name in MAIN],
        beside=[hop for hop in found.hops if hop.name not in MAIN],
        sources=shown,
        more=len(found.sources) - len(shown),
        damaged=damaged,
        version=__version__,
    )
