"""The command `vidpred`: what a user types, what it says when something is wrong. Heavy imports stand in commands.

Exit codes: 0 all well, 1 an error that one line explains, 2 a command line that makes no sense, 130 Ctrl-C.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperOption

from vidpred.commands import predict as predicting
from vidpred.commands import registry as registry_commands
from vidpred.commands.classify import EPILOG as CLASSIFY_EPILOG
from vidpred.commands.classify import classify
from vidpred.commands.cluster import cluster_app
from vidpred.commands.export import EPILOG as EXPORT_EPILOG
from vidpred.commands.export import export
from vidpred.commands.lineage import lineage_commands
from vidpred.commands.serve import EPILOG as SERVE_EPILOG
from vidpred.commands.serve import serve
from vidpred.commands.visualize import EPILOG as VISUALIZE_EPILOG
from vidpred.commands.visualize import visualize
from vidpred.errors import UserError

STAGES = {
    "fetch": "Bring the clips of `fetch.source` here, under names of our own.",
    "transcode": "Make frames of one size and rate of them, with ffmpeg.",
    "split": "Decide which clips train, which choose and which judge.",
    "flow": "Note whether a model needs optical flow.",
    "tune": "Search models and their hyperparameters with Ray Tune.",
    "sweep": "Show what the search found, in tables and charts.",
    "train": "Train the best configuration at the full budget.",
    "evaluate": "Judge the model on the test clips, beside the baselines of its task.",
    "register": "Register the model in MLflow; champion only if it beats the one before.",
    "report": "Write the HTML page with tables, curves and moving pictures.",
}

app = typer.Typer(
    name="vidpred",
    help="From a folder of GIFs and videos to a registered model that predicts the next frames or tells classes apart.",
    epilog="Example: `vidpred predict models:/vidpred@champion cat.gif --frames 5 -o out.gif`. "
    "The whole pipeline: `make repro`, or `dvc repro` for what is stale.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from vidpred import __version__

        typer.echo(f"vidpred {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


app.command(epilog=predicting.EXAMPLES)(predicting.predict)
app.command(epilog=CLASSIFY_EPILOG)(classify)
app.command(epilog=VISUALIZE_EPILOG)(visualize)
app.command(epilog=EXPORT_EPILOG)(export)


@app.command(
    epilog="Examples: `vidpred models`; `vidpred models convlstm`; `vidpred models --task classify`; "
    "`vidpred models slow_fusion --receptive-field`; `vidpred models --registry`; `vidpred models --json`"
)
def models(
    name: Annotated[str | None, typer.Argument(help="One model: what it is, its config, what a sweep may try.")] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="predict, interpolate or classify. Default: that of params.yaml.")
    ] = None,
    receptive_field: Annotated[
        bool, typer.Option("--receptive-field", help="What each layer of a classifier sees of a clip.")
    ] = False,
    variant: Annotated[
        str | None, typer.Option("--variant", help="For --receptive-field: default, paper or toy.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    registry: Annotated[
        bool, typer.Option("--registry", help="Those in the MLflow registry instead; NAME: of one registered model.")
    ] = False,
) -> None:
    """List the models that can be trained, with their parameters and operations; or tell all of one."""
    from vidpred.commands.model import show_model, show_receptive_field
    from vidpred.commands.models import show_models
    from vidpred.errors import UserError

    if registry:
        registry_commands.show_registry(name, as_json=as_json)
        return
    if name is None and (receptive_field or variant):
        raise UserError("--receptive-field and --variant are for one model: name it")
    if variant and not receptive_field:
        raise UserError("--variant is for --receptive-field: add it, or leave both out")
    if name is None:
        show_models(as_json=as_json, kind=task)
    elif receptive_field:
        show_receptive_field(name, as_json=as_json, variant=variant)
    else:
        show_model(name, as_json=as_json, kind=task)


@app.command(epilog="Example: `vidpred doctor`; with a server: `MLFLOW_TRACKING_URI=http://host:5000 vidpred doctor`")
def doctor() -> None:
    """Say what is installed and what can be reached; exit code 1 if something is missing."""
    from vidpred.commands.doctor import examine

    raise typer.Exit(examine())


@app.command(epilog="Example: `vidpred summary`")
def summary() -> None:
    """Show the last results: test figures beside the baselines, and where the model and the report are."""
    from vidpred.commands.summary import show_summary

    show_summary()


@app.command(epilog="Examples: `vidpred clean --dry-run`; `vidpred clean --yes`")
def clean(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go and how large it is; delete nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Free what no output needs any more in VIDPRED_HOME: old frames, sweeps, checkpoints. Never what is in MLflow."""
    from vidpred.commands.clean import clean_home

    clean_home(dry_run=dry_run, yes=yes)


