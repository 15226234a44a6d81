"""The model registry: a trained model becomes a version, once; the best one is `champion`.

In: the model folder, its evaluation, the frames it was judged on. Out: a version with tags that lead back to data and
task, the alias that `gate` decides, and a receipt. A version is known by its weights, so registering twice gives one.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from vidpred import workspace
from vidpred.errors import UserError
from vidpred.models.files import load_model
from vidpred.tracking import store
from vidpred.tracking.download import download, fetch
from vidpred.tracking.gate import CHALLENGER, CHAMPION, Bench, Decision, decide, seen_by
from vidpred.tracking.package import package
from vidpred.tracking.runs import Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["Bench", "champion", "download", "read_bench_windows", "register", "verify"]

log = logging.getLogger(__name__)

SHA_TAG = "vidpred.weights_sha256"
IDENTITY_TAG = "vidpred.identity"
"""Weights, name, config and task: models without weights share a sha256."""

_PATIENCE_SECONDS = 60
"""A server may take longer over an upload than over a figure."""


def register(model_folder: Path, *, name: str, run_key: str, bench: Bench) -> dict[str, Any]:
    """Makes a version of a trained model, unless there is one, and decides its alias.

    Args:
        model_folder: `model.safetensors`, `model.json`, `metrics.jsonl`.
        name: Registered name.
        run_key: Of the training run; it is made, with all of metrics.jsonl, where the store was away while training.
        bench: The model's scores, and all that the champion's are computed from.

    Returns:
        The receipt, without anything that differs between two registries; run, version and URI stand in
        `VIDPRED_HOME/register/<sha256>.json`.

    Raises:
        UserError: the model is damaged, or MLflow does not answer.
    """
    info = load_model(model_folder)[1]
    client = store.connect(patience_seconds=_PATIENCE_SECONDS)
    identity = _identity(info)
    # two at once, as with `dvc exp run --queue`, would else make two versions
    with workspace.locked(workspace.home() / "register"), store.explained(f"{name} was not registered"):
        version = _find(client, name, identity)
        present = _by_alias(client, name, CHAMPION)
        decision = _decide(client, version, present, bench)
        tags = {tag: value[:5000] for tag, value in _tags(info, bench, decision).items()}
        if version is None:
            version = _create(client, model_folder, info, name=name, run_key=run_key, bench=bench, tags=tags)
        _apply(client, version, decision)
        receipt = _receipt(name, info, decision, bench.metrics)
        for tag in (tag for tag in tags if version.tags.get(tag) != tags[tag]):  # judged anew since it was made
            client.set_model_version_tag(name, version.version, tag, tags[tag])
        workspace.write_json(
            workspace.home() / "register" / f"{info['weights_sha256']}.json",
            {
                "uri": f"models:/{name}/{version.version}",
                "version": int(version.version),
                "run_id": version.run_id,
                "store": store.display(store.tracking_uri()),
            },
        )
    log.info(
        "models:/%s/%s is %s: %s",
        name, version.version, decision.alias or "neither champion nor challenger", decision.reason,
    )  # fmt: skip
    return receipt


def verify(receipt: Mapping[str, Any]) -> str:
    """What is wrong with a receipt: a sentence with what to do, or nothing where the registry has that version."""
    name, sha256 = receipt["name"], receipt["weights_sha256"]
    try:
        client = store.connect()
        with store.explained("the registry cannot be searched"):
            found = _find(client, name, receipt["identity"])
    except UserError as error:
        return str(error)
    if found is not None:
        return ""
    where = store.display(store.tracking_uri())
    return f"{where} has no version of {name} with weights {sha256[:12]}: run `vidpred register`"


def champion(name: str) -> dict[str, str]:
    """Tags of the present champion, with its `version`; empty where there is none.

    Raises:
        UserError: MLflow does not answer.
    """
    client = store.connect()
    with store.explained(f"the champion of {name} cannot be looked up"):
        version = _by_alias(client, name, CHAMPION)
    return {} if version is None else {"version": str(version.version), **version.tags}


def _identity(info: Mapping[str, Any]) -> str:
    return workspace.digest({key: info[key] for key in ("name", "config", "task", "weights_sha256")})


def _find(client: MlflowClient, name: str, identity: str) -> ModelVersion | None:
    """The version of a model with these weights."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{IDENTITY_TAG}` = '{identity}'")
    return min(found, key=lambda version: int(version.version), default=None)


