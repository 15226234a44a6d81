"""A classifier that is ready for clips of any length.

    classifier = vidpred.load("models:/vidpred-classify@champion")
    said = classifier.classify(frames)  # uint8 (T, H, W, 3)
    said.name, said.probability, said.probabilities

In: a model, from a registry or a folder, and clips as files or frames. Out: what it believes of each class: the mean
over windows, evenly spaced over the clip, as in `evaluate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from vidpred.config import FlowParams
from vidpred.data import launch, media
from vidpred.data.clips import make_batch
from vidpred.data.complaints import MediaError
from vidpred.errors import UserError
from vidpred.models.files import task_from
from vidpred.serving import looks
from vidpred.serving.devices import device_of
from vidpred.serving.frames import check_frames, resized_frames
from vidpred.tracking.opening import open_model
from vidpred.types import Classifier

MAX_SECONDS = 600
"""So much of a clip is read."""
AT_ONCE = 32
"""Windows that are scored at once."""


@dataclass(frozen=True)
class Classified:
    """What a model says of a clip."""

    probabilities: dict[str, float]
    """Of every class, the likeliest first; they add up to 1."""

    @classmethod
    def of(cls, scores: Mapping[str, float]) -> Classified:
        """From the scores of classes in any order; of two alike the first."""
        return cls(dict(sorted(scores.items(), key=lambda item: -item[1])))

    @property
    def name(self) -> str:
        """The class that it says."""
        return next(iter(self.probabilities))

    @property
    def probability(self) -> float:
        """How sure it is of that one."""
        return self.probabilities[self.name]

    def top(self, count: int) -> dict[str, float]:
        """The likeliest classes, so many at the most."""
        return dict(list(self.probabilities.items())[:count])


class ClipClassifier:
    """Scores clips.

    Attributes:
        task: What it was trained for.
        info: Its model.json.
    """

    def __init__(self, model: Classifier, info: Mapping[str, Any], *, device: torch.device | str = "cpu") -> None:
        self.info = dict(info)
        self.task = task_from(info["task"])
        self._model, self._device = model.to(device).eval(), device
        self._flow = FlowParams(**self.info.get("flow", {}))

    @classmethod
    def load(cls, model: Path | str, *, device: str = "auto") -> ClipClassifier:
        """Fetches a model where necessary, and builds it.

        Args:
            model: `models:/name@alias`, `models:/name/3`, `runs:/<run id>/<folder>`, or a local folder.
            device: `auto` takes a GPU where there is one; else `cpu` or `cuda`.

        Raises:
            UserError: there is none, it is damaged, it predicts instead of classifying, or there is no such device.
        """
        chosen = device_of(device)
        return cls(*open_model(str(model), Classifier), device=chosen)

    @property
    def fps(self) -> float | None:
        """Frames per second of the clips that it was trained on; None where model.json does not tell."""
        fps = self.info.get("fps")
        return float(fps) if fps else None

    def classify(self, frames: np.ndarray, *, windows: int = 8, resize: bool = False) -> Classified:
        """Says which class a clip is of.

        Args:
            frames: uint8 (T, H, W, 3), RGB, at the frame rate of training (`fps`); `read` gives those of a file.
            windows: That are scored at the most, evenly spaced over the clip.
            resize: Whether frames of another size are brought to the model's, as the clips were that it was trained on
                (`transcode.fit`).

        Raises:
            UserError: too few frames for a window, or fewer than one window asked for.
            ValueError: frames of another type, or of another size without `resize`.
        """
        if resize:
            frames = resized_frames(frames, self.info, self.task)
        check_frames(frames, self.task)
        if windows < 1:
            raise UserError(f"cannot score {windows} windows: ask for at least 1")
        return Classified.of(self.scores(frames, windows=windows))

    def predict(self, frames: np.ndarray, steps: int, *, resize: bool = False) -> NoReturn:
        """What only a model that predicts does.

        Raises:
            UserError: always.
        """
        raise UserError("this model says which class a clip is of, it predicts no frames: ask for `classify`")

    def read(self, path: Path) -> np.ndarray:
        """A GIF or video at the size and frame rate that it was trained on: uint8 (T, H, W, 3).

        Raises:
            UserError: it cannot be read.
        """
        try:
            return media.decode(
                path, **looks.fields(self.info, self.task), ffmpeg=launch.any_ffmpeg(), fps=self.fps,
                max_seconds=MAX_SECONDS,
            )  # fmt: skip
        except MediaError as error:
            raise UserError(f"{path}: {error}") from None

    @property
    def span(self) -> int:
        """Frames from the first to the last that the model looks at."""
        return (self.task.context - 1) * self.task.interval + 1

    def scores(self, frames: np.ndarray, *, windows: int = 8) -> dict[str, float]:
        """What the model believes of each class, in the task's order; they add up to 1.

        Args:
            frames: uint8 (T, H, W, 3), as `read` gives them.
            windows: That are scored at the most, from the first frame to the last.

        Raises:
            UserError: there are too few frames for a window.
        """
        if len(frames) < self.span:
            raise UserError(f"{len(frames)} frames, and the model looks at {self.span}: give a longer clip")
        (scores,) = self.scores_of([(frames, self.looked_at(len(frames), windows))])
        return dict(zip(self.task.classes, scores.tolist(), strict=True))

    def looked_at(self, length: int, windows: int) -> np.ndarray:
        """Which frames of a clip each window holds: int64 (W, context), no rows where it is too short for one.

        Args:
            length: Frames of the clip.
            windows: At the most, from the first frame to the last.
        """
        starts = sorted(
            {round(at) for at in np.linspace(0, length - self.span, windows)} if length >= self.span else ()
        )
        found: np.ndarray = np.array(starts, np.int64)[:, None] + np.arange(0, self.span, self.task.interval)
        return found

    def scores_of(self, clips: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        """What the model believes of each class, for several clips at once: float32 (classes,), in the task's order.

        Args:
            clips: uint8 (T, H, W, 3), and which of these frames each window holds, int64 (W, context), W at least 1.
        """
        every = [(frames, rows) for frames, windows in clips for rows in windows]
        believed = [
            self.believed(np.stack([frames[rows] for frames, rows in every[first : first + AT_ONCE]]))
            for first in range(0, len(every), AT_ONCE)
        ]
        ends = np.cumsum([len(windows) for _, windows in clips])[:-1]
        return [part.mean(axis=0) for part in np.split(np.concatenate(believed), ends)] if clips else []

    def window(self, frames: np.ndarray, start: int) -> np.ndarray:
        """What the model looks at from a frame on: uint8 (context, H, W, 3), a view."""
        return frames[start : start + self.span : self.task.interval]

    @torch.no_grad()
    def believed(self, windows: np.ndarray) -> np.ndarray:
        """What it believes of windows, uint8 (B, context, H, W, 3): float32 (B, classes), rows adding up to 1."""
        flow = self._flow if self._model.needs_flow else None
        batch = make_batch(windows, context=self.task.context, device=self._device, flow=flow)
        logits = self._model(batch.context, batch.flow).logits.float()
        scores: np.ndarray = logits.softmax(dim=1).cpu().numpy()
        return scores
