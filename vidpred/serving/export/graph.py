"""A model as one graph of tensor operations, which both formats are written from.

In: a model in eval mode. Out: what torch.export captured of it, from `context` (and `flow`) to `frames`, or from `clip`
(and `flow`) to `probabilities`, with as much that may vary as the model allows: any size and batch, else any batch of
its own size, else nothing.
"""

from __future__ import annotations

import copy
import logging
import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vidpred.errors import UserError
from vidpred.models.rollout import rollout
from vidpred.serving.export.bounds import Bounds
from vidpred.types import Classifier, Model, Predictor, Task

log = logging.getLogger(__name__)

CONTEXT, CLIP, FLOW, FRAMES, PROBABILITIES = "context", "clip", "flow", "frames", "probabilities"
"""Names of the inputs and of the outputs."""


class Graph(nn.Module):
    """What is captured: a copy of a model whose weights are constants.

    Args:
        model: It stays as it is.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model: Model = copy.deepcopy(model)
        for weight in self.model.parameters():
            weight.requires_grad_(False)
            weight.data = weight.data.contiguous()


class FrameGraph(Graph):
    """Context (and flow) in, the frames that follow out, clamped to [0, 1].

    Args:
        model: Rolled out on its own frames where it gives fewer than are asked for.
        frames: How many to give; of a model that needs flow at most its `steps`, since the flow of predicted frames is
            computed outside.
    """

    model: Predictor

    def __init__(self, model: Predictor, frames: int) -> None:
        super().__init__(model)
        self.frames = frames

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Tensor:
        """(B, T, C, H, W) and (B, T-1, 2, H, W) float32 to (B, frames, C, H, W) float32."""
        given = None if flow is None else (lambda _: flow)
        with PlainOperations() if torch.compiler.is_exporting() else nullcontext():
            return rollout(self.model, context, self.frames, flow=given, clamp=True).frames.clamp(0, 1)


class ClassGraph(Graph):
    """A clip (and its flow) in, what the model believes of each class out."""

    model: Classifier

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Tensor:
        """(B, T, C, H, W) and (B, T-1, 2, H, W) float32 to (B, classes) float32, rows adding up to 1."""
        with PlainOperations() if torch.compiler.is_exporting() else nullcontext():
            return self.model(clip, flow).logits.float().softmax(dim=1)


class PlainOperations(TorchFunctionMode):
    """Inside, what only works at sizes that are known is said in operations that work at any."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """One operation."""
        kwargs = kwargs or {}
        if func in (torch.Tensor.chunk, torch.chunk):
            return self._chunk(*args, **kwargs)
        if func is torch.Tensor.contiguous:  # channels-last is a CPU's wish; each question of strides costs time
            return func(args[0])
        if func is torch.Tensor.unfold:
            return self._unfold(*args, **kwargs)
        return func(*args, **kwargs)

    @staticmethod
    def _chunk(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        if isinstance(x.shape[dim], int):  # packed, since an LSTM compares the strides of what it gets with the batch
            return tuple(part.contiguous() for part in torch.chunk(x, chunks, dim))
        # how many come out is not asked: all are of one size, as everywhere in the models
        parts: tuple[Tensor, ...] = x.unflatten(dim, (chunks, x.shape[dim] // chunks)).unbind(dim)
        return parts

    @staticmethod
    def _unfold(x: Tensor, dimension: int, size: int, step: int) -> Tensor:
        # windows as large as a frame at each of a few places, not small ones everywhere
        if isinstance(size, int) or step != 1:
            return x.unfold(dimension, size, step)
        places = int(x.shape[dimension] - size + 1)
        windows = torch.stack([x.narrow(dimension, place, size) for place in range(places)], dim=dimension)
        return windows.movedim(dimension + 1, -1)


class Captured(NamedTuple):
    """A graph and what it takes."""

    program: torch.export.ExportedProgram
    bounds: Bounds
    why: str
    """Why no more may vary; empty where everything may."""


def capture(graph: Graph, task: Task, *, sizes: bool = True, static: bool = False) -> Captured:
    """Captures a model with as much that may vary as it allows.

    Args:
        graph: Of a model on the CPU.
        task: What it was trained for.
        sizes: Whether rows and columns are to vary, where the model can.
        static: Whether batch and size are to be fixed: one window of the task's size.

    Raises:
        UserError: it cannot be captured at all.
    """
    graph.eval()
    if static:
        return Captured(_capture(graph, task, Bounds.static(task)), Bounds.static(task), "asked for")
    why = _bound_to_its_size(graph, task) if sizes else "its size is that of the model"
    if not why:
        multiple = int(getattr(graph.model, "multiple", 1))
        while Bounds.any_size(task, multiple).holds(task):
            bounds = Bounds.any_size(task, multiple)
            try:
                return Captured(_capture(graph, task, bounds), bounds, "")
            except UserError as error:
                why = str(error)
                wanted = math.lcm(multiple, *_wanted_multiples(error))
                if wanted == multiple:
                    break
                multiple = wanted
        else:
            why = f"other sizes must be multiples of {multiple}, which {task.height}x{task.width} is not"
    for bounds in (Bounds.any_batch(task), Bounds.static(task)):
        try:
            return Captured(_capture(graph, task, bounds), bounds, why)
        except UserError as error:
            why = str(error)
    raise UserError(f"the model cannot be captured as a graph: {why}")


def example_inputs(model: Model, task: Task, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
    """Random inputs of these sizes."""
    context = torch.rand(batch, task.context, task.channels, height, width)
    if not model.needs_flow:
        return (context,)
    return context, torch.randn(batch, task.context - 1, 2, height, width)


def _bound_to_its_size(graph: Graph, task: Task) -> str:
    """Why a model takes frames of no other size; empty where it does."""
    try:
        with torch.inference_mode():
            graph(*example_inputs(graph.model, task, *Bounds.any_size(task, 32).example))
    except UserError as error:
        return str(error)
    return ""


def _capture(graph: Graph, task: Task, bounds: Bounds) -> torch.export.ExportedProgram:
    inputs = example_inputs(graph.model, task, *bounds.example)
    varying: dict[int, Any] = {}
    if bounds.varying_batch:
        varying[0] = torch.export.Dim("batch", min=bounds.batch[0], max=bounds.batch[1])
    if bounds.varying_size:
        varying[3], varying[4] = (
            _side("height", bounds.height, bounds.multiple),
            _side("width", bounds.width, bounds.multiple),
        )
    try:
        with torch.no_grad(), _unmarked(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(graph, inputs, dynamic_shapes=tuple(varying for _ in inputs), strict=False)
    except Exception as error:  # torch.export raises what its many parts raise
        raise UserError(f"{bounds.told()}: {_first_line(error)}") from error
    program.example_inputs = None  # megabytes of noise
    return program


def _side(name: str, sides: tuple[int, int], multiple: int) -> Any:
    low, high = sides
    if multiple == 1:
        return torch.export.Dim(name, min=low, max=high)
    return multiple * torch.export.Dim(f"{name}_by_{multiple}", min=low // multiple, max=high // multiple)


def _wanted_multiples(error: UserError) -> list[int]:
    """Of what torch.export proposes that rows or columns be multiples."""
    proposed = re.findall(
        r"^\s*(?:height|width)\w* = (\d+)\*_(?:height|width)\w*\s*$", str(error.__cause__), re.MULTILINE
    )
    return [int(number) for number in proposed]


@contextmanager
def _unmarked() -> Iterator[None]:
    """Models fence float32 off from autocast. None is on here, and the fences would stand in the graph as regions that
    other runtimes do not know."""
    with mock.patch.object(torch, "autocast", return_value=nullcontext()):
        yield


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return line if len(line) <= 200 else line[:197] + "..."
