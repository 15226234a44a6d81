"""What may have been meant by a MODEL that is not there, and what to do about it.

In: what was typed. Out: the end of a message: the nearest name that there is, what there is, how models are named. The
project's own registry is read as a file, without MLflow, where that is enough.
"""

from __future__ import annotations

import difflib
import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vidpred import workspace
from vidpred.errors import UserError
from vidpred.models.files import INFO, WEIGHTS
from vidpred.tracking import own, store
from vidpred.tracking.aliases import CHALLENGER, CHAMPION
from vidpred.tracking.package import ARTIFACTS
from vidpred.tracking.receipt import RECEIPT, find, read_receipt

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRAINED: Final = "models/trained"
"""What `train` leaves there."""
GET_MODEL: Final = "run `dvc pull` if it was shared, or `make repro`, which makes it"
"""How a project's own model comes into a fresh clone."""
FORMS: Final = "models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/FOLDER, or a local folder"

_ALMOST = re.compile(r"^(?:models?:/*)?(?P<name>[^/@:]+)(?:(?P<sign>[@/:])(?P<rest>[^/@:]+))?/?$", re.IGNORECASE)
_ALIKE = 0.6


def is_uri(model: str) -> bool:
    """Whether a model is to be looked for in a registry, not in a folder."""
    return re.match(r"^\w+:/", model) is not None


def is_model(model: str) -> bool:
    """Whether it is an address in a registry or, at first sight, a folder of a model."""
    return is_uri(model) or any((Path(model).expanduser() / place / INFO).is_file() for place in (".", ARTIFACTS))


def near(word: str, known: Iterable[str]) -> str | None:
    """The name that is most like a word, whatever its case; None: none is."""
    by_case = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_case, n=1, cutoff=_ALIKE)
    return by_case[found[0]] if found else None


def no_address(model: str) -> str:
    """Of an address that has no form of a model's."""
    meant = address(model)
    return f"{model} names no model: {f'did you mean {meant}? Else ' if meant else ''}give {FORMS}"


def not_registered(model: str) -> str:
    """Of what is no version in a registry."""
    meant = address(model)
    hint = f"did you mean {meant}? Else " if meant else ""
    return f"{model} is no registered version: {hint}give models:/NAME/VERSION or models:/NAME@ALIAS"


def no_folder(folder: Path) -> str:
    """Of a folder that is not there."""
    if is_own(folder):
        return f"{folder} is not here: {GET_MODEL}"
    meant = like(str(folder))
    outside = "" if folder.is_absolute() or project() else "cd into the project that has it, or "
    hint = f"did you mean {meant}? Else " if meant else ""
    return f"{folder} is no folder: {hint}{outside}give {FORMS}"


def not_whole(model: str) -> str:
    """Of a folder, or a place in a registry, that lacks a file of a model."""
    meant = None if is_uri(model) else _inside(Path(model)) or _registered(model)
    hint = f"; did you mean {meant}?" if meant else ""
    return f"{model} holds no whole model: {WEIGHTS} and {INFO} must be there and readable{hint}"


def in_registry(client: MlflowClient, parts: re.Match[str] | None) -> str:
    """What a registry has in place of a model that it lacks, and what to do.

    Args:
        client: Of the registry.
        parts: `name`, `alias` and `version` of what was typed; None: it is a run's.

    Raises:
        StoreError: the registry does not answer.
    """
    if parts is None:
        return "give a run of `vidpred ui`"
    name, alias = str(parts["name"]), parts["alias"]
    with store.explained("the registry cannot be searched"):
        registered = {model.name for model in store.every(client.search_registered_models)}
        called = name if name in registered else near(name, registered)
        if called is None:
            others = f"it has {', '.join(sorted(registered))}" if registered else "it has no models yet"
            return f"{others}; {make_it()}"
        unregistered = name == called and _only_in_receipt(client, name, alias)
        found = store.every(client.search_model_versions, f"name = '{called}'")
        versions = sorted(int(version.version) for version in found)
        aliases = client.get_registered_model(called).aliases  # a search does not always give them
    listed = f"version{'s' * (len(versions) != 1)} {', '.join(map(str, versions))}" if versions else "no versions"
    has = f"{called} has {listed}, " + (f"aliases {', '.join(sorted(aliases))}" if aliases else "no aliases")
    if unregistered:
        return f"{has}; {RECEIPT} tells of one that is not there: run `vidpred register`"
    meant = _same_of(called, name, parts, versions, aliases)
    if meant:
        return f"did you mean {meant}? {has}"
    if alias == CHALLENGER:  # any version will not do
        return f"{has}; a version that beats copying but not the champion becomes challenger"
    return f"{has}; give for instance models:/{called}/{versions[-1]}" if versions else has


