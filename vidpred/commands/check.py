"""`vidpred check`: what is wrong with params.yaml, said before DVC removes what a stage made.

Imports nothing heavy until the models are built, last of all. DVC reads `fetch.source` itself, as a dependency; what it
says of one that is empty or not there helps nobody.
"""

from __future__ import annotations

import difflib
import os
import pkgutil
from pathlib import Path

import typer
from rich.console import Console

from vidpred.config import Params, load_params
from vidpred.errors import UserError
from vidpred.workspace import find_root

FORMS = "a folder of clips, a file or archive, a list of URLs (.txt, .csv, .tsv) or a dataset (.yaml)"


def check_params(path: Path) -> Params:
    """Params that are sound by themselves, and name models that there are.

    Raises:
        UserError: they are not; names the place.
    """
    params = load_params(path)
    known = _models(params.task.kind)
    for_it = " for task.kind classify" if params.task.kind == "classify" else ""
    for place, name in [*(("tune.models", name) for name in params.tune.models), ("train.model", params.train.model)]:
        if name is not None and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            instead = f"did you mean {near[0]}?" if near else "`vidpred models` lists them"
            raise UserError(f"{path}: {place} names {name}, and there is no such model{for_it}: {instead}")
    return params


def check_source(root: Path, source: str, *, where: str = "") -> None:
    """Makes sure that DVC finds `fetch.source`.

    Args:
        root: Of the project, where relative paths begin.
        source: The path.
        where: It was written; an empty string: in params.yaml.

    Raises:
        UserError: it does not; says what to write instead.
    """
    where = where or f"{root / 'params.yaml'}: fetch.source"
    if not source.strip():
        raise UserError(f"{where} is empty: give {FORMS}")
    if "://" in source:
        raise UserError(
            f"{where} is {source}, but must be a path: put URLs into a text file, one a line, and name that"
        )
    expanded = os.path.expandvars(Path(source).expanduser()) if source.startswith(("~", "$")) else source
    if str(expanded) != source:
        raise UserError(f"{where} is {source}, and DVC expands neither ~ nor variables: write {expanded}")
    if not (root / source).exists():
        raise UserError(f"{where} is {source}, which is not there{_near(root / source, root)}: give {FORMS}")


def check_ffmpeg(path: Path, choice: str) -> None:
    """Makes sure that `transcode.ffmpeg` names one.

    Raises:
        UserError: it does not.
    """
    if choice != "bundled":  # that one came with the set-up
        from vidpred.data.launch import ffmpeg_binary

        try:
            ffmpeg_binary(choice)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None


def _near(path: Path, root: Path) -> str:
    """What beside a path may have been meant."""
    if not path.parent.is_dir():
        return f" (nor is {path.parent})"
    near = difflib.get_close_matches(path.name, (found.name for found in path.parent.iterdir()), n=1)
    if not near:
        return ""
    meant = path.with_name(near[0])
    return f" (did you mean {meant.relative_to(root) if meant.is_relative_to(root) else meant}?)"


def _models(kind: str) -> list[str]:
    """Names of the zoo for a kind of task: its files, without the torch that they import."""
    from vidpred.models import classify, predict

    folder = (classify if kind == "classify" else predict).__path__
    return sorted(found.name for found in pkgutil.iter_modules(folder) if not found.name.startswith("_"))


def check_project() -> None:
    """Prints one line where all is well.

    Raises:
        UserError: something is not.
    """
    root = find_root()
    params = check_params(root / "params.yaml")
    check_source(root, params.fetch.source)
    check_ffmpeg(root / "params.yaml", params.transcode.ffmpeg)
    from vidpred.commands.check_clips import classes_known

    try:
        classes = classes_known(root, params)
    except UserError as error:
        raise UserError(f"{root / 'params.yaml'}: {error}") from None
    with Console(stderr=True).status("building the models of tune and train…"):  # torch alone takes seconds to load
        from vidpred.commands.check_models import check_models

        check_models(root / "params.yaml", params, classes)
    typer.echo(f"params.yaml is sound; clips come from {params.fetch.source}")
