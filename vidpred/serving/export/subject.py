"""What is exported: a model with its graph, and in what its answers are compared with the original's and told.

In: a model of either task. Out: a `Subject`: frames of one that predicts, probabilities of one that classifies.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from vidpred.errors import UserError
from vidpred.models.rollout import rollout
from vidpred.serving.export.graph import CLIP, CONTEXT, FRAMES, PROBABILITIES, ClassGraph, FrameGraph, Graph
from vidpred.types import Classifier, Model, Predictor, Task


class Subject(Protocol):
    """A model to be exported."""

    graph: Graph
    """What is captured."""
    input: str
    """The name of what goes in, beside `flow`."""
    output: str
    """The name of what comes out."""
    unit: str
    """Of differences, in words."""
    figure: str
    """The name of the largest difference, in the file's metadata."""
    scale: float
    """Of the unit: what 1 of the output is."""
    tolerance: float
    """In the unit: what a graph may differ by, unless told otherwise."""
    sizes: bool
    """Whether frames of other sizes are worth trying."""
    needs_flow: bool
    """Whether `flow` goes in too."""

    def original(self, shown: Tensor, flow: Tensor | None) -> Tensor:
        """What the model itself answers."""

    def told(self, batch: int | str, height: int | str, width: int | str) -> dict[str, Any]:
        """Of the metadata, what goes in and what comes out, without flow."""


class Frames:
    """A model that predicts, or interpolates.

    Args:
        model: In eval mode, on the CPU.
        task: What it was trained for.
        asked: Frames that the graph is to give; None: as many as the model was trained for.

    Raises:
        UserError: it cannot give so many.
    """

    input, output, unit, figure = CONTEXT, FRAMES, "grey levels of 255", "largest_difference_grey_levels"
    scale, tolerance, sizes = 255.0, 1.0, True

    def __init__(self, model: Predictor, task: Task, asked: int | None) -> None:
        self._model, self._task = model, task
        self._frames = _frames(model, task, asked)
        self.needs_flow = model.needs_flow
        self.graph: Graph = FrameGraph(model, self._frames)

    def original(self, shown: Tensor, flow: Tensor | None) -> Tensor:
        """float32 (B, frames, C, H, W)."""
        given = None if flow is None else (lambda _: flow)
        return rollout(self._model, shown, self._frames, flow=given, clamp=True).frames.clamp(0, 1)

    def told(self, batch: int | str, height: int | str, width: int | str) -> dict[str, Any]:
        """As of `Subject`."""
        task = self._task
        what = "the frame between the two" if self._model.between else "the frames that follow"
        return {
            "inputs": {
                CONTEXT: {
                    "shape": [batch, task.context, task.channels, height, width],
                    "dtype": "float32",
                    "what": "the last frames, oldest first, RGB, uint8 / 255",
                }
            },
            "outputs": {
                FRAMES: {
                    "shape": [batch, self._frames, task.channels, height, width],
                    "dtype": "float32",
                    "what": f"{what}, RGB in [0, 1]: round(255 * frames) is what vidpred gives",
                }
            },
        }


class Classes:
    """A model that classifies.

    Args:
        model: In eval mode, on the CPU.
        task: What it was trained for.
    """

    input, output, unit, figure = CLIP, PROBABILITIES, "percentage points", "largest_difference_points"
    scale, tolerance, sizes = 100.0, 0.1, False  # a graph fixes the places that are pooled

    def __init__(self, model: Classifier, task: Task) -> None:
        self._model, self._task = model, task
        self.needs_flow = model.needs_flow
        self.graph: Graph = ClassGraph(model)

    def original(self, shown: Tensor, flow: Tensor | None) -> Tensor:
        """float32 (B, classes)."""
        return self._model(shown, flow).logits.float().softmax(dim=1)

    def told(self, batch: int | str, height: int | str, width: int | str) -> dict[str, Any]:
        """As of `Subject`."""
        task = self._task
        apart = f", {task.interval} apart" if task.interval > 1 else ""
        return {
            "inputs": {
                CLIP: {
                    "shape": [batch, task.context, task.channels, height, width],
                    "dtype": "float32",
                    "what": f"a window's frames{apart}, oldest first, RGB, uint8 / 255",
                }
            },
            "outputs": {
                PROBABILITIES: {
                    "shape": [batch, len(task.classes)],
                    "dtype": "float32",
                    "what": "of each class, rows add up to 1; vidpred takes the mean over windows of a clip",
                    "classes": list(task.classes),
                }
            },
        }


def subject_of(model: Model, task: Task, frames: int | None) -> Subject:
    """A model as what it is.

    Args:
        model: In eval mode, on the CPU.
        task: What it was trained for.
        frames: How many the graph is to give; None: as many as the model was trained for.

    Raises:
        UserError: it cannot give so many, or gives none.
    """
    if isinstance(model, Predictor):
        return Frames(model, task, frames)
    if not isinstance(model, Classifier):
        raise TypeError(f"{type(model).__name__} neither predicts nor classifies")
    if frames is not None:
        raise UserError(f"--frames {frames}: this model classifies, it gives no frames: leave --frames out")
    return Classes(model, task)


def _frames(model: Predictor, task: Task, asked: int | None) -> int:
    most = 1 if model.between else model.steps if model.needs_flow else None
    if asked is None:
        return task.horizon if most is None else min(task.horizon, most)
    if most is not None and asked > most:
        if model.between:
            raise UserError(f"--frames {asked}: this model gives the one frame between two: at most {most}")
        raise UserError(
            f"--frames {asked}: this model needs optical flow, also of what it predicts, which no graph computes: at "
            f"most {most}, and for more call the graph again (docs/export.md), or use `vidpred predict`"
        )
    return asked
