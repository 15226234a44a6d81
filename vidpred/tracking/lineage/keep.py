"""Keeps the record of a version: files on its training run, tags on both that lead there.

What cannot be recorded is told and costs nothing: a model is registered all the same.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from vidpred import workspace
from vidpred.data.shards import Shards
from vidpred.errors import UserError
from vidpred.tracking import store
from vidpred.tracking.entries import KEY_TAG, STAGE_TAG
from vidpred.tracking.lineage import machine
from vidpred.tracking.lineage.record import PATCH, RECORD, doubts, make

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)

FOLDER_TAG = "vidpred.lineage"
"""Of a version: the folder of its record among its run's artifacts."""
RECORD_TAG = "vidpred.lineage_sha256"
"""Of a version: the hash of lineage.json, which has one of each file."""
MACHINE_TAG = "vidpred.trained_on"
"""Of a run: hardware and versions, as JSON."""
_LONGEST = 5000


def keep(
    client: MlflowClient,
    version: ModelVersion,
    *,
    info: Mapping[str, Any],
    identity: str,
    run_key: str,
    split_sha256: str,
    shards: Shards,
) -> None:
    """Records how a version came about, on its run and in tags; once more where it is registered once more.

    Args:
        client: Of the store.
        version: Its run gets the files.
        info: What model.json says.
        identity: Of the version.
        run_key: Of the training run.
        split_sha256: Of the split.
        shards: What the model was made from.
    """
    called = f"{version.name}/{version.version}"
    try:
        root = workspace.find_root()
        with (
            tempfile.TemporaryDirectory(prefix="vidpred-") as temporary,
            store.explained("the store did not take it"),
        ):
            folder = Path(temporary)
            trained_on = _trained_on(client, str(version.run_id), run_key)
            told = make(
                root, folder, info=info, identity=identity, name=version.name, run_key=run_key,
                split_sha256=split_sha256, shards=shards, trained_on=trained_on,
            )  # fmt: skip
            found = list(doubts(told))
            for doubt in found:
                log.warning("lineage of models:/%s: %s", called, doubt)
            if found and RECORD_TAG in version.tags:
                log.warning("lineage of models:/%s: its earlier record stays", called)
                return
            _send(client, version, told, folder)
    except (UserError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        # no project, or one of another form; a store that has gone
        log.warning("where models:/%s comes from is not on record: %s", called, error)


def _send(client: MlflowClient, version: ModelVersion, told: Mapping[str, Any], folder: Path) -> None:
    kept, sha256 = f"lineage/{told['identity'][:12]}", workspace.file_sha256(folder / RECORD)
    run_id = str(version.run_id)
    there = {PurePosixPath(file.path).name for file in client.list_artifacts(run_id, kept)}
    if version.tags.get(RECORD_TAG) == sha256 and RECORD in there:
        return
    client.log_artifacts(run_id, str(folder), kept)
    tags = tags_of(told, _sweep_run(client, told))
    on_run = tags | {
        "mlflow.source.git.commit": tags["vidpred.git_commit"],
        "mlflow.source.git.repoURL": tags["vidpred.git_remote"],
        MACHINE_TAG: json.dumps(told["trained_on"]) if told["trained_on"] else "",
    }
    before = client.get_run(run_id).data.tags
    for name, value in on_run.items():
        if value:
            client.set_tag(run_id, name, value[:_LONGEST])
        elif name in before and name != MACHINE_TAG:
            client.delete_tag(run_id, name)
    for name, value in (tags | {FOLDER_TAG: kept, RECORD_TAG: sha256}).items():  # the hash last: then all is there
        if value:
            client.set_model_version_tag(version.name, version.version, name, value[:_LONGEST])
        elif name in version.tags:
            client.delete_model_version_tag(version.name, version.version, name)


def tags_of(told: Mapping[str, Any], sweep: str) -> dict[str, str]:
    """What of a record stands in tags, to be searched for; empty values are left out by the caller."""
    code, files = told["git"] or {}, told["files"]
    trained = told["trained_on"] or {}
    return {
        "vidpred.git_commit": code.get("commit", ""),
        "vidpred.git_remote": code.get("remote", ""),
        "vidpred.git_dirty": str(code["dirty"]).lower() if code else "",
        "vidpred.patch_sha256": files.get(PATCH, ""),
        "vidpred.experiment": told["dvc"]["experiment"],
        "vidpred.dvc_lock_sha256": files.get("dvc.lock", ""),
        "vidpred.params_sha256": files.get("params.yaml", ""),
        "vidpred.requirements_sha256": files.get("requirements.lock", ""),
        "vidpred.key_train": told["keys"]["train"],
        "vidpred.key_tune": told["keys"].get("tune", ""),
        "vidpred.sweep_run": sweep,
        "vidpred.hardware": machine.in_words(trained["hardware"]) if trained else "",
    }


def _trained_on(client: MlflowClient, run_id: str, run_key: str) -> dict[str, Any] | None:
    """Hardware and versions as the training noted them: on disk, else on its run where it was registered before."""
    if found := noted(run_key):
        return found
    try:
        tag = json.loads(client.get_run(run_id).data.tags.get(MACHINE_TAG, "null"))
    except ValueError:
        return None
    return tag if isinstance(tag, dict) and {"hardware", "versions"} <= tag.keys() else None


def noted(run_key: str) -> dict[str, Any] | None:
    """Hardware and versions as the training noted them on this disk; None where it did not."""
    try:
        told = json.loads((workspace.home() / "train" / run_key / "run.json").read_text())["machine"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return told if isinstance(told, dict) and {"hardware", "versions"} <= told.keys() else None


def _sweep_run(client: MlflowClient, told: Mapping[str, Any]) -> str:
    """The MLflow run of the sweep that chose the model; empty: none is known here."""
    key = told["keys"].get("tune")
    if not key:
        return ""
    query = f"tags.`{KEY_TAG}` = '{key}' and tags.`{STAGE_TAG}` = 'tune'"
    found = client.search_runs([store.experiment(client)], query, max_results=1)
    return str(found[0].info.run_id) if found else ""
