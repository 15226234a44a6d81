"""A model of either task, ready to use: `vidpred.load`.

In: an address in a registry, or a folder. Out: a `FramePredictor` or a `ClipClassifier`, as its model.json says.
"""

from __future__ import annotations

from pathlib import Path

from vidpred.models.files import INFO, read_info, task_from
from vidpred.serving.classify import ClipClassifier
from vidpred.serving.devices import device_of
from vidpred.serving.predictor import FramePredictor
from vidpred.tracking.download import download
from vidpred.tracking.opening import called


def load(model: str | Path, *, device: str = "auto") -> FramePredictor | ClipClassifier:
    """Fetches a model where necessary, and builds it.

    Args:
        model: `models:/name@alias`, `models:/name/3`, `runs:/<run id>/<folder>`, or a local folder.
        device: `auto` takes a GPU where there is one; else `cpu` or `cuda`.

    Raises:
        UserError: there is no such model, it is damaged, or there is no such device.
    """
    device_of(device)  # before the weights, which may come from afar
    folder = download(str(model))
    with called(str(model), folder):
        task = task_from(read_info(folder)["task"], where=folder / INFO)
        return (ClipClassifier if task.kind == "classify" else FramePredictor).load(folder, device=device)
