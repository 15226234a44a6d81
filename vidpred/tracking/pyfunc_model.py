"""The code of a registered model, run by MLflow where vidpred is not installed.

In: uint8 frames (B, T, H, W, 3) and how many to predict. Out: uint8 frames (B, n, H, W, 3). The parts of vidpred
that it needs lie beside it in the model's `code` folder; our own commands never run it from there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from torch import Tensor

from vidpred.models.files import load_model
from vidpred.models.rollout import rollout
from vidpred.types import to_float, to_uint8


class NextFrames(PythonModel):
    """Predicts the frames that follow."""

    def load_context(self, context: PythonModelContext) -> None:
        """Builds the model from its two files."""
        model, info = load_model(Path(context.artifacts["weights"]).parent)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device)
        self.info = info

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, object] | None = None,
    ) -> np.ndarray:
        """The next `params["frames"]` frames.

        Args:
            context: Not needed any more.
            model_input: uint8 (B, T, H, W, 3), RGB; the last frames that the model needs are taken.
            params: `frames`: how many to predict; by default as many as it was trained for.

        Raises:
            ValueError: the frames are too few, or of another type or size.
        """
        task = self.info["task"]
        frames = np.asarray(model_input)
        size = (task["height"], task["width"], 3)
        fits = frames.ndim == 5 and frames.shape[2:] == size and frames.shape[1] >= task["context"]
        if frames.dtype != np.uint8 or not fits:
            raise ValueError(
                f"frames are {frames.dtype} {frames.shape}, expected uint8 (B, at least {task['context']}, "
                f"{task['height']}, {task['width']}, 3)"
            )
        count = int(str((params or {}).get("frames", task["horizon"])))
        known = torch.from_numpy(np.ascontiguousarray(frames[:, -task["context"] :])).to(self.device)
        with torch.inference_mode():
            predicted = rollout(self.model, to_float(known), count, flow=self._flow, clamp=True).frames
            out: np.ndarray = to_uint8(predicted).movedim(-3, -1).cpu().numpy()
        return out

    def _flow(self, context: Tensor) -> Tensor:
        """Flow of a context (B, T, C, H, W), as `Batch.flow`."""
        from vidpred.data.flow import flow_to_previous

        frames = to_uint8(context).movedim(-3, -1).cpu().numpy()
        settings = self.info.get("flow") or {}
        return torch.from_numpy(np.stack([flow_to_previous(clip, **settings) for clip in frames])).to(context.device)


set_model(NextFrames())
