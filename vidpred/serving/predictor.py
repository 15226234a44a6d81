"""Three lines of Python from a model's name to predicted frames.

    predictor = vidpred.load("models:/vidpred@champion")
    following = predictor.predict(frames, steps=5)  # uint8 (T, H, W, 3) → uint8 (5, H, W, 3)
    following = predictor.predict_batch(clips, steps=5)  # uint8 (B, T, H, W, 3) → uint8 (B, 5, H, W, 3)

A model that interpolates has `between(frames)` instead, which gives the T - 1 frames between those.

The weights come from a registry or a folder, the code is the installed one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from vidpred.config import FlowParams
from vidpred.errors import UserError
from vidpred.models.files import task_from
from vidpred.models.rollout import rollout
from vidpred.serving.devices import device_of
from vidpred.serving.frames import check_frames, resized_frames
from vidpred.tracking.opening import open_model
from vidpred.types import Predictor, to_float, to_uint8
from vidpred.workspace import cores

_AT_ONCE = 32
"""Frames made at once."""
_PIXELS_AT_ONCE = 32 * 96 * 96
"""Of frames that are predicted at once: 32 clips at 96x96."""


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
        self._pool: ThreadPoolExecutor | None = None

    @classmethod
    def load(cls, model: str | Path, *, device: str = "auto") -> FramePredictor:
        """Fetches a model where necessary, and builds it.

        Args:
            model: `models:/name@alias`, `models:/name/3`, `runs:/<run id>/<folder>`, or a local folder.
            device: `auto` takes a GPU where there is one; else `cpu` or `cuda`.

        Raises:
            UserError: there is no such model, it is damaged, or there is no such device.
        """
        chosen = device_of(device)  # before the weights, which may come from afar
        built, info = open_model(str(model), Predictor)
        return cls(built, info, device=chosen)

    @property
    def fps(self) -> float | None:
        """Frames per second of the clips that it was trained on; None where model.json does not tell."""
        fps = self.info.get("fps")
        return float(fps) if fps else None

    def predict(self, frames: np.ndarray, steps: int, *, resize: bool = False) -> np.ndarray:
        """The frames that follow, each after the first predicted from predicted ones where the model gives too few.

        Args:
            frames: uint8 (T, H, W, 3), RGB, as far apart in time as in training; the last `task.context` are used.
            steps: How many frames to predict.
            resize: Whether frames of another size are brought to the model's, as the clips were that it was trained on
                (`transcode.fit`); what is predicted has the model's size.

        Returns:
            uint8 (steps, H, W, 3).

        Raises:
            UserError: too few frames, fewer than one asked for, or a model that interpolates.
            ValueError: frames of another type, or of another size without `resize`.
        """
        if resize:
            frames = resized_frames(frames[-self.task.context :], self.info, self.task)
        check_frames(frames, self.task)
        following: np.ndarray = self.predict_batch(frames[None], steps)[0]
        return following

    @torch.inference_mode()
    def predict_batch(self, frames: np.ndarray, steps: int) -> np.ndarray:
        """`predict` for several clips of one length at once; only so many are computed together as memory is kept for.

        The same as one by one, but for the rounding of sums: a level of 255 here and there.

        Args:
            frames: uint8 (B, T, H, W, 3), RGB; the last `task.context` of each are used.
            steps: How many frames to predict for each.

        Returns:
            uint8 (B, steps, H, W, 3).

        Raises:
            UserError: as `predict`.
            ValueError: frames of another type or size.
        """
        task = self.task
        check_frames(frames, task, batch=True)
        if task.between:
            raise UserError("this model gives frames between others, none that follow: ask for `between`")
        if frames.shape[1] < task.context:
            raise UserError(f"{frames.shape[1]} frames are too few: the model looks at {task.context}")
        if steps < 1:
            raise UserError(f"cannot predict {steps} frames: ask for at least 1")
        out = np.empty((len(frames), steps, *frames.shape[2:]), np.uint8)
        together = max(1, _PIXELS_AT_ONCE // (task.height * task.width))
        for start in range(0, len(out), together):
            some = out[start : start + together]
            known = torch.from_numpy(frames[start : start + len(some), -task.context :].copy()).to(self.device)
            output = rollout(self._model, to_float(known), steps, flow=self._flow(), clamp=True)
            some[...] = to_uint8(output.frames).movedim(-3, -1).cpu().numpy()
        return out

    @torch.inference_mode()
    def between(self, frames: np.ndarray, *, resize: bool = False) -> np.ndarray:
        """The frame between each and the next.

        Args:
            frames: uint8 (T, H, W, 3), RGB.
            resize: As of `predict`.

        Returns:
            uint8 (T - 1, H, W, 3).

        Raises:
            UserError: a single frame, or a model that predicts what follows.
            ValueError: frames of another type, or of another size without `resize`.
        """
        if resize:
            frames = resized_frames(frames, self.info, self.task)
        check_frames(frames, self.task)
        if not self.task.between:
            raise UserError("this model predicts the frames that follow, none between others: ask for `predict`")
        if len(frames) < 2:
            raise UserError(f"{len(frames)} frame has nothing between: give at least 2")
        out = np.empty((len(frames) - 1, *frames.shape[1:]), np.uint8)
        for start in range(0, len(out), _AT_ONCE):
            some = out[start : start + _AT_ONCE]
            known = torch.from_numpy(frames[start : start + len(some) + 1].copy()).to(self.device)
            shown = to_float(known)
            output = rollout(self._model, torch.stack((shown[:-1], shown[1:]), dim=1), 1, flow=self._flow())
            some[...] = to_uint8(output.frames[:, 0]).movedim(-3, -1).cpu().numpy()
        return out

    def classify(self, frames: np.ndarray, *, windows: int = 8, resize: bool = False) -> NoReturn:
        """What only a classifier does.

        Raises:
            UserError: always.
        """
        what = "gives frames between others: ask for `between`" if self.task.between else "predicts: ask for `predict`"
        raise UserError(f"this model knows no classes, it {what}")

    def _flow(self) -> Callable[[Tensor], Tensor] | None:
        """Of one rollout; None where the model needs none."""
        if not self._model.needs_flow:
            return None
        from vidpred.serving.following import following  # imports what most models do without

        if self._pool is None:
            self._pool = ThreadPoolExecutor(cores(), thread_name_prefix="flow")
        return following(self._flow_params, self._pool)
