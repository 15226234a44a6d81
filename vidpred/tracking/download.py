"""A model from a registry, a run or a folder, as a local folder of `model.safetensors` and `model.json`.

Only these files are fetched, and their sha256 checked; code that lies beside them in a registry is never run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vidpred import workspace
from vidpred.errors import UserError
from vidpred.models.files import INFO, WEIGHTS
from vidpred.tracking import store
from vidpred.tracking.package import ARTIFACTS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

IDENTITY_TAG = "vidpred.identity"
"""Of a version: weights, name, config and task; models without weights share a sha256."""
RECEIPT = "results/register/receipt.json"
"""What `register` leaves in a project."""
TRAINED = "models/trained"
"""What `train` leaves there."""
GET_MODEL = "run `dvc pull` if it was shared, or `make repro`, which makes it"
"""How a project's own model comes into a fresh clone."""

_MODELS_URI = re.compile(r"^models:/(?P<name>[^/@]+)(@(?P<alias>[\w.-]+)|/(?P<version>\d+|latest))$")
_RUNS_URI = re.compile(r"^runs:/(?P<run>\w+)/(?P<path>.+)$")
FORMS = "models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/FOLDER, or a local folder"


def download(model: str) -> Path:
    """The folder of a model; what comes from a registry is kept in a cache, so that its weights come once.

    The cache goes by what model.json says, not by the address: a run may write its model again.

    Args:
        model: One of `FORMS`, or `models:/NAME/latest`.

    Raises:
        UserError: there is no such model, version, alias, run or folder, MLflow does not answer, or a file is damaged.
    """
    if not re.match(r"^\w+:/", model):
        return _local(Path(model).expanduser())
    if not (_MODELS_URI.match(model) or _RUNS_URI.match(model)):
        raise UserError(f"{model} names no model: give {FORMS}")
    uri = store.tracking_uri()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():  # asking would make one
        raise UserError(f"{model} is not here: there is no registry in {uri} yet; {_make_it()}")
    client = store.connect()
    source = _source(client, model)
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=cache) as temporary:
        part = Path(temporary) / "model"
        fetch(source, part, [INFO])
        folder = cache / workspace.file_sha256(part / INFO)[:24]
        if not (folder / INFO).is_file():
            fetch(source, part, [WEIGHTS])
            _check(part, model)
            shutil.rmtree(folder, ignore_errors=True)
            try:
                part.rename(folder)
            except OSError:  # another process has just put it there
                if not (folder / INFO).is_file():
                    raise
    return folder


def fetch(source: str, into: Path, names: Collection[str]) -> None:
    """Copies files of a model from where a registry keeps them.

    Args:
        source: URI of the folder that MLflow calls the model's source.
        into: Made if missing.
        names: Those to copy; one that is not there is left out.

    Raises:
        UserError: the model's two files are not there.
    """
    from mlflow.artifacts import download_artifacts, list_artifacts

    uri = store.tracking_uri()
    into.mkdir(parents=True, exist_ok=True)
    with store.explained(f"the files of {source} cannot be fetched"):
        for base in (f"{source}/{ARTIFACTS}", source):
            there = {PurePosixPath(f.path).name for f in list_artifacts(artifact_uri=base, tracking_uri=uri) or []}
            if {WEIGHTS, INFO} <= there:
                for name in sorted(there & set(names)):
                    got = Path(download_artifacts(artifact_uri=f"{base}/{name}", dst_path=str(into), tracking_uri=uri))
                    if got != into / name:
                        shutil.copyfile(got, into / name)
                return
    raise UserError(f"{source} has no {WEIGHTS} and {INFO}: it is no model of vidpred, or its files were deleted")


def find(client: MlflowClient, name: str, identity: str) -> ModelVersion | None:
    """The version of a registered model that has this identity."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{IDENTITY_TAG}` = '{identity}'")
    return min(found, key=lambda version: int(version.version), default=None)


def _source(client: MlflowClient, model: str) -> str:
    """URI of the folder behind a models:/ or runs:/ URI."""
    from mlflow.exceptions import MlflowException

    where = store.display(store.tracking_uri())
    try:
        if run := _RUNS_URI.match(model):
            return f"{client.get_run(run['run']).info.artifact_uri}/{run['path'].strip('/')}"
        parts = _MODELS_URI.match(model)
        assert parts is not None, model
        name, version = parts["name"], parts["version"]
        if parts["alias"]:
            version = client.get_model_version_by_alias(name, parts["alias"]).version
        elif version == "latest":
            numbers = [int(v.version) for v in client.search_model_versions(f"name = '{name}'")]
            version = str(max(numbers, default=0))
        return str(client.get_model_version_download_uri(name, version))
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
    listed = f"versions {', '.join(map(str, versions))}" if versions else "no versions"
    named = f", aliases {', '.join(sorted(aliases))}" if aliases else ", no aliases"
    hint = "" if not versions else f"; give for instance models:/{parts['name']}/{versions[-1]}"
    if unregistered:
        hint = f"; {RECEIPT} tells of one that is not there: run `vidpred register`"
    return f"{parts['name']} has {listed}{named}{hint}"


def _only_in_receipt(client: MlflowClient, name: str, alias: str | None) -> bool:
    """Whether this project's receipt tells of a version, or of this alias, that the registry lacks.

    DVC restores the receipt from a cache or a remote without running `register`.
    """
    try:
        receipt = json.loads((workspace.find_root() / RECEIPT).read_bytes())
        told, identity = receipt["name"], receipt["identity"]
        same_alias = alias is not None and receipt["alias"] == alias
    except (UserError, OSError, ValueError, KeyError, TypeError):
        return False  # no project, or one without a receipt
    return bool(told == name and (same_alias or find(client, name, str(identity)) is None))


def _make_it() -> str:
    """How a registry comes to hold this project's model."""
    make = "run `vidpred register`" if _is_made() else f"{GET_MODEL}, then `vidpred register`"
    return f"{make}, or set MLFLOW_TRACKING_URI to the registry that has it"


def _is_made() -> bool:
    """Whether this project's own model is here."""
    try:
        return (workspace.find_root() / TRAINED).is_dir()
    except UserError:
        return True  # not in a project: nothing to make


def _local(folder: Path) -> Path:
    if not folder.is_dir():
        own = not _is_made() and folder.resolve() == workspace.find_root() / TRAINED
        raise UserError(f"{folder} is not here: {GET_MODEL}" if own else f"{folder} is no folder: give {FORMS}")
    found = folder / ARTIFACTS if not (folder / INFO).is_file() and (folder / ARTIFACTS / INFO).is_file() else folder
    _check(found, str(folder))
    return found


def _check(folder: Path, model: str) -> None:
    """Whether the weights are those that model.json tells of."""
    try:
        said = json.loads((folder / INFO).read_bytes())["weights_sha256"]
        found = workspace.file_sha256(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{model} holds no whole model: {WEIGHTS} and {INFO} must be there and readable") from None
    if said != found:
        raise UserError(f"{model} is damaged: its {WEIGHTS} is not what its {INFO} tells of")


def _cache() -> Path:
    """In `VIDPRED_HOME`; outside a project in the user's cache."""
    try:
        return workspace.home() / "downloads"
    except UserError:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vidpred" / "downloads"
