"""`vidpred models NAME`: what a model is, the fields of its config, and its search space, ready for `tune.models`.

Of a classifier also its variants at the sizes that they were made for, and what its layers see of a clip.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import json
from typing import Any

import torch
import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from vidpred.commands.models import short, task_of
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.receptive import receptive_fields
from vidpred.types import Classifier, Task

_SAYS = {"predict": "predict frames", "classify": "classify clips"}


def describe_model(name: str, kind: str = "predict") -> dict[str, Any]:
    """A model in plain values: name, `about` (its file's docstring), `config` (field, default, about), `search`; of a
    classifier also `variants` (variant, size as frames, rows and columns, classes, parameters, operations).

    Raises:
        UserError: no model has that name.
    """
    file = zoo.module(name, kind)
    told = _docstrings(file.Config)
    fields = [
        {"field": field.name, "default": field.default, "about": told.get(field.name, "")}
        for field in dataclasses.fields(file.Config)
    ]
    about: dict[str, Any] = {"name": name, "about": inspect.cleandoc(file.__doc__ or ""), "config": fields}
    about["search"] = zoo.search(name, kind)
    if kind == "classify":
        about["variants"] = [_variant(name, variant) for variant in zoo.variants(name, kind)]
    return about


def show_model(name: str, *, as_json: bool, kind: str | None = None) -> None:
    """Prints it; where no kind of task is told, the project's, or the one that has a model of this name.

    Raises:
        UserError: no model has that name.
    """
    chosen = _kind(name, kind)
    found = describe_model(name, chosen)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if as_json:
        console.print(json.dumps(found, indent=2))
        return
    console.print(f"{found['about']}\n")
    if found["config"]:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("config", style="bold", no_wrap=True)
        table.add_column("default", no_wrap=True)
        table.add_column("what it is")
        for field in found["config"]:
            table.add_row(field["field"], json.dumps(field["default"]), field["about"])
        Console(highlight=False, markup=False).print(table)
    if "variants" in found:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("variant", "made for", "classes", "parameters", "multiply-adds"):
            table.add_column(heading, justify="left" if heading == "variant" else "right", no_wrap=True)
        for row in found["variants"]:
            size = " x ".join(str(side) for side in row["size"])
            table.add_row(row["variant"], size, str(row["classes"]), f"{row['parameters']:,}", short(row["operations"]))
        Console(highlight=False, markup=False).print(table)
    if found["search"]:
        console.print("What a sweep may try, to be pasted below `tune.models` of params.yaml and thinned out:\n")
        text = yaml.safe_dump({name: found["search"]}, sort_keys=False, default_flow_style=None, width=100)
        console.print("".join(f"    {line}\n" for line in text.splitlines()), end="")
    if kind is None and (other := _other_of_that_name(name, chosen)):
        console.print(other)


def show_receptive_field(name: str, *, as_json: bool, variant: str | None = None) -> None:
    """Prints what the layers of a classifier see; of its toy, where it has one and no variant is told.

    Raises:
        UserError: no classifier has that name, or it has no such variant.
    """
    known = zoo.variants(name, "classify")
    chosen = variant or ("toy" if "toy" in known else "default")
    task = _made_for(name, chosen)
    quiet = Console(stderr=True)
    with torch.random.fork_rng(devices=[]), quiet.status(f"asking {name} what it sees"):
        seen = receptive_fields(zoo.build(name, {"variant": chosen}, task, Classifier), task)
    if as_json:
        rows = [dataclasses.asdict(row) for row in seen]
        Console(soft_wrap=True, highlight=False, markup=False).print(json.dumps(rows, indent=2))
        return
    size = f"{task.context} frames of {task.height}x{task.width}"
    caption = f"what the middle of each layer sees of {size}; variant {chosen}"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=caption, caption_justify="left")
    table.add_column("layer", style="bold", no_wrap=True)
    for heading in ("what", "output", "frames x rows x columns"):
        table.add_column(heading, justify="left" if heading == "what" else "right", no_wrap=True)
    for row in seen:
        shape = " x ".join(str(side) for side in row.shape)
        table.add_row(row.layer, row.kind, shape, f"{row.frames} x {row.rows} x {row.columns}")
    Console(highlight=False, markup=False).print(table)


def _kind(name: str, kind: str | None) -> str:
    if kind is not None:
        return kind
    ours = task_of(None).kind
    if found := next((known for known in (ours, *_SAYS) if name in zoo.names(known)), None):
        return found
    every = {one for known in _SAYS for one in zoo.names(known)}
    near = difflib.get_close_matches(name.lower().replace("-", "_"), every, n=1, cutoff=0.5)
    listed = "; ".join(f"those that {says}: {', '.join(zoo.names(known))}" for known, says in _SAYS.items())
    raise UserError(f"no model is called {name!r}: " + (f"did you mean {near[0]!r}? ({listed})" if near else listed))


def _other_of_that_name(name: str, kind: str) -> str:
    """A sentence where models of another kind of task have the name too; else empty."""
    other = "predict" if kind == "classify" else "classify"
    if name not in zoo.names(other):
        return ""
    return f"There is a {name} to {_SAYS[other]} too: `vidpred models {name} --task {other}`"


def _made_for(name: str, variant: str) -> Task:
    """A task of the size that a variant was made for: its file's `MADE_FOR`, or the plain one."""
    plain = zoo.PLAIN_TASKS["classify"]
    size = zoo.module(name, "classify").MADE_FOR.get(variant)
    if size is None:
        return plain
    frames, side, classes = size
    names = tuple(f"class {number}" for number in range(classes))
    return dataclasses.replace(plain, context=frames, height=side, width=side, classes=names)


def _variant(name: str, variant: str) -> dict[str, Any]:
    task = _made_for(name, variant)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # nothing is drawn or computed
        model = zoo.build(name, {"variant": variant}, task, Classifier)
        parameters, operations = zoo.parameters(model), zoo.operations(model, task)
    size = [task.context, task.height, task.width]
    told = {"variant": variant, "size": size, "classes": len(task.classes)}
    return {**told, "parameters": parameters, "operations": operations}


def _docstrings(config: type) -> dict[str, str]:
    """The text under each field of a class and of those that it inherits from, in one line."""
    found: dict[str, str] = {}
    for base in config.__bases__:
        if base is not object:
            found |= _docstrings(base)
    (body,) = ast.parse(inspect.getsource(config)).body
    assert isinstance(body, ast.ClassDef)
    name = ""
    for node in body.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)):
                continue
            case ast.Expr(value=ast.Constant(value=str(text))) if name:
                found[name] = " ".join(text.split())
        name = ""
    return found