def _by_alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _create(
    client: MlflowClient,
    model_folder: Path,
    info: Mapping[str, Any],
    *,
    name: str,
    run_key: str,
    bench: Bench,
    tags: dict[str, str],
) -> ModelVersion:
    """Uploads the packaged model to the training run and makes a version of it."""
    from mlflow.exceptions import MlflowException

    folder = f"registered/{_identity(info)[:12]}"  # one a version: a later one of the same run must not replace it
    run_tags = {SHA_TAG: tags[SHA_TAG], "data_id": tags["vidpred.data_id"]}
    test = {f"test_{key}": value for key, value in bench.metrics["test"][info["name"]].items()}
    with (
        Tracker.open(stage="train", key=run_key, params={"model": info["name"]}, tags=run_tags, required=True) as run,
        tempfile.TemporaryDirectory(prefix="vidpred-") as temporary,
    ):
        run.mirror(model_folder / "metrics.jsonl")
        run.metrics(0, test)
        packaged = Path(temporary) / "model"
        seen = seen_by(bench.shards, bench.split)
        package(model_folder, packaged, info=info, seen=seen, run_id=str(run.run_id))
        run.artifact(packaged, folder)
        run_id = str(run.run_id)
    try:
        client.create_registered_model(name, description="Predicts the next frames of a clip. Made by vidpred.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{client.get_run(run_id).info.artifact_uri}/{folder}"
    return client.create_model_version(name, source, run_id=run_id, tags=tags)


def _decide(client: MlflowClient, version: ModelVersion | None, present: ModelVersion | None, bench: Bench) -> Decision:
    if present is None:
        return decide(bench, None)
    if version is not None and present.version == version.version:
        return Decision(CHAMPION, "it is the champion already", {"weights_sha256": bench.info["weights_sha256"]})
    called = f"the champion (version {present.version})"
    with tempfile.TemporaryDirectory(prefix="vidpred-") as temporary:
        folder = Path(temporary)
        try:
            fetch(client.get_model_version_download_uri(present.name, present.version), folder, also_seen=True)
        except store.StoreError:
            raise
        except UserError as error:
            log.warning("%s: %s", called, error)  # it is not there any more: `decide` finds the folder empty
        return decide(bench, folder, called=called)


def _apply(client: MlflowClient, version: ModelVersion, decision: Decision) -> None:
    """Moves aliases: a version has one at the most."""
    if decision.alias is not None:
        client.set_registered_model_alias(version.name, decision.alias, version.version)
    for alias in {CHAMPION, CHALLENGER} - {decision.alias}:
        holder = _by_alias(client, version.name, alias)
        if holder is not None and holder.version == version.version:
            client.delete_registered_model_alias(version.name, alias)


def _figures(info: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, float]:
    return {
        "perceptual_distance": metrics["test"][info["name"]]["perceptual_distance"],
        "copy_last_perceptual_distance": metrics["test"]["copy_last"]["perceptual_distance"],
        "gain_pooled": metrics["over_copy_last"]["pooled"],
        "gain_macro": metrics["over_copy_last"]["macro"],
    }


def _tags(info: Mapping[str, Any], bench: Bench, decision: Decision) -> dict[str, str]:
    seen = seen_by(bench.shards, bench.split)
    return {
        SHA_TAG: str(info["weights_sha256"]),
        IDENTITY_TAG: _identity(info),
        "vidpred.model": str(info["name"]),
        "vidpred.data_id": str(info.get("data_id", "")),
        "vidpred.split": str(bench.metrics["split"]),
        "vidpred.split_sha256": str(seen["split_sha256"]),
        "vidpred.train_groups_sha256": workspace.digest(seen["groups"]),
        "vidpred.decision": decision.alias or "none",
        "vidpred.reason": decision.reason,
        **{f"vidpred.task.{key}": str(value) for key, value in info["task"].items()},
        **{f"vidpred.{key}": f"{value:.4g}" for key, value in _figures(info, bench.metrics).items()},
    }


def _receipt(name: str, info: Mapping[str, Any], decision: Decision, metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "model": info["name"],
        "weights_sha256": info["weights_sha256"],
        "identity": _identity(info),
        "alias": decision.alias,
        "reason": decision.reason,
        "champion": decision.champion,
        "figures": _figures(info, metrics),
    }


def read_bench_windows(path: Path, model: str) -> pd.DataFrame:
    """One model's rows of windows.parquet, in their order.

    Raises:
        UserError: it has none.
    """
    rows = pd.read_parquet(path)
    mine = rows[rows["model"] == model].sort_values("window", ignore_index=True)
    if mine.empty:
        raise UserError(f"{path} has no windows of {model}: run `dvc repro evaluate`")
    return mine
