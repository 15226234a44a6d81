"""The model registry: a trained model becomes a version, once; the best one is `champion`.

In: the model folder, its evaluation, the frames it was judged on. Out: a version with tags that lead back to data and
task, the alias that `gate` decides, and a receipt. A version is known by its weights, so registering twice gives one.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from vidpred import workspace
from vidpred.data.clips import make_batch, read_windows
from vidpred.errors import UserError
from vidpred.models.files import load_model, task_from
from vidpred.tracking import store
from vidpred.tracking.aliases import settle
from vidpred.tracking.card import write_card
from vidpred.tracking.card_facts import make_card
from vidpred.tracking.card_text import as_markdown
from vidpred.tracking.download import download
from vidpred.tracking.gate import Bench, Decision, seen_by
from vidpred.tracking.lineage.keep import keep
from vidpred.tracking.measure import classifies, figures_of
from vidpred.tracking.package import ARTIFACTS, package
from vidpred.tracking.promotion import alone, apply, decide_again, decision_tags
from vidpred.tracking.receipt import IDENTITY_TAG, find, has_files, registered_tag
from vidpred.tracking.runs import Tracker
from vidpred.training.figures import interval_of, verdict
from vidpred.types import Model, Window, to_uint8

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["Bench", "download", "read_bench_windows", "register"]

log = logging.getLogger(__name__)

SHA_TAG = "vidpred.weights_sha256"
CARD_TAG = "vidpred.card"
"""A digest of the version's card."""

_DOES = {
    "predict": "Predicts the next frames of a clip.",
    "interpolate": "Predicts the frames between those of a clip.",
    "classify": "Says which class a clip is of.",
}
_PATIENCE_SECONDS = 60
"""A server may take longer over an upload than over a figure."""


def register(
    model_folder: Path,
    *,
    name: str,
    run_key: str,
    bench: Bench,
    pictures: Path,
    evaluation: Path | None = None,
) -> dict[str, Any]:
    """Makes a version of a trained model, unless there is one, and decides its alias.

    Its training run gets the figures on test and the pictures, each time.

    Args:
        model_folder: `model.safetensors`, `model.json`, `metrics.jsonl`.
        name: Registered name.
        run_key: Of the training run; it is made, with all of metrics.jsonl, where the store was away while training.
        bench: The model's scores, and all that the champion's are computed from.
        pictures: Folder of what the model predicted on test.
        evaluation: Folder of the tables of `evaluate`, for the card; None: it tells neither of rollouts nor of motion.

    Returns:
        The receipt; the same again as long as the evaluation and the champion are the same. It depends on the registry
        only by the champion that the model met there; the run, version and URI that it has got stand in
        `VIDPRED_HOME/register/<sha256>.json`.

    Raises:
        UserError: the model is damaged, or MLflow does not answer.
    """
    info = load_model(model_folder, Model)[1]
    client = store.connect(patience_seconds=_PATIENCE_SECONDS)
    identity = _identity(info)
    # two at once, as with `dvc exp run --queue`, would else make two versions
    with alone(), store.explained(f"{name} was not registered"):
        version = find(client, name, identity)
        present, moves = settle(client, name)
        decision = decide_again(client, version, present, moves, bench)
        card = make_card(bench, evaluation)
        tags = _tags(info, bench, decision) | {CARD_TAG: workspace.digest(card)}
        tags = {tag: value[:5000] for tag, value in tags.items()}
        test = {f"test_{key}": value for key, value in bench.metrics["test"][info["name"]].items()}
        told = {SHA_TAG: tags[SHA_TAG], "data_id": tags["vidpred.data_id"]}
        with Tracker.open(stage="train", key=run_key, params={"model": info["name"]}, tags=told, required=True) as run:
            run.mirror(model_folder / "metrics.jsonl")
            run.figures(test)
            run.artifact(pictures, "pictures")
            with _card_folder(card, pictures) as folder:
                if version is None:
                    version = _create(client, run, model_folder, info, name=name, bench=bench, tags=tags, card=folder)
                elif not has_files(str(version.source)):
                    _put_back(client, version, model_folder, info, bench=bench, card=folder)
                elif version.tags.get(CARD_TAG) != tags[CARD_TAG]:  # judged anew
                    _replace_card(client, version, folder)
            if version.description != as_markdown(card):
                client.update_model_version(name, version.version, as_markdown(card))
        for tag in (tag for tag in tags if version.tags.get(tag) != tags[tag]):  # judged anew since it was made
            client.set_model_version_tag(name, version.version, tag, tags[tag])
        client.set_tag(str(version.run_id), registered_tag(identity), f"models:/{name}/{version.version}")
        keep(
            client, version, info=info, identity=identity, run_key=run_key,
            split_sha256=tags["vidpred.split_sha256"], shards=bench.shards,
        )  # fmt: skip
        apply(client, version, decision, present=present, moves=moves)
        receipt = _receipt(name, info, decision, bench.metrics)
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


def _identity(info: Mapping[str, Any]) -> str:
    return workspace.digest({key: info[key] for key in ("name", "config", "task", "weights_sha256")})