@app.command(epilog="Example: `vidpred ui --port 5001`")
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000,
) -> None:
    """Open the MLflow UI on the project's own store, for this machine only (127.0.0.1)."""
    from vidpred.commands.ui import serve

    serve(port=port)


app.command(epilog=SERVE_EPILOG)(serve)


@app.command(epilog="Examples: `vidpred sync`; `MLFLOW_TRACKING_URI=https://mlflow.example.org vidpred sync`")
def sync() -> None:
    """Send to MLflow what it lacks of sweeps and trainings, such as after an outage; what it has is not sent twice."""
    from vidpred.commands.sync import sync as send
    from vidpred.workspace import set_up_logging

    set_up_logging()
    raise typer.Exit(send())


@app.command(epilog="Example: `vidpred check`; `make repro` does it first")
def check() -> None:
    """Check params.yaml, before `dvc repro` finds out: values unknown or impossible, fetch.source, the models named."""
    from vidpred.commands.check import check_project

    check_project()


@app.command(epilog="Examples: `vidpred preset`; `vidpred preset real_videos --source ~/clips`")
def preset(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Of a file in presets/; none: list them.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="For `fetch.source`, where your clips are not the preset's.")
    ] = None,
) -> None:
    """Write a data protocol (sizes, split, model, budget) into params.yaml; its other values and comments stay."""
    from vidpred.commands.preset import apply_preset, list_presets

    if name is None:
        typer.echo("\n".join(list_presets()))
        return
    changes = apply_preset(name, source)
    if changes:
        typer.echo("\n".join(changes))
        typer.echo("params.yaml is changed: `dvc repro` runs it, `git diff params.yaml` shows it")
    else:
        typer.echo("params.yaml has all of it already: `dvc repro` runs it")


data_app = typer.Typer(
    name="data",
    help="Look at the data: what a folder of shards holds, whether it is whole, which datasets there are by name.",
    epilog="Examples: `vidpred data show`; `vidpred data verify`; `vidpred data catalog`",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(data_app)
Folder = Annotated[
    Path | None, typer.Argument(metavar="[FOLDER]", help="Of shards. Default: the project's data/shards.")
]


@data_app.command(
    epilog="Examples: `vidpred data show`; `vidpred data show data/shards --html card.html --contact-sheet sheet.png`"
)
def show(
    folder: Folder = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write the data set's card there: one HTML page.")] = None,
    contact_sheet: Annotated[
        Path | None, typer.Option("--contact-sheet", help="Write the clips' first frames there, as one PNG.")
    ] = None,
) -> None:
    """Show what was made of the sources: counts, lengths, motion, sizes, licences, and what was set aside and why."""
    from vidpred.commands.data import show as show_data

    show_data(folder, html=html, contact_sheet=contact_sheet)


@data_app.command(epilog="Examples: `vidpred data verify`; `vidpred data verify /mnt/shared/shards`")
def verify(folder: Folder = None) -> None:
    """Check every byte of the shards against its hash, and that all counts add up; exit code 1 if not."""
    from vidpred.commands.data import verify as verify_data

    verify_data(folder)


@data_app.command(epilog="Example: `vidpred data catalog`; then set fetch.source to one of them")
def catalog() -> None:
    """List the datasets that can be fetched by name, with their size, licence and official parts."""
    from vidpred.commands.data import catalog as list_catalog

    list_catalog()


registry_commands.add_commands(app)
app.add_typer(cluster_app)
lineage_commands(app)

leaderboard_app = typer.Typer(
    name="leaderboard",
    help="Train every model under one budget, judge all on one list of test windows, and write the page. What is done "
    "is kept: after Ctrl-C the same command goes on.",
    epilog="Examples: `vidpred leaderboard --steps 300 --seeds 2`; `vidpred leaderboard --minutes 10 --models "
    "warpmix,convlstm`; `vidpred leaderboard --steps 150 --tuned results/tune/best.yaml`; `vidpred leaderboard submit "
    "models:/vidpred@champion`",
    invoke_without_command=True,
    rich_markup_mode="rich",
)
app.add_typer(leaderboard_app)
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder for leaderboard.md, .csv and .html. Default: leaderboard/."),
]


