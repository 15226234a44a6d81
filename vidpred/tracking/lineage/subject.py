"""A model wherever it is, with what can be known of it from here: model.json, its version, its run, its record.

In: `models:/NAME@ALIAS`, `models:/NAME/3`, `runs:/RUN/FOLDER` or a local folder. Out: a `Subject`; what cannot be seen
from here stands in it as sentences. Nothing is executed; of a registry's files only those of a record are fetched,
up to a size, and each is checked against its hash.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from vidpred import workspace
from vidpred.data.shards import Shards
from vidpred.errors import UserError
from vidpred.models.files import INFO, read_info
from vidpred.tracking import meant, store
from vidpred.tracking.artifacts import fetch
from vidpred.tracking.card import read_card
from vidpred.tracking.download import download
from vidpred.tracking.lineage.keep import FOLDER_TAG, RECORD_TAG, noted
from vidpred.tracking.lineage.reading import read
from vidpred.tracking.lineage.record import FILES, RECORD, make
from vidpred.tracking.pull import read_pulled
from vidpred.tracking.receipt import IDENTITY_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

_MODELS = re.compile(r"^models:/(?P<name>[^/@]+)(@(?P<alias>[\w.-]+)|/(?P<version>\d+|latest))$")
_RUNS = re.compile(r"^runs:/(?P<run>\w+)/(?P<path>.+)$")
AWAY = "the registry cannot be reached"
_LARGEST_FILE = 64_000_000
"""Bytes of a file of a record that are fetched at the most."""


@dataclass
class Subject:
    """A model, and what is known of it."""

    asked: str
    """As the user named it."""
    info: dict[str, Any]
    """model.json."""
    source: str = ""
    """Of a registered model: the URI of its files."""
    folder: Path | None = None
    """Of a local model."""
    version: ModelVersion | None = None
    aliases: tuple[str, ...] = ()
    """Of the version."""
    run: Run | None = None
    record: dict[str, Any] | None = None
    """lineage.json; None: there is none, or it cannot be seen from here."""
    files: Path | None = None
    """Folder of the record's other files."""
    live: bool = False
    """Whether the record was made now, of the project as it is, since none was kept."""
    damaged: list[str] = field(default_factory=list)
    """Files of the record that are not what they were when they were kept."""
    unseen: dict[str, str] = field(default_factory=dict)
    """What cannot be seen from here, and why."""
    pulled: dict[str, Any] | None = None
    """Of a local folder: its pulled.json."""
    card: dict[str, Any] = field(default_factory=dict)
    """Of a local folder: its card.json; empty: it has none."""

    @property
    def tags(self) -> dict[str, str]:
        """Of the version; else of the run."""
        if self.version is not None:
            return dict(self.version.tags)
        return dict(self.run.data.tags) if self.run is not None else {}

    @property
    def uri(self) -> str:
        """What it is called: of a version its number."""
        return self.asked if self.version is None else f"models:/{self.version.name}/{self.version.version}"

    def why(self, what: str, otherwise: str) -> str:
        """Why something is not known: because it cannot be seen from here, else `otherwise`."""
        return self.unseen.get(what, otherwise)

    def file(self, name: str) -> Path | None:
        """A file of the record; None where it has none, or not the one that was kept."""
        path = self.files / name if self.files is not None else None
        return path if path is not None and path.is_file() else None


def identity_of(info: Mapping[str, Any]) -> str:
    """What a version is known by."""
    return workspace.digest({key: info[key] for key in ("name", "config", "task", "weights_sha256")})


