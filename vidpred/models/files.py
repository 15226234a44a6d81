"""A trained model on disk: a folder of `model.safetensors` (weights) and `model.json` (all else); no pickle.

model.json: {"name", "config" (complete), "task", "data_id", "versions": {"torch", "vidpred"}, "weights_sha256", ...}.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

import vidpred
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.bounds import shapes_of
from vidpred.types import Classifier, Model, Predictor, Task

WEIGHTS = "model.safetensors"
INFO = "model.json"
MOST_INFO_BYTES = 1_000_000
"""Of model.json: ours has a few thousand."""
MOST_FRAMES = 4096
"""Of a context or horizon."""
MOST_SIDE = 8192
"""Pixels of a frame."""
MOST_PIXELS = 1 << 28
"""Of all frames of a context or horizon together."""
MOST_CLASSES = 100_000
M = TypeVar("M", bound=Model)


def save_model(
    folder: Path,
    model: Model,
    *,
    name: str,
    config: Mapping[str, object],
    task: Task,
    info: Mapping[str, object],
) -> dict[str, Any]:
    """Writes both files, each under a temporary name that is then renamed; the same weights give the same bytes.

    Args:
        folder: Made if missing.
        model: Its weights and buffers are written as they are.
        name: Of the zoo.
        config: Fields that differ from the model's defaults, or all.
        task: What it was trained for.
        info: `data_id` and `training`, and whatever else model.json is to hold.

    Returns:
        What model.json says.

    Raises:
        UserError: unknown name or config field.
        ValueError: `info` has a key that is written from elsewhere.
    """
    # contiguous, for layouts such as channels-last; cloned, for weights that share memory: safetensors refuses both
    tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in model.state_dict().items()}
    weights = save(tensors)
    said: dict[str, Any] = {
        "name": name,
        "config": _without_pretrained(dataclasses.asdict(zoo.config_of(name, config, task.kind))),
        "task": {field: value for field, value in dataclasses.asdict(task).items() if field != "classes" or value},
        "versions": {"torch": str(torch.__version__), "vidpred": vidpred.__version__},
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    if clash := said.keys() & info.keys():
        raise ValueError(f"info must not hold {', '.join(sorted(clash))}: save_model writes these")
    said |= info
    folder.mkdir(parents=True, exist_ok=True)
    # weights first: what an interruption leaves behind fails the checksum instead of loading
    _write(folder / WEIGHTS, weights)
    _write(folder / INFO, (json.dumps(said, indent=2, sort_keys=True) + "\n").encode())
    return said


@overload
def load_model(folder: Path) -> tuple[Predictor, dict[str, Any]]: ...


@overload
def load_model(folder: Path, of: type[M]) -> tuple[M, dict[str, Any]]: ...


def load_model(folder: Path, of: type[Model] = Predictor) -> tuple[Model, dict[str, Any]]:
    """The model, in eval mode on the CPU, and what its model.json says.

    Args:
        folder: With both files.
        of: `Predictor`, `Classifier`, or `Model` for either.

    Raises:
        UserError: a file is missing or damaged, the weights are not those of model.json, the zoo has no such model, or
            it does what `of` does not.
    """
    info = read_info(folder)
    task = task_from(info["task"], where=folder / INFO)
    classifies = task.kind == "classify"
    if not issubclass(Classifier if classifies else Predictor, of):
        does, wanted = ("classifies", "predicts") if classifies else ("predicts", "classifies")
        command = f"vidpred {'classify' if classifies else 'predict'} {folder} cat.gif"
        raise UserError(f"the model in {folder} {does} ({info['name']}): give one that {wanted}, or use `{command}`")
    try:
        weights = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise UserError(
            f"{folder / WEIGHTS} cannot be read ({error.strerror}): copy the model's folder again"
        ) from None
    found = hashlib.sha256(weights).hexdigest()
    if found != info["weights_sha256"]:
        raise UserError(
            f"{folder / WEIGHTS} is damaged or of another model (sha256 {found[:12]}…, {INFO} says "
            f"{str(info['weights_sha256'])[:12]}…): copy the model's folder again"
        )
    written = info.get("versions", {}).get("vidpred", "another version")
    unfit = UserError(
        f"the weights in {folder} do not fit this version's {info['name']}, which has changed since (they were written "
        f"by vidpred {written!s:.50}, this is {vidpred.__version__}): train it again, or use the code that wrote it"
    )
    config = _without_pretrained(info["config"])
    try:
        tensors = load(weights)
    except SafetensorError:
        raise unfit from None
    if shapes_of(info["name"], config, task, weights_bytes=len(weights)) != {
        key: tuple(tensor.shape) for key, tensor in tensors.items()
    }:
        raise unfit
    model: Model = zoo.build(info["name"], config, task, Model)
    try:
        model.load_state_dict(tensors)
    except RuntimeError:
        raise unfit from None
    return model.eval(), info


def task_from(fields: object, *, where: object = INFO) -> Task:
    """The task that model.json holds.

    Raises:
        UserError: fields are missing or unknown.
    """
    try:
        task = Task(**fields)  # type: ignore[arg-type]
    except TypeError as error:
        raise UserError(f"the task in {where} is not one that this version knows ({error})") from None
    most = {
        "context": MOST_FRAMES, "horizon": MOST_FRAMES, "interval": MOST_FRAMES,
        "height": MOST_SIDE, "width": MOST_SIDE, "channels": 3,
    }  # fmt: skip
    for name, limit in most.items():
        value = getattr(task, name)
        least = 0 if name == "horizon" and task.kind == "classify" else 1
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= limit:
            raise UserError(f"the task in {where} has {name} {value!r:.30}: a model has {least} to {limit}")
    if max(task.context, task.horizon) * task.height * task.width > MOST_PIXELS:
        raise UserError(f"the task in {where} is of {task.height}x{task.width} pixels: more than a model can have")
    if len(task.classes) > MOST_CLASSES or not all(isinstance(name, str) for name in task.classes):
        raise UserError(f"the task in {where} has classes that are no names, or more than {MOST_CLASSES}")
    return task


def _without_pretrained(config: Mapping[str, object]) -> dict[str, object]:
    """The weights of the file that it names were only where training began; whoever gets the model has no such file."""
    return {field: "" if field == "pretrained" else value for field, value in config.items()}


def read_info(folder: Path) -> dict[str, Any]:
    """What model.json says, of the form that it must have; whether the zoo has such a model is not asked.

    Raises:
        UserError: it is missing, too large, or of another form.
    """
    path = folder / INFO
    try:
        with path.open("rb") as file:
            text = file.read(MOST_INFO_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {folder} is no folder of a trained model") from None
    if len(text) > MOST_INFO_BYTES:
        raise UserError(f"{path} is larger than the {MOST_INFO_BYTES:,} bytes that it may have")
    try:
        info = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not JSON: copy the model's folder again") from None
    wanted: dict[str, type] = {"name": str, "config": dict, "task": dict, "weights_sha256": str}
    missing = [key for key in wanted if not isinstance(info, dict) or key not in info]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}: copy the model's folder again")
    kinds = wanted | {"flow": dict, "versions": dict, "training": dict, "params": dict}
    wrong = [key for key, kind in kinds.items() if key in info and not isinstance(info[key], kind)]
    if wrong:
        raise UserError(f"{path} is damaged: {', '.join(wrong)} of another kind than vidpred writes")
    whole: dict[str, Any] = info
    return whole


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
