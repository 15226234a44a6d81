"""`vidpred leaderboard`: holds it, or adds a model to it, and shows the table."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vidpred.data.progress import progress
from vidpred.errors import UserError
from vidpred.leaderboard import classes
from vidpred.leaderboard.bench import Bench
from vidpred.leaderboard.board import Board, make_board
from vidpred.leaderboard.classes import ClassStanding
from vidpred.leaderboard.contest import Interrupted, jobs_of
from vidpred.leaderboard.page import percent, share, short, speed
from vidpred.leaderboard.plan import RATES, Plan, make_plan
from vidpred.leaderboard.submit import submit
from vidpred.leaderboard.table import PD, Row, gain_of
from vidpred.workspace import find_root

log = logging.getLogger(__name__)

FOLDER = "leaderboard"
"""Where the files go, in the project."""


def hold_leaderboard(
    *,
    models: Sequence[str],
    steps: int | None,
    minutes: float | None,
    seeds: int,
    rates: Sequence[float] | None,
    jobs: int | None,
    output: Path | None,
    tuned: Path | None = None,
) -> int:
    """Trains and judges what is asked for, writes the files and prints the table; returns the exit code.

    Raises:
        UserError: not in a project, no data, or an option that makes no sense.
    """
    root, out = find_root(), _folder(output)
    plan = make_plan(
        root, models=models, steps=steps, minutes=minutes, seeds=seeds, rates=rates or RATES, jobs=jobs, tuned=tuned
    )
    total = jobs_of(plan)
    log.info(
        "%s%s, %s each, %s, %s: %s in %s",
        counted(len(plan.models), "model"), f" and {plan.tuned.name}" if plan.tuned else "", plan.budget,
        counted(len(plan.rates), "learning rate"), counted(plan.seeds, "seed"),
        counted(total, "training and judgement", "trainings and judgements"),
        counted(plan.jobs, "process", "processes"),
    )  # fmt: skip
    with ExitStack() as stack:
        # one process shows the bar of each training instead
        tick = stack.enter_context(progress("leaderboard", total)) if plan.jobs > 1 else lambda: None
        try:
            board = make_board(plan, out or root / FOLDER, command=command_of(plan, models), tick=tick)
        except Interrupted:
            stack.close()
            log.warning("stopped; what is done is kept, and the same command goes on from here")
            return 130
    show(board)
    return 0


def submit_model(model: str, *, name: str | None, output: Path | None) -> None:
    """Judges a model on the frozen list, adds it to the files and prints the table.

    Raises:
        UserError: as `leaderboard.submit.submit`.
    """
    root, out = find_root(), _folder(output)
    plan = make_plan(root, jobs=1)
    board, called = submit(Bench(plan), model, out or root / FOLDER, name=name)
    show(board, marked=called)


def counted(number: int, one: str, several: str = "") -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def _folder(output: Path | None) -> Path | None:
    if output is not None and output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file: give a folder, three files are written")
    return output


def command_of(plan: Plan, models: Sequence[str]) -> str:
    """What people would type for the same leaderboard."""
    minutes = plan.params.train.minutes
    budget = f"--steps {plan.params.train.steps}" if minutes is None else f"--minutes {minutes:g}"
    chosen = f" --models {','.join(models)}" if models else ""
    rates = ",".join(f"{rate:g}" for rate in plan.rates)
    tuned = f" --tuned {plan.tuned.path}" if plan.tuned else ""
    return f"vidpred leaderboard {budget} --seeds {plan.seeds} --rates {rates}{chosen}{tuned}"


def listed(text: str | None, option: str) -> list[str]:
    """The parts of `a,b`.

    Raises:
        UserError: there are none.
    """
    if text is None:
        return []
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UserError(f"{option} {text!r} names nothing: leave it out, or write {option} A,B")
    return parts


def numbers(text: str | None, option: str) -> list[float]:
    """The numbers of `1e-3,3e-3`.

    Raises:
        UserError: one is none.
    """
    found = []
    for part in listed(text, option):
        try:
            found.append(float(part))
        except ValueError:
            raise UserError(f"{option} {text}: {part!r} is no number") from None
    return found


def show(board: Board, *, marked: str = "") -> None:
    """Prints the table, best first, what has no figures, and where the files are."""
    if isinstance(board.standing, ClassStanding):
        _show_classes(board, board.standing, marked)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("model", no_wrap=True)
    references = board.standing.references
    for heading in ("PD", *references, "PSNR", "edges", "params", "train", "predict"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in board.standing.rows:
        if row.means:
            style = "bold" if row.name == marked or row.kind == "tuned" else "dim" if row.kind == "baseline" else ""
            table.add_row(*_cells(row, references), style=style)
    console = Console(highlight=False)
    console.print(table)
    for row in board.standing.rows:
        if row.error:
            console.print(f"{row.name}: {row.error}", style="yellow", markup=False, soft_wrap=True)
    if (tuned := board.standing.tuned) and board.standing.outdone:
        console.print(
            f"{tuned.name} {board.standing.verdict}; it is {tuned.note}", style="bold", markup=False, soft_wrap=True
        )
    console.print(
        f"{board.facts['windows']} test windows, list {board.facts['list_id']}; gains in PD over {references[0]} "
        f"and {references[1]}, ✓: the whole 95 % interval is above zero; edges: their contrast, of that of the last "
        "frames seen; train and predict in clips/s",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    for path in board.paths:
        console.print(os.path.relpath(path), markup=False, soft_wrap=True)


def _show_classes(board: Board, standing: ClassStanding, marked: str) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("model", no_wrap=True)
    for heading in ("top-1", "95 %", "over majority", "entropy", "params", "train", "predict"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in standing.rows:
        if row.means:
            style = "bold" if row.name == marked or row.kind == "tuned" else "dim" if row.kind == "baseline" else ""
            low, high = row.interval or (None, None)
            gain = "–" if row.gain is None else classes.points(row.gain["pooled"]) + (" ✓" if row.beats else "  ")
            table.add_row(
                row.name, classes.percent(row.means["top1"]),
                "–" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}",
                gain, f"{row.means['cross_entropy']:.3f}", short(row.parameters) if row.parameters else "–",
                speed(row.train_speed), speed(row.predict_speed), style=style,
            )  # fmt: skip
    console = Console(highlight=False)
    console.print(table)
    for row in standing.rows:
        if row.error:
            console.print(f"{row.name}: {row.error}", style="yellow", markup=False, soft_wrap=True)
    console.print(
        f"{board.facts['windows']} test windows, list {board.facts['list_id']}; gains in points of top-1 over "
        f"{standing.bar}, ✓: the whole 95 % interval is above zero; train in clips/s, predict in windows/s",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    for path in board.paths:
        console.print(os.path.relpath(path), markup=False, soft_wrap=True)


def _cells(row: Row, references: Sequence[str]) -> list[str]:
    cells = [row.name, f"{row.means[PD]:.2f}"]
    for other in references:
        gain = gain_of(row.gains.get(other), "pooled")
        cells.append("–" if gain is None else percent(gain[0]) + (" ✓" if row.beats[other] else "  "))
    cells += [f"{row.means['psnr_db']:.2f}", share(row.edges)]
    cells += [short(row.parameters) if row.parameters else "–", speed(row.train_speed), speed(row.predict_speed)]
    return cells