def _same_of(called: str, name: str, parts: re.Match[str], versions: list[int], aliases: Iterable[str]) -> str | None:
    """What was asked for, as the registry has it under a name like it."""
    alias, version = parts["alias"], parts["version"]
    if alias and (one := near(alias, aliases)):
        return f"models:/{called}@{one}"
    if alias and alias.isdigit() and int(alias) in versions:
        return f"models:/{called}/{alias}"
    if version and called != name and (version == "latest" or int(version) in versions):
        return f"models:/{called}/{version}"
    return None


def other_name(name: str, known: Iterable[str]) -> str:
    """What there is in place of a registered model that is not there."""
    listed = sorted(known)
    meant = near(name, listed)
    has = f"it has {', '.join(listed)}" if listed else "it has no models yet"
    return f"did you mean {meant}? ({has})" if meant else has


def make_it() -> str:
    """How a registry comes to hold this project's model."""
    root = project()
    if root is None:
        make = "go into the project that made it"
    elif (root / TRAINED).is_dir():
        make = "run `vidpred register`"
    else:
        make = f"{GET_MODEL}, then `vidpred register`"
    return f"{make}, or set MLFLOW_TRACKING_URI to the registry that has it"


def project() -> Path | None:
    """The project around; None: there is none."""
    try:
        return workspace.find_root()
    except UserError:
        return None


def is_own(folder: Path) -> bool:
    """Whether it is where this project's own model lies."""
    root = project()
    return root is not None and folder.resolve() == (root / TRAINED).resolve()


def _only_in_receipt(client: MlflowClient, name: str, alias: str | None) -> bool:
    """Whether this project's receipt tells of a version, or of this alias, that the registry lacks.

    DVC restores the receipt from a cache or a remote without running `register`.
    """
    receipt = read_receipt()
    if receipt is None or receipt["name"] != name:
        return False
    same_alias = alias is not None and receipt["alias"] == alias
    return same_alias or find(client, name, str(receipt["identity"])) is None


def address(model: str) -> str | None:
    """The address of a registry that something like one would be; None: it is not like one."""
    if not re.search("[@:]", model):
        return _registered(model)
    parts = _ALMOST.match(model)
    if parts is None:
        return None
    name, rest = parts["name"], parts["rest"]
    if not rest:
        return _registered(name) or f"models:/{name}@{CHAMPION}"
    if number := re.fullmatch(r"v?(\d+)", rest, re.IGNORECASE):
        return f"models:/{name}/{number[1]}"
    return f"models:/{name}/latest" if rest == "latest" else f"models:/{name}@{rest}"


def like(model: str) -> str | None:
    """The address or folder of a model that something was meant to be; None: there is none like it."""
    folder = _near_folder(Path(model))
    return address(model) or (str(folder) if folder else None)


def _registered(word: str) -> str | None:
    """The address in the project's own registry of what is called so: a registered model, or the holder of an alias."""
    try:
        if not (store.is_own() and store.own_file().is_file()):
            return None
        versions = own.versions(store.own_file())
    except (UserError, sqlite3.Error):
        return None
    named = [version for version in versions if version.name == word]
    if any(CHAMPION in version.aliases for version in named):
        return f"models:/{word}@{CHAMPION}"
    if named:
        return f"models:/{word}/{named[-1].number}"
    return next((f"models:/{version.name}@{word}" for version in versions if word in version.aliases), None)


def _near_folder(folder: Path) -> Path | None:
    """A folder of a model with a name like it, or of that name in `models/`."""
    if not folder.is_absolute() and is_model(str("models" / folder)):
        return "models" / folder
    found = Path(folder.anchor)
    for part in folder.parts[1 if folder.anchor else 0 :]:
        if (found / part).is_dir():
            found /= part
            continue
        try:
            beside = [path.name for path in found.iterdir() if path.is_dir()]
        except OSError:
            return None
        one = near(part, beside)
        if one is None:
            return None
        found /= one
    return found if is_model(str(found)) else None


def _inside(folder: Path) -> Path | None:
    """A model's folder directly in a folder."""
    try:
        return next((path for path in sorted(folder.iterdir()) if (path / INFO).is_file()), None)
    except OSError:
        return None