@contextmanager
def opened(model: str) -> Iterator[Subject]:
    """The model; its files are there inside the block.

    Raises:
        UserError: there is no such model, or the store does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="vidpred-") as temporary:
        folder = Path(temporary)
        if re.match(r"^\w+:/", model):
            found = _registered(model, folder)
        else:
            found = _local(model, folder)
        yield found


def _registered(model: str, folder: Path) -> Subject:
    if not (_MODELS.match(model) or _RUNS.match(model)):
        raise UserError(meant.no_address(model))
    if not store.exists():
        download(model)  # says what to do
    client = store.connect()
    with store.explained(f"{model} cannot be looked up"):
        run_uri = _RUNS.match(model)
        if run_uri:
            run = _run(client, run_uri["run"]) or _missing(model)
            found = Subject(model, {}, source=f"{run.info.artifact_uri}/{run_uri['path'].strip('/')}", run=run)
        else:
            version = _version(client, model)
            source = str(client.get_model_version_download_uri(version.name, version.version))
            found = Subject(model, {}, source=source, version=version)
    try:
        fetch(found.source, folder, {INFO: True})
        found.info = read_info(folder)
    except store.StoreError:
        raise
    except UserError as error:
        if found.version is None:
            raise
        found.unseen["weights"] = str(error)
    with store.explained(f"{model} cannot be looked up"):
        _complete(client, found, folder / "record")
    return found


def _local(model: str, folder: Path) -> Subject:
    place = download(model)  # of a folder: checked, and nothing fetched
    found = Subject(model, read_info(place), folder=place, pulled=read_pulled(place), card=_card(place))
    try:
        if not store.exists():
            found.unseen["version"] = f"there is no registry in {store.tracking_uri()} yet"
        else:
            client = store.connect()
            with store.explained("the registry cannot be searched"):
                found.version = _by_identity(client, identity_of(found.info))
                _complete(client, found, folder / "record")
            if found.version is None:
                found.unseen["version"] = f"{store.display(store.tracking_uri())} has no version with these weights"
    except UserError as error:
        found.unseen["version"] = f"{AWAY}: {error}"
    if found.version is None:
        away = found.unseen["version"].startswith(AWAY)
        why = (
            "it is in the registry, which cannot be reached"
            if away
            else "the registry that has it is not the one that is asked here"
        )
        if found.pulled is not None:
            found.unseen["run"] = found.unseen["record"] = why
            if found.pulled["registry"] not in found.unseen["version"]:
                found.unseen["version"] += f"; it was pulled from {found.pulled['registry']}"
        elif away:
            found.unseen["run"] = found.unseen["record"] = "it may be in the registry, which cannot be reached"
    if found.record is None:
        _from_project(found, folder / "live")
    return found


def _card(folder: Path) -> dict[str, Any]:
    try:
        return read_card(folder)
    except UserError:
        return {}


def _complete(client: MlflowClient, found: Subject, into: Path) -> None:
    """The run of a version, the version of a run, aliases and record."""
    if found.version is None and found.info:
        found.version = _by_identity(client, identity_of(found.info))
    version = found.version
    if version is not None:
        aliases = client.get_registered_model(version.name).aliases
        found.aliases = tuple(sorted(a for a, number in aliases.items() if str(number) == str(version.version)))
        found.run = found.run or _run(client, str(version.run_id))
        if found.run is None:
            found.unseen["run"] = f"run {version.run_id} was deleted from MLflow"
    if found.run is None or version is None:
        return
    kept, sha256 = version.tags.get(FOLDER_TAG, ""), version.tags.get(RECORD_TAG, "")
    if not kept:
        found.unseen["record"] = "it was registered without a record of where it comes from"
        return
    try:
        _fetch_record(client, found, kept, sha256, into)
    except store.StoreError as error:
        found.unseen["record"] = str(error)


def _fetch_record(client: MlflowClient, found: Subject, kept: str, sha256: str, into: Path) -> None:
    """Copies the record and takes out of it what is not as it was kept."""
    from mlflow.artifacts import download_artifacts

    assert found.run is not None
    run_id, into = str(found.run.info.run_id), into / "files"
    into.mkdir(parents=True)
    with store.explained("the record of where it comes from cannot be fetched"):
        there = {PurePosixPath(f.path).name: f.file_size or 0 for f in client.list_artifacts(run_id, kept)}
        for name in (name for name in FILES if name in there):
            if there[name] > _LARGEST_FILE:
                found.damaged.append(f"{name} has {there[name]:,} bytes")
                continue
            got = Path(download_artifacts(
                run_id=run_id, artifact_path=f"{kept}/{name}", dst_path=str(into.parent),
                tracking_uri=store.tracking_uri(),
            ))  # fmt: skip
            got.replace(into / name)
    note = into / RECORD
    if not note.is_file():
        found.unseen["record"] = f"{kept}/{RECORD} is not among the files of its run any more"
        return
    if workspace.file_sha256(note) != sha256:
        found.damaged.append(f"{RECORD} is not the one that the version's tag {RECORD_TAG} tells of")
        found.unseen["record"] = f"its {RECORD} was changed since it was registered, so it is not believed"
        return
    try:
        told = read(note)
    except UserError as error:
        found.unseen["record"] = str(error)
        return
    for name, wanted in told["files"].items():
        path = into / PurePosixPath(name).name
        if not path.is_file():
            found.damaged.append(f"{name} is missing")
        elif workspace.file_sha256(path) != wanted:
            found.damaged.append(f"{name} was changed")
            path.unlink()
    for path in into.iterdir():  # what nobody vouches for
        if path.name != RECORD and path.name not in told["files"]:
            path.unlink()
    found.record, found.files = told, into


def _from_project(found: Subject, into: Path) -> None:
    """A record of the project as it is, for its own model."""
    assert found.folder is not None
    try:
        root = workspace.find_root()
    except UserError:
        return
    if found.folder.resolve() != (root / meant.TRAINED).resolve():
        return
    try:
        shards = Shards(root / "data/shards")
        if shards.data_id != found.info.get("data_id"):
            return
        key = workspace.stage_key("train")
        found.record = make(
            root, into, info=found.info, identity=identity_of(found.info), name="",
            run_key=key, split_sha256="", shards=shards, trained_on=noted(key), check=False,
        )  # fmt: skip
        found.files, found.live = into, True
    except (UserError, OSError, ValueError, KeyError, TypeError) as error:
        found.unseen["record"] = f"the project around it is not whole: {error}"


def _version(client: MlflowClient, model: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    parts = _MODELS.match(model)
    assert parts is not None, model
    try:
        if parts["alias"]:
            return client.get_model_version_by_alias(parts["name"], parts["alias"])
        number = parts["version"]
        if number == "latest":
            numbers = [int(v.version) for v in store.every(client.search_model_versions, f"name = '{parts['name']}'")]
            number = str(max(numbers, default=0))
        return client.get_model_version(parts["name"], number)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        _missing(model)
        raise


def _missing(model: str) -> Any:
    """Raises what `download` says of a model that is not there."""
    download(model)
    raise UserError(f"{model} is not in {store.display(store.tracking_uri())}")


def _by_identity(client: MlflowClient, identity: str) -> ModelVersion | None:
    found = client.search_model_versions(f"tags.`{IDENTITY_TAG}` = '{identity}'")
    return min(found, key=lambda version: (version.name, int(version.version)), default=None)


def _run(client: MlflowClient, run_id: str) -> Run | None:
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None
