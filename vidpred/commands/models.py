"""`vidpred models`: the zoo as a table, counted at the size of this project's frames."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vidpred.config import load_params
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.types import Model, Task
from vidpred.workspace import find_root


def describe_models(task: Task) -> list[dict[str, object]]:
    """A row a model at its default config: name, what, parameters, operations (multiply-adds a frame or, of a
    classifier, a clip), trained, variants."""
    rows: list[dict[str, object]] = []
    for name in zoo.names(task.kind):
        model = zoo.build(name, {}, task, Model)
        what = (zoo.module(name, task.kind).__doc__ or "").strip().splitlines()[0].rstrip(".")
        rows.append(
            {
                "name": name,
                "what": what.removeprefix(f"{name}: ").removeprefix(f"`{name}`: "),
                "parameters": zoo.parameters(model),
                "operations": zoo.operations(model, task),
                "trained": zoo.is_trained(name, task.kind),
                "variants": zoo.variants(name, task.kind),
            }
        )
    return rows


def show_models(*, as_json: bool, kind: str | None = None) -> None:
    """Prints the zoo; the task is params.yaml's, or the default one outside a project or where it is of another kind.

    Raises:
        UserError: there is no such kind of task.
    """
    task = task_of(kind)
    rows = describe_models(task)
    if as_json:
        Console(soft_wrap=True, highlight=False, markup=False).print(json.dumps(rows, indent=2))
        return
    size, unit = f"{task.context} frames of {task.height}x{task.width} in", "predicted frame"
    if task.kind == "classify":
        size, unit = f"{size}, {len(task.classes)} classes", "clip"
    else:
        size = f"{size}, {task.horizon} out"
    caption = f"multiply-adds of one {unit}; {size}, at the default config"
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
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


def task_of(kind: str | None) -> Task:
    """The project's task, or a plain one: outside a project, and where the project's is of another kind.

    Args:
        kind: `predict`, `interpolate` or `classify`; None: the project's.

    Raises:
        UserError: there is no such kind; or params.yaml is wrong.
    """
    if kind is not None:
        zoo.names(kind)  # a misspelt one gets the nearest right one
    plain = zoo.PLAIN_TASKS[kind or "predict"]
    try:
        params = load_params(find_root() / "params.yaml")
    except UserError:
        if any((folder / "params.yaml").is_file() for folder in (Path.cwd(), *Path.cwd().parents)):
            raise
        return plain
    plain = zoo.PLAIN_TASKS[kind or params.task.kind]
    if kind not in (None, params.task.kind):
        return replace(plain, height=params.transcode.height, width=params.transcode.width)
    return Task(
        context=params.task.context,
        horizon=params.task.horizon if plain.horizon else 0,
        interval=params.task.interval,
        kind=params.task.kind,
        classes=plain.classes,
        height=params.transcode.height,
        width=params.transcode.width,
    )
