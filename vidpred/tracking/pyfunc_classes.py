"""The code of a registered classifier, run by MLflow where vidpred is not installed.

In: uint8 clips (B, T, H, W, 3). Out: a row a clip and a column a class, what the model believes of each: a row adds up
to 1. The parts of vidpred that it needs lie beside it in the model's `code` folder; our own commands never run it from
there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from torch import Tensor

from vidpred.models.files import load_model
from vidpred.types import Classifier, to_float

_AT_ONCE = 32


class ClassesOfClips(PythonModel):
    """Says which class clips are of."""

    def load_context(self, context: PythonModelContext) -> None:
        """Builds the model from its two files."""
        model, info = load_model(Path(context.artifacts["weights"]).parent, Classifier)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device)
        self.info = info

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, object] | None = None,
    ) -> pd.DataFrame:
        """What the model believes of each class: the mean over windows, evenly spaced over the clip.

        Args:
            context: Not needed any more.
            model_input: uint8 (B, T, H, W, 3), RGB, at the frame rate that the model was trained at.
            params: `windows`: how many of a clip are scored at the most.

        Raises:
            ValueError: the frames are too few, or of another type or size.
        """
        task = self.info["task"]
        interval, length = task.get("interval", 1), task["context"]
        span = (length - 1) * interval + 1
        clips = np.asarray(model_input)
        fits = clips.ndim == 5 and clips.shape[2:] == (task["height"], task["width"], 3) and clips.shape[1] >= span
        if clips.dtype != np.uint8 or not fits:
            raise ValueError(
                f"clips are {clips.dtype} {clips.shape}, expected uint8 (B, at least {span}, {task['height']}, "
                f"{task['width']}, 3)"
            )
        windows = int(str((params or {}).get("windows", 8)))
        if windows < 1:
            raise ValueError(f"windows is {windows}: give at least 1")
        starts = sorted({round(at) for at in np.linspace(0, clips.shape[1] - span, windows)})
        believed = np.zeros((len(clips), len(task["classes"])))
        for start in starts:
            seen = clips[:, start : start + span : interval]
            for first in range(0, len(clips), _AT_ONCE):
                believed[first : first + _AT_ONCE] += self._believed(seen[first : first + _AT_ONCE])
        return pd.DataFrame(believed / len(starts), columns=task["classes"])

    def _believed(self, seen: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            frames = to_float(torch.from_numpy(np.ascontiguousarray(seen)).to(self.device))
            logits = self.model(frames, self._flow(seen)).logits
            shares: np.ndarray = logits.double().softmax(dim=1).cpu().numpy()
        return shares

    def _flow(self, seen: np.ndarray) -> Tensor | None:
        """Flow of windows, as `Batch.flow`."""
        if not self.model.needs_flow:
            return None
        from vidpred.data.flow import flow_to_previous

        settings = self.info.get("flow") or {}
        return torch.from_numpy(np.stack([flow_to_previous(one, **settings) for one in seen])).to(self.device)


set_model(ClassesOfClips())