@leaderboard_app.callback()
def leaderboard(
    context: typer.Context,
    models: Annotated[
        str | None, typer.Option(metavar="A,B", help="Of `vidpred models`. Default: all that are trained.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of each training. Default: the budget of params.yaml.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Minutes of each training, instead of steps.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings of each model that count.")] = 3,
    rates: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Learning rates tried with the first seed; validation chooses. Default: 1e-3,3e-3."
        ),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, max=256, help="Processes. Default: one a core.")] = None,
    tuned: Annotated[
        Path | None,
        typer.Option(
            metavar="BEST_YAML",
            help="One more row: what a sweep found best (results/tune/best.yaml), under the same budget and seeds.",
        ),
    ] = None,
    output: Output = None,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from vidpred.commands.leaderboard import hold_leaderboard, listed, numbers
    from vidpred.workspace import set_up_logging

    set_up_logging()
    raise typer.Exit(
        hold_leaderboard(
            models=listed(models, "--models"), steps=steps, minutes=minutes, seeds=seeds,
            rates=numbers(rates, "--rates"), jobs=jobs, output=output, tuned=tuned,
        )
    )  # fmt: skip


@leaderboard_app.command(
    epilog="Examples: `vidpred leaderboard submit models/trained`; "
    "`vidpred leaderboard submit models:/vidpred@champion --name mine`"
)
def submit(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A `models:/` URI of the MLflow registry, or a model folder.")
    ],
    name: Annotated[str | None, typer.Option(help="Of its row. Default: as MODEL is called.")] = None,
    output: Output = None,
) -> None:
    """Judge anybody's model on the same test windows, and add its row to the page; trains nothing."""
    from vidpred.commands.leaderboard import submit_model
    from vidpred.workspace import set_up_logging

    set_up_logging()
    submit_model(model, name=name, output=output)


@app.command(
    name="leave-one-out",
    epilog="Examples: `vidpred leave-one-out`; `vidpred leave-one-out --steps 300 --groups bikes,pancake`",
)
def leave_one_out(
    groups: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Leave out these only, one after the other. Default: every group of clips."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of each training. Default: the budget of params.yaml.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for leave_one_out.md and .csv. Default: leave_one_out/."),
    ] = None,
) -> None:
    """Train without each video (group of clips) in turn and judge on it; what is done is kept, Ctrl-C or not."""
    from vidpred.commands.leaderboard import listed
    from vidpred.commands.leave_one_out import leave_one_out as run
    from vidpred.workspace import set_up_logging

    set_up_logging()
    raise typer.Exit(run(groups=listed(groups, "--groups"), steps=steps, output=output))


_STAGE_PANEL = "Stages"
_STAGE_HELP = (
    "{what}\n\nRuns the stage now, whatever its state, with the params.yaml of this project. `dvc repro` runs what is "
    "stale, in order, and remembers it; `dvc repro {name}` up to this stage."
)


