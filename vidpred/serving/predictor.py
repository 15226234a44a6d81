"""Three lines of Python from a model's name to predicted frames.

    predictor = FramePredictor.load("models:/vidpred@champion")
    following = predictor.predict(frames, 5)  # uint8 (T, H, W, 3) → uint8 (5, H, W, 3)

The weights come from a registry or a folder, the code is the installed one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidpred.config import FlowParams
from vidpred.errors import UserError
from vidpred.models.files import load_model, task_from
from vidpred.models.rollout import rollout
from vidpred.tracking.download import download
from vidpred.training.device import choose_device
from vidpred.types import Predictor, to_float, to_uint8


class FramePredictor:
    """A model that is ready to predict.

    Attributes:
        task: What it was trained for.
        info: Its model.json.
        device: Where it computes.
    """

    def __init__(self, model: Predictor, info: Mapping[str, Any], *, device: torch.device | str = "cpu") -> None:
        self.info = dict(info)
        self.task = task_from(info["task"])
        self.device = torch.device(device)
        self._model = model.to(self.device).eval()
        self._flow_params = FlowParams(**self.info.get("flow", {}))

    @classmethod
    def load(cls, model: str | Path, *, device: str = "auto") -> FramePredictor:
        """Fetches a model where necessary, and builds it.

        Args:
            model: `models:/name@alias`, `models:/name/3`, `runs:/<run id>/<folder>`, or a local folder.
            device: `auto` takes a GPU where there is one; else `cpu` or `cuda`.

        Raises:
            UserError: there is no such model, it is damaged, or there is no such device.
        """
        built, info = load_model(download(str(model)))
        return cls(built, info, device=choose_device(device))

    @property
    def fps(self) -> float | None:
        """Frames per second of the clips that it was trained on; None where model.json does not tell."""
        fps = self.info.get("fps")
        return float(fps) if fps else None

    @torch.inference_mode()
    def predict(self, frames: np.ndarray, count: int) -> np.ndarray:
        """The frames that follow, each after the first predicted from predicted ones where the model gives too few.

        Args:
            frames: uint8 (T, H, W, 3), RGB, as far apart in time as in training; the last `task.context` are used.
            count: How many to predict.

        Returns:
            uint8 (count, H, W, 3).

        Raises:
            UserError: too few frames, or fewer than one asked for.
            ValueError: frames of another type or size.
        """
        task = self.task
        if frames.dtype != np.uint8 or frames.shape[1:] != (task.height, task.width, 3):
            raise ValueError(
                f"frames are {frames.dtype} {frames.shape}, expected uint8 (T, {task.height}, {task.width}, 3)"
            )
        if len(frames) < task.context:
            raise UserError(f"{len(frames)} frames are too few: the model looks at {task.context}")
        if count < 1:
            raise UserError(f"cannot predict {count} frames: ask for at least 1")
        known = torch.from_numpy(np.ascontiguousarray(frames[-task.context :])).to(self.device)
        output = rollout(self._model, to_float(known[None]), count, flow=self._flow, clamp=True)
        out: np.ndarray = to_uint8(output.frames[0]).movedim(-3, -1).cpu().numpy()
        return out

    def _flow(self, context: Tensor) -> Tensor:
        from vidpred.data.clips import flow_of  # imports what most models do without

        return flow_of(context, self._flow_params)
