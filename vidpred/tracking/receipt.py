"""The receipt that `register` leaves in a project, and what the registry has of what it tells.

In: `results/register/receipt.json`, which lies in git and which DVC restores: it may be of another machine's
registry. Out: how its version stands in this one's. The project's own store answers in milliseconds, without MLflow.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vidpred import workspace
from vidpred.errors import UserError
from vidpred.tracking import own, store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)

RECEIPT = "results/register/receipt.json"
"""What `register` leaves in a project."""
IDENTITY_TAG = "vidpred.identity"
"""Of a version: weights, name, config and task; models without weights share a sha256."""
IF_MISSING = "`vidpred register --if-missing`"

State = Literal["here", "missing", "hollow", "deleted", "unknown", "none"]


@dataclass(frozen=True)
class Standing:
    """How the version of a receipt stands in the registry."""

    state: State
    """`hollow`: its files are gone. `deleted`: it was there, and somebody deleted it. `unknown`: the registry does not
    answer. `none`: the receipt is of a model that is not registered at all."""
    version: str | None = None
    """Its number, where it is here."""
    aliases: tuple[str, ...] = ()
    """Those it has now."""
    trouble: str = ""
    """A sentence with what to do; empty where it is here or never was to be."""


def read_receipt(root: Path | None = None) -> dict[str, Any] | None:
    """The receipt of a project, by default of this one; None where there is none that can be read."""
    try:
        told = json.loads(((root or workspace.find_root()) / RECEIPT).read_bytes())
        return dict(told) if {"name", "identity", "alias", "weights_sha256"} <= set(told) else None
    except (UserError, OSError, ValueError, TypeError):
        return None


def standing(receipt: Mapping[str, Any]) -> Standing:
    """Asks the registry."""
    if not receipt["identity"]:
        return Standing("none")
    try:
        where = store.display(store.tracking_uri())
        found = _in_file(receipt) if store.is_own() else None
        found = found or _asked(receipt)
    except UserError as error:
        return Standing("unknown", trouble=str(error))
    name, weights = receipt["name"], str(receipt["weights_sha256"])[:12]
    trouble = {
        "missing": f"{where} has no version of {name} with weights {weights}: {IF_MISSING} registers it",
        "hollow": f"the files of models:/{name}/{found.version} in {where} are gone: {IF_MISSING} puts them back",
        "deleted": f"the version of {name} with weights {weights} was deleted from {where}: `vidpred register` makes "
        "one again",
    }.get(found.state, "")
    return Standing(found.state, found.version, found.aliases, trouble)


def registered_tag(identity: str) -> str:
    """A tag of the training run that tells which version was made of it: it stays when the version is deleted."""
    return f"vidpred.registered.{identity[:12]}"


def find(client: MlflowClient, name: str, identity: str) -> ModelVersion | None:
    """The version of a registered model that has this identity."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{IDENTITY_TAG}` = '{identity}'")
    return min(found, key=lambda version: int(version.version), default=None)


def has_files(source: str) -> bool:
    """Whether the weights of a version are there, as far as that can be seen at once: in a folder of this machine."""
    folder = own.local(source)
    # where MLflow puts the files of a packaged model, and where those of a run are
    return folder is None or any((folder / place / "model.safetensors").is_file() for place in ("artifacts", "."))


def _in_file(receipt: Mapping[str, Any]) -> Standing | None:
    """Asks the project's own store as a file; None where that is not as we know it."""
    database = store.own_file()
    if not database.is_file():
        return Standing("missing")
    name, identity = str(receipt["name"]), str(receipt["identity"])
    try:
        store.follow()
        number = own.tagged(database, name, IDENTITY_TAG, identity)
        if number is None:
            made = own.tag_of_a_run(database, registered_tag(identity))
            return Standing("missing" if made is None else "deleted")
        version = next(version for version in own.versions(database, name) if version.number == number)
    except (sqlite3.Error, StopIteration):
        return None
    return Standing("here" if has_files(version.source) else "hollow", number, version.aliases)


def _asked(receipt: Mapping[str, Any]) -> Standing:
    name, identity = str(receipt["name"]), str(receipt["identity"])
    client = store.connect()
    with store.explained("the registry cannot be searched"):
        version = find(client, name, identity)
        if version is None:
            return Standing("deleted" if _was_made(client, identity) else "missing")
        held = client.get_registered_model(name).aliases
        source = client.get_model_version_download_uri(name, version.version)
    aliases = tuple(sorted(alias for alias, number in held.items() if str(number) == str(version.version)))
    return Standing("here" if has_files(source) else "hollow", str(version.version), aliases)


def _was_made(client: MlflowClient, identity: str) -> bool:
    """Whether a run tells that a version was made of it."""
    from mlflow.entities import ViewType

    experiments = [one.experiment_id for one in client.search_experiments(ViewType.ALL)]
    query = f"tags.`{registered_tag(identity)}` LIKE 'models:/%'"
    return bool(client.search_runs(experiments, query, ViewType.ALL, max_results=1))
