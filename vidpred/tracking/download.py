"""A model from a registry, a run or a folder, as a local folder of `model.safetensors` and `model.json`.

Only these files are fetched, and their sha256 checked; code that lies beside them in a registry is never run.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from vidpred import workspace
from vidpred.config import FlowParams
from vidpred.data.progress import transfer
from vidpred.errors import UserError
from vidpred.models.files import INFO, WEIGHTS, read_info, task_from
from vidpred.tracking import store
from vidpred.tracking.artifacts import Place, find_place, free_room
from vidpred.tracking.card import CARD, PICTURES, TEXT, read_card
from vidpred.tracking.package import ARTIFACTS
from vidpred.tracking.receipt import RECEIPT, find, read_receipt

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

TRAINED = "models/trained"
"""What `train` leaves there."""
MEND = "`dvc repro train` brings it back (with --force where DVC takes it for unchanged)"
"""What to do about a project's own model that is damaged."""
GET_MODEL = "run `dvc pull` if it was shared, or `make repro`, which makes it"
"""How a project's own model comes into a fresh clone."""

_MODELS_URI = re.compile(r"^models:/(?P<name>[^/@]+)(@(?P<alias>[\w.-]+)|/(?P<version>\d+|latest))$")
_RUNS_URI = re.compile(r"^runs:/(?P<run>\w+)/(?P<path>.+)$")
FORMS = "models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/FOLDER, or a local folder"


@dataclass(frozen=True)
class Found:
    """Where the files of a model are."""

    source: str
    """URI of their folder."""
    name: str | None = None
    """Of the registered model; None: it is a run's."""
    version: str | None = None
    """Of it."""


def download(model: str) -> Path:
    """The folder of a model and, where it has one, its card; what comes from a registry is kept in a cache, so that its
    weights come once.

    The cache goes by what model.json and the card say, not by the address: a run may write its model again.

    Args:
        model: One of `FORMS`, or `models:/NAME/latest`.

    Raises:
        UserError: there is no such model, version, alias, run or folder, MLflow does not answer, or a file is damaged.
    """
    if not is_uri(model):
        return _local(Path(model).expanduser())
    return bring(resolve(model).source, model)


def is_uri(model: str) -> bool:
    """Whether a model is to be looked for in a registry, not in a folder."""
    return re.match(r"^\w+:/", model) is not None


def resolve(model: str) -> Found:
    """What an address of a registry means now: an alias moves, a version stays.

    Args:
        model: One of `FORMS` but a folder.

    Raises:
        UserError: it has no such form, there is no such model, or MLflow does not answer.
    """
    if not (_MODELS_URI.match(model) or _RUNS_URI.match(model)):
        raise UserError(f"{model} names no model: give {FORMS}")
    if not store.exists():  # asking would make it
        raise UserError(f"{model} is not here: there is no registry in {store.tracking_uri()} yet; {_make_it()}")
    return _find(store.connect(), model)


def bring(source: str, model: str) -> Path:
    """The folder in the cache of what lies behind a source.

    Args:
        source: As in `Found`.
        model: What it is called in messages.

    Raises:
        UserError: as `download`.
    """
    place = find_place(source)
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=cache) as temporary:
        part = Path(temporary) / "model"
        part.mkdir()
        place.bring(INFO, part)
        _bring_card(place, part, [CARD])
        folder = cache / _key(part)
        if not _is_whole(folder):
            check_info(part, model)
            needed = place.sizes[WEIGHTS] or 0
            free_room(cache, needed)
            with transfer(f"fetching {model}", needed) as advance:
                place.bring(WEIGHTS, part, advance)
            _check(part, model)
            if (part / CARD).is_file():
                _bring_card(place, part, [TEXT, *PICTURES])
            shutil.rmtree(folder, ignore_errors=True)
            try:
                part.rename(folder)
            except OSError:  # another process has just put it there
                if not _is_whole(folder):
                    raise
    return folder


def _bring_card(place: Place, part: Path, names: list[str]) -> None:
    """A card that cannot be read is told of and left out: the model is as good without it."""
    for name in names:
        if name not in place.sizes:
            continue
        try:
            place.bring(name, part)
            if name == CARD:
                read_card(part)
        except store.StoreError:
            raise
        except UserError as error:
            log.warning("left out: %s", str(error).replace(f"{part}/", ""))
            (part / name).unlink(missing_ok=True)


def _key(part: Path) -> str:
    """Over the files that say what the others are."""
    told = [workspace.file_sha256(part / name) for name in (INFO, CARD) if (part / name).is_file()]
    return told[0][:24] if len(told) == 1 else workspace.digest(told)[:24]


def _is_whole(folder: Path) -> bool:
    """Whether the cache has a model, undamaged."""
    if not (folder / INFO).is_file():
        return False
    try:
        _check(folder, "the copy in the cache")
    except UserError as error:
        log.warning("%s: it is fetched again", error)
        return False
    return True


def _find(client: MlflowClient, model: str) -> Found:
    from mlflow.exceptions import MlflowException

    where = store.display(store.tracking_uri())
    try:
        if run := _RUNS_URI.match(model):
            return Found(f"{client.get_run(run['run']).info.artifact_uri}/{run['path'].strip('/')}")
        parts = _MODELS_URI.match(model)
        assert parts is not None, model
        name, version = parts["name"], parts["version"]
        if parts["alias"]:
            version = client.get_model_version_by_alias(name, parts["alias"]).version
        elif version == "latest":
            numbers = [int(v.version) for v in client.search_model_versions(f"name = '{name}'")]
            version = str(max(numbers, default=0))
        return Found(str(client.get_model_version_download_uri(name, version)), name, str(version))
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise UserError(f"{model} cannot be looked up in {where}: {store.reason(error)}") from None
        raise UserError(f"{model} is not in {where}: {_instead(client, model)}") from None


