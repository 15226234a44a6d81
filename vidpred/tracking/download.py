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
from vidpred.tracking import meant, store
from vidpred.tracking.artifacts import Place, find_place, free_room
from vidpred.tracking.card import CARD, PICTURES, TEXT, read_card
from vidpred.tracking.meant import is_uri
from vidpred.tracking.package import ARTIFACTS

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

MEND = "`dvc repro train` brings it back (with --force where DVC takes it for unchanged)"
"""What to do about a project's own model that is damaged."""

_MODELS_URI = re.compile(r"^models:/(?P<name>[^/@]+)(@(?P<alias>[\w.-]+)|/(?P<version>\d+|latest))$")
_RUNS_URI = re.compile(r"^runs:/(?P<run>\w+)/(?P<path>.+)$")


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


def resolve(model: str) -> Found:
    """What an address of a registry means now: an alias moves, a version stays.

    Args:
        model: One of `FORMS` but a folder.

    Raises:
        UserError: it has no such form, there is no such model, or MLflow does not answer.
    """
    if not (_MODELS_URI.match(model) or _RUNS_URI.match(model)):
        raise UserError(meant.no_address(model))
    if not store.exists():  # asking would make it
        raise UserError(f"{model} is not here: there is no registry in {store.tracking_uri()} yet; {meant.make_it()}")
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
            numbers = [int(v.version) for v in store.every(client.search_model_versions, f"name = '{name}'")]
            version = str(max(numbers, default=0))
        return Found(str(client.get_model_version_download_uri(name, version)), name, str(version))
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise store.StoreError(f"{model} cannot be looked up in {where}: {store.reason(error)}") from None
        raise UserError(f"{model} is not in {where}: {meant.in_registry(client, _MODELS_URI.match(model))}") from None


def _local(folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(meant.no_folder(folder))
    found = folder / ARTIFACTS if not (folder / INFO).is_file() and (folder / ARTIFACTS / INFO).is_file() else folder
    try:
        _check(found, str(folder))
    except UserError as error:
        if not meant.is_own(folder):
            raise
        raise UserError(f"{error}: {MEND}") from None
    return found


def _check(folder: Path, model: str) -> None:
    """Whether the weights are those that model.json tells of, and a model is what it describes.

    Raises:
        UserError: not so.
    """
    said = check_info(folder, model)["weights_sha256"]
    try:
        found = workspace.file_sha256(folder / WEIGHTS)
    except OSError:
        raise UserError(meant.not_whole(model)) from None
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
            raise UserError(meant.not_whole(model)) from None
        raise UserError(f"{model} cannot be used: {str(error).replace(f'{folder}/', '')}") from None
    except TypeError:
        raise UserError(meant.not_whole(model)) from None
    return info


def _cache() -> Path:
    """In `VIDPRED_HOME`; outside a project in the user's cache."""
    folder = workspace.home_or_none()
    if folder is None:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vidpred"
    return folder / "downloads"
