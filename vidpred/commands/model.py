"""`vidpred models NAME`: what a model is, the fields of its config, and its search space, ready for `tune.models`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
from typing import Any

import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from vidpred.models import zoo


def describe_model(name: str) -> dict[str, Any]:
    """A model in plain values: name, `about` (its file's docstring), `config` (field, default, about), `search`.

    Raises:
        UserError: no model has that name.
    """
    file = zoo.module(name)
    told = _docstrings(file.Config)
    fields = [
        {"field": field.name, "default": field.default, "about": told.get(field.name, "")}
        for field in dataclasses.fields(file.Config)
    ]
    return {"name": name, "about": inspect.cleandoc(file.__doc__ or ""), "config": fields, "search": zoo.search(name)}


def show_model(name: str, *, as_json: bool) -> None:
    """Prints it.

    Raises:
        UserError: no model has that name.
    """
    found = describe_model(name)
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
    if found["search"]:
        console.print("What a sweep may try, to be pasted below `tune.models` of params.yaml and thinned out:\n")
        text = yaml.safe_dump({name: found["search"]}, sort_keys=False, default_flow_style=None, width=100)
        console.print("".join(f"    {line}\n" for line in text.splitlines()), end="")


def _docstrings(config: type) -> dict[str, str]:
    """The text under each field of a class, in one line."""
    (body,) = ast.parse(inspect.getsource(config)).body
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    name = ""
    for node in body.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)):
                continue
            case ast.Expr(value=ast.Constant(value=str(text))) if name:
                found[name] = " ".join(text.split())
        name = ""
    return found