@app.command(
    rich_help_panel=_STAGE_PANEL,
    help=_STAGE_HELP.format(name="fetch", what=STAGES["fetch"]),
    epilog="Examples: `vidpred fetch`; `vidpred fetch --retry 'http 404' --retry timeout`, then `dvc repro`",
)
def fetch(
    retry: Annotated[
        list[str] | None,
        typer.Option(
            "--retry",
            metavar="REASON",
            help="Try again what failed for this reason, as `vidpred data show` names it, or `all`; may be given "
            "several times. (What may pass is tried again by every run.) Then `dvc repro` takes in what came.",
        ),
    ] = None,
) -> None:
    from vidpred.commands.stages import run
    from vidpred.data.transfer.items import check_retry

    check_retry(retry or [])  # before the old outputs go
    run("fetch", [argument for reason in retry or [] for argument in ("--retry", reason)])


@app.command(
    rich_help_panel=_STAGE_PANEL,
    help=_STAGE_HELP.format(name="tune", what=STAGES["tune"])
    + "\n\nA sweep is found again by what it depends on: one that was broken off goes on, one with a larger budget "
    "goes on with new trials, one that is finished only writes its results again.",
    epilog="Examples: `vidpred tune`; `vidpred tune --retry-failed`; `RAY_ADDRESS=head:6379 vidpred tune` on a cluster",
)
def tune(
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Let trials that failed go on from their last checkpoint, or begin again."),
    ] = False,
) -> None:
    from vidpred.commands.stages import run
    from vidpred.commands.tune import nothing_to_retry

    if retry_failed and (why := nothing_to_retry(os.environ.get("RAY_ADDRESS", ""))):
        typer.echo(why)
        return
    run("tune", ["--retry-failed"] if retry_failed else [], keep=True)


@app.command(
    rich_help_panel=_STAGE_PANEL,
    help=_STAGE_HELP.format(name="register", what=STAGES["register"])
    + "\n\nDVC restores the stage's receipt from git or a cache, not the registry: `make repro` registers with "
    "--if-missing what the registry lacks then.",
    epilog="Examples: `vidpred register`; `vidpred register --if-missing` after `dvc repro` or `dvc pull` in a clone",
)
def register(
    folder: Annotated[Path | None, typer.Argument(hidden=True)] = None,
    if_missing: Annotated[
        bool,
        typer.Option(
            "--if-missing",
            help="Only where the registry lacks the model that results/register/receipt.json tells of; a version that "
            "was deleted from it stays deleted.",
        ),
    ] = False,
) -> None:
    from vidpred.commands.register import check_folder, check_judged, register_missing
    from vidpred.commands.stages import run
    from vidpred.workspace import set_up_logging

    if folder is not None:
        check_folder(folder)
    if not if_missing:
        check_judged()
        run("register", keep=True)  # the receipt stays until there is another
    set_up_logging()
    register_missing()


def _stage_command(name: str) -> Callable[[], None]:
    def command() -> None:
        from vidpred.commands.stages import run

        run(name)

    return command


for _name, _what in STAGES.items():
    if _name not in ("fetch", "tune", "register"):  # which have options of their own
        app.command(
            _name,
            rich_help_panel=_STAGE_PANEL,
            help=_STAGE_HELP.format(name=_name, what=_what),
            epilog=f"Example: `vidpred {_name}`",
        )(_stage_command(_name))


_shown = TyperOption.display_type_rich


def _type_of(option: TyperOption, ctx: Any) -> str | None:
    """What stands beside an option in its help: nothing beside a switch, which takes no value."""
    return "" if option.is_flag else _shown(option, ctx)


TyperOption.display_type_rich = _type_of  # type: ignore[method-assign, assignment]


def _plain(message: str) -> str:
    """A message without the words of the library that reads values."""
    message = re.sub(r", unable to parse string as an? [\w ]+", "", message)
    return message.replace("Value error, ", "").replace("Input should be", "it should be")


def main() -> None:
    """Runs the command line; every error that a user can mend is one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False, prog_name="vidpred")
    except UserError as error:
        code = _fail(str(error), 1)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)  # of a usage error: the command whose help it is
        help_of = context.command_path if context else "vidpred"
        message = _plain(" ".join(error.format_message().split())) or "nothing to do"
        code = _fail(f"{message}{'' if message[-1] in '.?' else '.'} See `{help_of} --help`.", error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        code = _fail("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> int:
    typer.echo(f"error: {message}", err=True)
    return code