def _create(
    client: MlflowClient,
    run: Tracker,
    model_folder: Path,
    info: Mapping[str, Any],
    *,
    name: str,
    bench: Bench,
    tags: dict[str, str],
    card: Path,
) -> ModelVersion:
    """Uploads the packaged model to the training run and makes a version of it."""
    from mlflow.exceptions import MlflowException

    folder = f"registered/{_identity(info)[:12]}"  # one a version: a later one of the same run must not replace it
    run_id = str(run.run_id)
    with _packaged(model_folder, info, bench=bench, card=card, run_id=run_id) as packaged:
        run.artifact(packaged, folder)
    try:
        client.create_registered_model(name, description=f"{_DOES[info['task']['kind']]} Made by vidpred.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{client.get_run(run_id).info.artifact_uri}/{folder}"
    made = client.create_model_version(name, source, run_id=run_id, tags=tags)
    first = find(client, name, tags[IDENTITY_TAG])
    if first is None or first.version == made.version:
        return made
    client.delete_model_version(name, made.version)  # another machine, which our lock does not reach, was first
    return first


@contextmanager
def _packaged(model_folder: Path, info: Mapping[str, Any], *, bench: Bench, card: Path, run_id: str) -> Iterator[Path]:
    """The folder that a version's files are."""
    with tempfile.TemporaryDirectory(prefix="vidpred-") as temporary:
        folder, seen = Path(temporary) / "model", seen_by(bench.shards, bench.split)
        package(model_folder, folder, info=info, seen=seen, card=card, example=_example(bench), run_id=run_id)
        yield folder


def _put_back(
    client: MlflowClient,
    version: ModelVersion,
    model_folder: Path,
    info: Mapping[str, Any],
    *,
    bench: Bench,
    card: Path,
) -> None:
    """Uploads the files of a version that has lost them."""
    run_id, folder = str(version.run_id), _folder_of(client, version)
    if folder is None:
        raise UserError(
            f"models:/{version.name}/{version.version} has lost its files, and {store.display(str(version.source))} is "
            "no place to put them back: delete that version in MLflow, and register again"
        )
    log.warning("the files of models:/%s/%s were gone: they are put back", version.name, version.version)
    with _packaged(model_folder, info, bench=bench, card=card, run_id=run_id) as packaged:
        client.log_artifacts(run_id, str(packaged), folder)


@contextmanager
def _card_folder(card: Mapping[str, Any], pictures: Path) -> Iterator[Path]:
    """The card's files."""
    with tempfile.TemporaryDirectory(prefix="vidpred-") as temporary:
        write_card(Path(temporary), card, pictures)
        yield Path(temporary)


def _replace_card(client: MlflowClient, version: ModelVersion, card: Path) -> None:
    """Puts a card in the place of a version's own."""
    folder = _folder_of(client, version)
    if folder is not None:
        client.log_artifacts(str(version.run_id), str(card), f"{folder}/{ARTIFACTS}")


def _folder_of(client: MlflowClient, version: ModelVersion) -> str | None:
    """Where a version's files are among the artifacts of its run; None: they are elsewhere."""
    source = str(version.source)
    folder = source.rpartition("/artifacts/")[2]
    of_run = client.get_run(str(version.run_id)).info.artifact_uri
    return folder if of_run == source.removesuffix(f"/{folder}") else None


def _example(bench: Bench) -> np.ndarray:
    """The frames of the first test window that a model is given: uint8 (1, T, H, W, 3)."""
    task = task_from(bench.info["task"])
    first = bench.windows.iloc[0]
    clip = next(row for row, clip in enumerate(bench.shards.clips) if clip.id == first["clip"])
    window = Window(clip, int(first["start"]))
    if classifies(bench.info):  # it takes frames from a clip's one after the other
        return read_windows(bench.shards, [window], count=(task.context - 1) * task.interval + 1)
    frames = read_windows(bench.shards, [window], count=task.context + task.horizon, interval=task.interval)
    batch = make_batch(frames, context=task.context, between=task.between)
    example: np.ndarray = to_uint8(batch.context).movedim(-3, -1).numpy()
    return example


def _tags(info: Mapping[str, Any], bench: Bench, decision: Decision) -> dict[str, str]:
    seen = seen_by(bench.shards, bench.split)
    interval = interval_of(verdict(bench.metrics).gain)
    return {
        SHA_TAG: str(info["weights_sha256"]),
        IDENTITY_TAG: _identity(info),
        "vidpred.model": str(info["name"]),
        "vidpred.data_id": str(info.get("data_id", "")),
        "vidpred.split": str(bench.metrics["split"]),
        "vidpred.split_sha256": str(seen["split_sha256"]),
        "vidpred.train_groups_sha256": workspace.digest(seen["groups"]),
        **decision_tags(decision),
        **{f"vidpred.task.{key}": str(value) for key, value in info["task"].items()},
        **{f"vidpred.{key}": f"{value:.4g}" for key, value in figures_of(info, bench.metrics).items()},
        **{f"vidpred.gain_{end}": f"{value:.4g}" for end, value in zip(("low", "high"), interval or (), strict=False)},
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
        "figures": figures_of(info, metrics),
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
