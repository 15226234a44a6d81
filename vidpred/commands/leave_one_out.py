"""`vidpred leave-one-out`: trains without each group of clips in turn, judges on it, and shows the table."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from vidpred.config import TrainParams, load_params
from vidpred.errors import UserError
from vidpred.evaluation.intervals import Gain
from vidpred.leaderboard.leave_one_out import REFERENCES, gains_of, judge_group, plan_rounds
from vidpred.training.device import set_threads
from vidpred.training.final import choose
from vidpred.training.loop import Stopped
from vidpred.workspace import atomic, find_root, home

log = logging.getLogger(__name__)

FOLDER = "leave_one_out"
"""Where the files go, in the project."""


def leave_one_out(*, groups: Sequence[str], steps: int | None, output: Path | None) -> int:
    """Judges what is asked for, writes the files and prints the table; returns the exit code.

    Raises:
        UserError: not in a project, no data, no such group, or nothing to train.
    """
    root = find_root()
    if output is not None and output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file: give a folder, two files are written")
    params = load_params(root / "params.yaml")
    if params.train.init is not None:
        log.warning("train.init is left out here: %s may have seen the group that is left out", params.train.init)
    if steps is not None:
        fewer = TrainParams.model_validate(params.train.model_dump() | {"steps": steps, "minutes": None})
        params = params.model_copy(update={"train": fewer})
    set_threads(params.resources.threads)
    rounds = plan_rounds(
        root, home(root), choose(params.train, root / "results/tune/best.yaml", params.task.kind), params
    )
    unknown = sorted(set(groups) - set(rounds.clips))
    if unknown:
        raise UserError(f"--groups: no group is called {unknown[0]}: there are {', '.join(rounds.clips)}")
    asked_to_stop: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: asked_to_stop.append(number))
    tables = []
    chosen = [group for group in rounds.clips if not groups or group in groups]
    try:
        for i, group in enumerate(chosen):
            log.info("%d of %d: %s is left out", i + 1, len(chosen), group)
            tables.append(judge_group(rounds, group, lambda: bool(asked_to_stop)))
            if asked_to_stop and len(tables) < len(chosen):
                raise Stopped
    except Stopped:
        log.warning("stopped; what is done is kept, and the same command goes on from here")
        return 130
    model, kind = rounds.choice.model, params.task.kind
    rows = (_videos_by_group if kind == "classify" else _by_group)(tables, model)
    _write_and_show(rows, gains_of(tables, model, kind), model, kind, output or root / FOLDER)
    return 0


def _by_group(tables: Sequence[pd.DataFrame], model: str) -> pd.DataFrame:
    """A row a group: how many windows, the PD of each model, and gains over `REFERENCES`."""
    others = REFERENCES["predict"]
    rows = []
    for table in tables:
        means = table.groupby("model")["perceptual_distance"].mean()
        row = {"group": table["group"].iloc[0], "windows": int((table["model"] == model).sum())}
        row |= {f"pd_{name}": means[name] for name in (model, *others)}
        rows.append(row | {f"over_{name}": 1 - means[model] / means[name] if means[name] else 0 for name in others})
    return pd.DataFrame(rows)


def _videos_by_group(tables: Sequence[pd.DataFrame], model: str) -> pd.DataFrame:
    """A row a group: how many videos, top-1 of each model, and by how much the model's is higher."""
    others = REFERENCES["classify"]
    rows = []
    for table in tables:
        means = table.groupby("model")["top1"].mean()
        row = {"group": table["group"].iloc[0], "videos": int((table["model"] == model).sum())}
        row |= {f"top1_{name}": means[name] for name in (model, *others)}
        rows.append(row | {f"over_{name}": means[model] - means[name] for name in others})
    return pd.DataFrame(rows)


def _write_and_show(rows: pd.DataFrame, gains: Mapping[str, Gain], model: str, kind: str, out: Path) -> None:
    classifies, others = kind == "classify", REFERENCES[kind]
    figure, unit = ("top-1", "") if classifies else ("PD", " %")
    headings = ["left out", str(rows.columns[1])]
    headings += [f"{figure} {name}" for name in (model, *others)] + [f"over {name}" for name in others]
    middle = 3 + len(others)
    cells = [
        [
            str(row[0]), str(row[1]), *(f"{100 * x:.1f} %" if classifies else f"{x:.2f}" for x in row[2:middle]),
            *(f"{100 * x:+.1f}{unit}" for x in row[middle:]),
        ]
        for row in rows.itertuples(index=False)
    ]  # fmt: skip
    told = [f"over {name}: {_in_words(gain, classifies=classifies)}" for name, gain in gains.items()]
    out.mkdir(parents=True, exist_ok=True)
    with atomic(out / "leave_one_out.csv") as part:
        rows.to_csv(part, index=False)
    with atomic(out / "leave_one_out.md") as part:
        table_rows = [headings, ["---"] * len(headings), *cells]
        part.write_text("\n".join([*(f"| {' | '.join(row)} |" for row in table_rows), "", *told, ""]))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for i, heading in enumerate(headings):
        table.add_column(heading.replace(" ", "\n"), justify="right" if i else "left", no_wrap=True)  # 80 columns do
    for row_cells in cells:
        table.add_row(*row_cells)
    console = Console(highlight=False)
    console.print(table)
    for line in [*told, os.path.relpath(out / "leave_one_out.md"), os.path.relpath(out / "leave_one_out.csv")]:
        console.print(line, markup=False, soft_wrap=True)


def _in_words(gain: Gain, *, classifies: bool) -> str:
    if gain["still"]:
        return "nothing moves"
    unit = "points of top-1" if classifies else "%"
    parts = [
        f"{100 * value:+.1f} {unit} {name} (95 %: {100 * low:+.1f} to {100 * high:+.1f})"
        for name, value, (low, high) in (
            ("pooled", gain["pooled"], gain["pooled_interval"]),
            ("macro", gain["macro"], gain["macro_interval"]),
        )
    ]
    units = "independent groups" if classifies else "independent groups or stretches of time"
    return f"{', '.join(parts)}, on {gain['units']} {units}"
