"""`vidpred pull`, `promote`, `rollback` and `models --registry`: what people do with registered models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidpred.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vidpred.tracking.gate import Bench

_PANEL = "Registry"
_URI = "models:/NAME/VERSION, models:/NAME@ALIAS or models:/NAME/latest."


_WIDE = 90
"""Characters a line from which on the registry's table also has the data's id."""

_PULL = (
    "Examples: `vidpred pull models:/vidpred@champion -o champion`, then, without any server, `vidpred predict "
    "champion cat.gif`; `MLFLOW_TRACKING_URI=https://mlflow.example.org vidpred pull models:/vidpred/3`"
)
_PROMOTE = (
    "Examples: `vidpred promote models:/vidpred@challenger`; `vidpred promote models:/vidpred/3 --force "
    "--reason 'better on our own clips'`"
)
_ROLLBACK = "Examples: `vidpred rollback`; `vidpred rollback vidpred --reason 'flickers on dark clips'`"


def add_commands(app: typer.Typer) -> None:
    """Adds `pull`, `promote` and `rollback`."""
    app.command(rich_help_panel=_PANEL, epilog=_PULL)(pull)
    app.command(rich_help_panel=_PANEL, epilog=_PROMOTE)(promote)
    app.command(rich_help_panel=_PANEL, epilog=_ROLLBACK)(rollback)


def pull(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=f"{_URI}")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to put it in: new, or of a pulled model. Default: NAME-VERSION."),
    ] = None,
) -> None:
    """Copy a model and its card out of the registry into a folder, which works without a registry from then on."""
    from vidpred.tracking.pull import pull as fetch
    from vidpred.workspace import set_up_logging

    set_up_logging()
    folder, told, anew = fetch(model, output)
    what = f"{told['model']} (weights {told['weights_sha256'][:12]})"
    typer.echo(f"{folder}: {what}" + ("" if anew else ", which was there already"))
    does = "classify" if told.get("kind") == "classify" else "predict"
    typer.echo(f"use it without a registry: vidpred {does} {folder} cat.gif")


def promote(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=f"{_URI}")],
    force: Annotated[
        bool, typer.Option("--force", help="Whatever the gate says; the version's tags tell who did it, and why.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, with --force.")] = "",
) -> None:
    """Make a version champion if it beats baseline and champion on this project's test clips, or with --force."""
    from vidpred.tracking.meant import is_uri, not_registered
    from vidpred.tracking.promotion import promote as decide
    from vidpred.workspace import set_up_logging

    set_up_logging()
    if not is_uri(model):
        raise UserError(not_registered(model))
    if reason and not force:
        raise UserError("--reason is for --force: without it the gate decides, and tells its own reason")
    outcome = decide(model, judge=None if force else _judge(), reason=reason)
    if not outcome.champion:
        typer.echo(f"{outcome.uri} is not promoted: {outcome.reason}")
        typer.echo(f"to do it nonetheless: vidpred promote {outcome.uri} --force --reason '...'")
        raise typer.Exit(1)
    if outcome.uri.endswith(f"/{outcome.before}"):
        kept = ", and the reason is not kept" if reason else ""
        typer.echo(f"{outcome.uri} is the champion already: nothing is changed{kept}")
        return
    before = f" (before: version {outcome.before})" if outcome.before else ""
    typer.echo(f"{outcome.uri} is champion{before}: {outcome.reason}")


def rollback(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Registered model. Default: the project's, else vidpred.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the version.")] = "",
) -> None:
    """Make the champion before the present one champion again; done again, the one before that."""
    from vidpred.tracking.promotion import rollback as back
    from vidpred.workspace import set_up_logging

    set_up_logging()
    name = name or _name()
    was, now = back(name, reason=reason)
    typer.echo(f"models:/{name}@champion is version {now} again" + (f", and was version {was}" if was else ""))
    if was:
        typer.echo(f"to undo this: vidpred promote models:/{name}/{was} --force --reason '...'")


def show_registry(name: str | None, *, as_json: bool) -> None:
    """Prints the versions in the registry.

    Raises:
        UserError: there is no such model, or MLflow does not answer.
    """
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from vidpred.tracking import store
    from vidpred.tracking.listing import list_versions

    rows = list_versions(name)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    where = store.display(store.tracking_uri())
    if not rows:
        typer.echo(f"{where} has no models: `make repro` makes one and registers it, `vidpred register` one that is")
        return
    console = Console(highlight=False)
    told = f"{where}; gains over copying in PD, over the commonest class in points of top-1; 95 %"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), caption=told, caption_justify="left")
    narrow = console.width < _WIDE
    for heading in ("version", "alias", "model", "on test", "gain", "data", "age"):
        whole = heading in ("version", "alias")  # on a narrow terminal the others give way
        if heading == "data" and narrow:
            continue
        table.add_column(heading, no_wrap=whole, justify="right" if heading in ("on test", "gain", "age") else "left")
    for row in rows:
        cells = [
            f"{row['name']}/{row['version']}",
            ", ".join(row["aliases"]),
            row["model"] or "–",
            _on_test(row),
            _gain(row),
            (row["data_id"] or "–")[:8],
            _age(row["age_seconds"]),
        ]
        if narrow:
            del cells[-2]
        table.add_row(*map(escape, cells), style="bold" if "champion" in row["aliases"] else "")
    console.print(table)
    for row in rows:
        console.print(f"{row['uri']}: {row['reason'] or 'not registered by vidpred'}", markup=False, soft_wrap=True)


def _on_test(row: dict[str, Any]) -> str:
    if row["top1"] is not None:
        return f"top-1 {100 * row['top1']:.1f} %"
    return "–" if row["pd"] is None else f"PD {row['pd']:.2f}"


def _gain(row: dict[str, Any]) -> str:
    if row["gain"] is None:
        return "–"
    interval = row["gain_interval"]
    sure = f" ({100 * interval[0]:+.0f}…{100 * interval[1]:+.0f})" if interval else ""
    return f"{100 * row['gain']:+.1f}{' %' if row['top1'] is None else ''}{sure}"


def _age(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _name() -> str:
    """What the project registers under."""
    from vidpred.config import load_params
    from vidpred.workspace import find_root

    try:
        root = find_root()
    except UserError:
        return "vidpred"
    return load_params(root / "params.yaml").registered


def _judge() -> Callable[[Path], Bench]:
    """Scores models on this project's test clips.

    Raises:
        UserError: this is no project, or its clips are not here.
    """
    from vidpred.config import load_params
    from vidpred.data.shards import Shards
    from vidpred.tracking.judge import judge_on
    from vidpred.training.device import choose_device, set_threads
    from vidpred.workspace import find_root

    try:
        root = find_root()
    except UserError as error:
        raise UserError(f"the gate judges on a project's test clips: {error}, or overrule it with --force") from None
    params = load_params(root / "params.yaml")
    summary = root / "results/split/summary.json"
    if not (root / "data/split").is_dir() or not summary.is_file():
        raise UserError(f"{root} has no split yet, so no test clips: `dvc pull` or `dvc repro split`")
    set_threads(params.resources.threads)
    return judge_on(
        Shards(root / "data/shards"),
        root / "data/split",
        by_time=json.loads(summary.read_text())["kind"] == "time",
        params=params,
        device=choose_device(params.resources.device),
    )
