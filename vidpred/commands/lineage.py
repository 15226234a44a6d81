"""`vidpred explain | verify | reproduce | diff`: the way back from a model to its data, as the command line has it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="`models:/NAME@ALIAS`, `models:/NAME/3`, `runs:/RUN/FOLDER`, or a folder such as models/trained.",
    ),
]
_PANEL = "Where a model comes from"


def lineage_commands(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(
        rich_help_panel=_PANEL,
        epilog="Examples: `vidpred explain models:/vidpred@champion`; `vidpred explain models/trained "
        "--html lineage.html`; `vidpred explain models:/vidpred/3 --json`",
    )(explain)
    app.command(
        rich_help_panel=_PANEL,
        epilog="Examples: `vidpred verify models:/vidpred@champion`; "
        "`vidpred verify models:/vidpred@champion --repair`, where the registry lost what this project has made",
    )(verify)
    app.command(
        rich_help_panel=_PANEL,
        epilog="Examples: `vidpred reproduce models:/vidpred@champion`; "
        "`vidpred reproduce models:/vidpred/3 --dry-run`; `vidpred reproduce models/trained --yes --keep`",
    )(reproduce)
    app.command(
        rich_help_panel=_PANEL,
        epilog="Examples: `vidpred diff models:/vidpred/3 models:/vidpred@champion`; "
        "`vidpred diff models:/vidpred/1 models/trained --html diff.html`",
    )(diff)


def explain(
    model: Model,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs: every source, every hash.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write it as one self-contained HTML page instead.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="List every source, changed file and parameter instead of a few.")
    ] = False,
) -> None:
    """Show the way back from a model to its data: run, code, parameters, split, frames, sources with their licences."""
    from vidpred.commands.explain import explain as show
    from vidpred.workspace import set_up_logging

    set_up_logging()
    show(model, as_json=as_json, html=html, every=every)


def verify(
    model: Model,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Register again what the registry has lost and this project's receipt has.")
    ] = False,
) -> None:
    """Check hashes at every hop of a model's way: weights, run, record, aliases, frames, split, files; exit code 1."""
    from vidpred.commands.verify import verify as check
    from vidpred.workspace import set_up_logging

    set_up_logging()
    raise typer.Exit(check(model, as_json=as_json, mend=repair))


def reproduce(
    model: Model,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before its code is run.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would be run, with all that is laid over the commit as a diff; run nothing."
        ),
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the worktree, to look at what came out.")] = False,
    evaluate: Annotated[
        bool, typer.Option("--evaluate/--no-evaluate", help="Judge it on test too, and compare the figures.")
    ] = True,
    pull: Annotated[
        bool,
        typer.Option(
            "--pull/--no-pull", help="Take what DVC's cache lacks from its remote, or run the stages instead."
        ),
    ] = True,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust-registry", help="Run code and parameters that a registry other than the project's own has kept."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The outcome, or with --dry-run the plan, as JSON, for programs.")
    ] = False,
) -> None:
    """Make a model again from its commit, parameters and data, elsewhere; exit code 1 if its weights differ."""
    from vidpred.commands.reproduce import reproduce as again
    from vidpred.workspace import set_up_logging

    set_up_logging()
    raise typer.Exit(
        again(model, yes=yes, dry_run=dry_run, keep=keep, evaluate=evaluate, pull=pull, trust=trust, as_json=as_json)
    )


def diff(
    one: Model,
    other: Model,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write one HTML page there, with pictures.")] = None,
) -> None:
    """Put two models side by side: what differs of their parameters and data, figures on test with intervals."""
    from vidpred.commands.diff import diff as show
    from vidpred.workspace import set_up_logging

    set_up_logging()
    show(one, other, as_json=as_json, html=html)
