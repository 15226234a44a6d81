"""vidpred: from a folder of GIFs and videos to a registered model that predicts the next frames.

import vidpred

model = vidpred.load("models:/vidpred@champion")
future = model.predict(frames, steps=8)  # uint8 (T, H, W, 3) → uint8 (8, H, W, 3)

model = vidpred.load("models:/vidpred-classify@champion")
said = model.classify(frames)  # said.name, said.probability; said.probabilities of every class
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from vidpred.serving.classify import ClipClassifier
    from vidpred.serving.predictor import FramePredictor

__version__ = "0.1.0"


def load(model: str | Path, *, device: str = "auto") -> FramePredictor | ClipClassifier:
    """A model that is ready to predict, or to say which class a clip is of; only this imports PyTorch.

    Both have `task`, `info` and `fps`. One that predicts has `predict` (one that interpolates `between`), a classifier
    has `classify`; what a model cannot do says so.

    Args:
        model: `models:/name@alias`, `models:/name/3`, `runs:/<run id>/<folder>`, or a local folder.
        device: `auto` takes a GPU where there is one; else `cpu` or `cuda`.

    Raises:
        UserError: there is no such model, it is damaged, or there is no such device.
    """
    from vidpred.serving.load import load as load_either

    return load_either(model, device=device)
