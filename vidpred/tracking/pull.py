"""A model out of a registry into a folder that needs no registry any more.

In: `models:/NAME@ALIAS` or the like. Out: weights, description, card, and `pulled.json`, which says where from.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from vidpred import workspace
from vidpred.errors import UserError
from vidpred.models.files import INFO, WEIGHTS, load_model
from vidpred.tracking import store
from vidpred.tracking.aliases import now
from vidpred.tracking.card import CARD_FILES
from vidpred.tracking.download import Found, bring, resolve
from vidpred.tracking.meant import FORMS, address, is_uri
from vidpred.types import Model

PULLED: Final = "pulled.json"
"""In the folder: from where, which version, when, and the sha256 of each file."""
FILES: Final = (WEIGHTS, INFO, *CARD_FILES)


class Pulled(NamedTuple):
    """What was done."""

    folder: Path
    told: dict[str, Any]
    """What `pulled.json` says."""
    anew: bool
    """False: the very same model was there already."""


def pull(model: str, out: Path | None = None) -> Pulled:
    """Copies a model into a folder: all of it, or nothing.

    Args:
        model: As `download` takes it, from a registry.
        out: New, empty, or of a model that was pulled before, which is replaced; None: `NAME-VERSION` here.

    Raises:
        UserError: there is no such model, it is damaged, or the folder holds something else.
    """
    if not is_uri(model):
        hint = f"did you mean {meant}? Else " if (meant := address(model)) else ""
        raise UserError(f"{model} is not in a registry: {hint}give {FORMS.rpartition(', or')[0]}")
    if out is not None:
        _replaceable(out)  # before anything is fetched
    found = resolve(model)
    source = bring(found.source, model)
    folder = out or Path(f"{found.name}-{found.version}" if found.name else re.sub(r"\W+", "-", model).strip("-"))
    before = _replaceable(folder)
    try:
        return _copied(source, folder, before, found=found, model=model)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): give another folder with --output") from None


def _copied(source: Path, folder: Path, before: Mapping[str, Any] | None, *, found: Found, model: str) -> Pulled:
    """Puts what was fetched in the folder, if it is not there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        part = Path(temporary) / "model"
        part.mkdir()
        for name in FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, part / name)
        info = load_model(part, Model)[1]  # what is pulled is usable
        told = {
            "model": f"models:/{found.name}/{found.version}" if found.name else model,
            "asked": model,
            "registry": store.display(store.tracking_uri()),
            "name": found.name,
            "version": found.version,
            "kind": info["task"].get("kind", "predict"),
            "weights_sha256": info["weights_sha256"],
            "files": {path.name: workspace.file_sha256(path) for path in sorted(part.iterdir())},
            "at": now(),
        }
        if before is not None and _same(before, told) and _intact(folder, before["files"]):
            return Pulled(folder, dict(before), False)
        workspace.write_json(part / PULLED, told)
        _put(part, folder)
    return Pulled(folder, told, True)


def read_pulled(folder: Path) -> dict[str, Any] | None:
    """What the `pulled.json` of a folder says; None: it has none, or none of ours."""
    try:
        told = json.loads((folder / PULLED).read_bytes())
        texts = ("model", "asked", "registry", "weights_sha256", "at")
        whole = all(isinstance(told[key], str) for key in texts) and set(told["files"]) <= set(FILES)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return dict(told) if whole else None


def _replaceable(folder: Path) -> dict[str, Any] | None:
    """What a folder that may be replaced says of itself; None: it is not there, or empty.

    Raises:
        UserError: it holds what was not pulled.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UserError(f"{folder} is no folder: give another one with --output")
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not there:
        return None
    try:
        told = json.loads((folder / PULLED).read_bytes())
        known = {PULLED, *told["files"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(
            f"{folder} holds something else than a pulled model, which is not overwritten: give a new folder"
        ) from None
    if others := sorted(there - known):
        named = ", ".join(others[:3]) + (" and more" if len(others) > 3 else "")
        raise UserError(f"{folder} also holds {named}, which would be lost: move that away, or give a new folder")
    whole: dict[str, Any] = told
    return whole


def _same(before: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    keys = ("model", "registry", "weights_sha256", "files")
    return all(before.get(key) == told[key] for key in keys)


def _intact(folder: Path, files: Mapping[str, str]) -> bool:
    """Whether the files are those that were pulled."""
    try:
        return all(workspace.file_sha256(folder / name) == sha256 for name, sha256 in files.items())
    except OSError:
        return False


def _put(part: Path, folder: Path) -> None:
    """Puts a finished folder in its place; the one before stays until then."""
    if not folder.exists():
        part.rename(folder)
        return
    old = part.with_name("old")
    folder.rename(old)
    try:
        part.rename(folder)
    except OSError:
        old.rename(folder)
        raise