def _instead(client: MlflowClient, model: str) -> str:
    """What there is in place of a model that is not there, and what to do."""
    parts = _MODELS_URI.match(model)
    if parts is None:
        return "give a run of `vidpred ui`"
    with store.explained("the registry cannot be searched"):
        registered = {m.name: m for m in client.search_registered_models()}
        if parts["name"] not in registered:
            others = f"it has {', '.join(sorted(registered))}" if registered else "it has no models yet"
            return f"{others}; {_make_it()}"
        unregistered = _only_in_receipt(client, parts["name"], parts["alias"])
        versions = sorted(int(v.version) for v in client.search_model_versions(f"name = '{parts['name']}'"))
        aliases = registered[parts["name"]].aliases
    listed = f"version{'s' * (len(versions) != 1)} {', '.join(map(str, versions))}" if versions else "no versions"
    named = f", aliases {', '.join(sorted(aliases))}" if aliases else ", no aliases"
    hint = "" if not versions else f"; give for instance models:/{parts['name']}/{versions[-1]}"
    if unregistered:
        hint = f"; {RECEIPT} tells of one that is not there: run `vidpred register`"
    return f"{parts['name']} has {listed}{named}{hint}"


def _only_in_receipt(client: MlflowClient, name: str, alias: str | None) -> bool:
    """Whether this project's receipt tells of a version, or of this alias, that the registry lacks.

    DVC restores the receipt from a cache or a remote without running `register`.
    """
    receipt = read_receipt()
    if receipt is None or receipt["name"] != name:
        return False
    same_alias = alias is not None and receipt["alias"] == alias
    return same_alias or find(client, name, str(receipt["identity"])) is None


def _make_it() -> str:
    """How a registry comes to hold this project's model."""
    root = _project()
    if root is None:
        make = "go into the project that made it"
    elif (root / TRAINED).is_dir():
        make = "run `vidpred register`"
    else:
        make = f"{GET_MODEL}, then `vidpred register`"
    return f"{make}, or set MLFLOW_TRACKING_URI to the registry that has it"


def _project() -> Path | None:
    try:
        return workspace.find_root()
    except UserError:
        return None


def _local(folder: Path) -> Path:
    if not folder.is_dir():
        if _is_own(folder):
            raise UserError(f"{folder} is not here: {GET_MODEL}")
        outside = "" if folder.is_absolute() or _project() else "cd into the project that has it, or "
        raise UserError(f"{folder} is no folder: {outside}give {FORMS}")
    found = folder / ARTIFACTS if not (folder / INFO).is_file() and (folder / ARTIFACTS / INFO).is_file() else folder
    try:
        _check(found, str(folder))
    except UserError as error:
        if not _is_own(folder):
            raise
        raise UserError(f"{error}: {MEND}") from None
    return found


def _is_own(folder: Path) -> bool:
    """Whether it is where this project's own model lies."""
    root = _project()
    return root is not None and folder.resolve() == (root / TRAINED).resolve()


def _check(folder: Path, model: str) -> None:
    """Whether the weights are those that model.json tells of, and a model is what it describes.

    Raises:
        UserError: not so.
    """
    said = check_info(folder, model)["weights_sha256"]
    try:
        found = workspace.file_sha256(folder / WEIGHTS)
    except OSError:
        raise UserError(_not_whole(model)) from None
    if said != found:
        raise UserError(f"{model} is damaged: its {WEIGHTS} is not what its {INFO} tells of")


def check_info(folder: Path, model: str) -> dict[str, Any]:
    """What model.json says, if it can be a model's of this version: nothing is built yet.

    Raises:
        UserError: it cannot.
    """
    try:
        info = read_info(folder)
        task_from(info["task"])
        FlowParams(**info.get("flow") or {})
        fps = info.get("fps")
        if not (fps is None or (isinstance(fps, int | float) and 0 < fps <= 1000)):
            raise UserError(f"{INFO} says {fps!r:.50} frames per second")
        if info.get("fit", "crop") not in ("crop", "pad", "stretch"):
            raise UserError(f"{INFO} says fit {info['fit']!r:.50}")
        if not re.fullmatch("black|white|#[0-9a-fA-F]{6}", str(info.get("background", "white"))):
            raise UserError(f"{INFO} says background {info['background']!r:.50}")
        if not isinstance(info.get("crop_bars", False), bool):
            raise UserError(f"{INFO} says crop_bars {info['crop_bars']!r:.50}")
    except ValidationError:
        raise UserError(f"{model} is not for this version: its {INFO} asks for a flow that it does not know") from None
    except UserError as error:
        if not (folder / INFO).is_file():
            raise UserError(_not_whole(model)) from None
        raise UserError(f"{model} cannot be used: {str(error).replace(f'{folder}/', '')}") from None
    except TypeError:
        raise UserError(_not_whole(model)) from None
    return info


def _not_whole(model: str) -> str:
    return f"{model} holds no whole model: {WEIGHTS} and {INFO} must be there and readable"


def _cache() -> Path:
    """In `VIDPRED_HOME`; outside a project in the user's cache."""
    try:
        return workspace.home() / "downloads"
    except UserError:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vidpred" / "downloads"
