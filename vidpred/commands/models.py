"""`vidpred models`: the zoo as a table, counted at the size of this project's frames."""

from __future__ import annotations

import json
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vidpred.config import load_params
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.types import Task
from vidpred.workspace import find_root


def describe_models(task: Task) -> list[dict[str, object]]:
    """A row a model at its default config: name, what, parameters, operations (multiply-adds a frame), trained."""
    rows: list[dict[str, object]] = []
    for name in zoo.names():
        model = zoo.build(name, {}, task)
        what = (zoo.module(name).__doc__ or "").strip().splitlines()[0].rstrip(".")
        rows.append(
            {
                "name": name,
                "what": what.removeprefix(f"{name}: ").removeprefix(f"`{name}`: "),
                "parameters": zoo.parameters(model),
                "operations": zoo.operations(model, task),
                "trained": zoo.is_trained(name),
            }
        )
    return rows


def show_models(*, as_json: bool) -> None:
    """Prints the zoo; the task is params.yaml's, or the default one outside a project."""
    task = _task()
    rows = describe_models(task)
    if as_json:
        Console(soft_wrap=True, highlight=False, markup=False).print(json.dumps(rows, indent=2))
        return
    size = f"{task.context} frames of {task.height}x{task.width} in, {task.horizon} out, at the default config"
    table = Table(box=box.SIMPLE_HEAD, caption=f"multiply-adds of one predicted frame; {size}", caption_justify="left")
    table.add_column("model", style="bold", no_wrap=True)
    for heading in ("parameters", "multiply-adds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("what it does")
    for row in rows:
        parameters, operations = int(str(row["parameters"])), int(str(row["operations"]))
        counted = f"{parameters:,}" if row["trained"] else "–"
        table.add_row(str(row["name"]), counted, short(operations) if operations else "–", escape(str(row["what"])))
    Console().print(table)


def short(count: int) -> str:
    """A count with three digits and a letter: 12.3 M."""
    value = float(count)
    for letter in ("", " k", " M"):
        if value < 999.5:
            return f"{value:.3g}{letter}"
        value /= 1000
    return f"{value:.3g} G"


def _task() -> Task:
    try:
        params = load_params(find_root() / "params.yaml")
    except UserError:
        if any((folder / "params.yaml").is_file() for folder in (Path.cwd(), *Path.cwd().parents)):
            raise
        return Task(context=5, horizon=1, height=64, width=64)
    return Task(
        context=params.task.context,
        horizon=params.task.horizon,
        interval=params.task.interval,
        kind=params.task.kind,
        height=params.transcode.height,
        width=params.transcode.width,
    )
