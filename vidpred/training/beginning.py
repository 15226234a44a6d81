"""Where training begins, when not at random: with the weights of a trained model, as far as the new one has the same.

In: a model that has just been built, and the folder of a trained one, which may be of another kind of task: what
predicts and what classifies share their blocks. Out: the model with those tensors of the other whose name and shape
are also its own, and how many these are. Only safetensors are read, and only where they are what model.json says.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from vidpred.errors import UserError
from vidpred.models.files import load_model
from vidpred.types import Model

log = logging.getLogger(__name__)


@torch.no_grad()
def begin_with(model: Model, folder: Path) -> dict[str, Any]:
    """Copies what fits into a model.

    Args:
        model: Newly built; what is not in the folder stays as it was drawn.
        folder: Of a trained model.

    Returns:
        For model.json: `model`, its name and what it was for, `weights_sha256`, and of the new model's `tensors` how
        many were `taken` and the `parameters` in them.

    Raises:
        UserError: there is no sound model in the folder, or nothing of it fits.
    """
    other, info = load_model(folder, Model)
    mine, theirs = model.state_dict(), other.state_dict()
    # a count of batches is a norm's, and fits every other norm
    taken = [
        name
        for name, tensor in mine.items()
        if name in theirs and theirs[name].shape == tensor.shape and not name.endswith("num_batches_tracked")
    ]
    if not taken:
        raise UserError(
            f"train.init: {info['name']} of {folder} has no tensor of a name and shape that the model to train has: "
            "name one that is built of the same blocks, with the same widths (docs/classify.md)"
        )
    for name in taken:
        mine[name].copy_(theirs[name])
    found = info.get("training", {})  # on validation
    if found.get("val_gain", 1) <= 0 or found.get("val_top1", 1) <= found.get("val_majority", 0):
        log.warning(
            "train.init: %s was itself no better than its baseline: its weights may do worse than random ones",
            info["name"],
        )
    parameters = sum(mine[name].numel() for name in taken if name in dict(model.named_parameters()))
    log.info(
        "beginning with %d of %d tensors (%s parameters) of %s, which was trained to %s: %s",
        len(taken), len(mine), f"{parameters:,}", info["name"], info["task"]["kind"], _places(taken),
    )  # fmt: skip
    return {
        "model": info["name"],
        "kind": info["task"]["kind"],
        "weights_sha256": info["weights_sha256"],
        "taken": len(taken),
        "tensors": len(mine),
        "parameters": parameters,
    }


def _places(names: list[str]) -> str:
    """`look, score`: the parts of the model that tensors are of."""
    return ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
