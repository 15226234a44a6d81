"""What one place in the middle of a layer sees of a clip: its receptive field, found by asking, so for any network.

Some frames, rows or columns of a clip are made not a number; where that reaches the middle of a layer's output, it sees
them.
In: a classifier and its task. Out: a row a layer, in the order in which they are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from vidpred.types import Classifier, Task

LAYERS = (
    nn.Conv2d, nn.Conv3d, nn.Linear, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool2d, nn.AvgPool3d, nn.LSTM
)  # fmt: skip
"""Modules that make a row."""
Shapes = dict[str, tuple[str, tuple[int, ...]]]
"""By a layer's name, its class and its output's shape."""


@dataclass(frozen=True)
class Seen:
    """A layer and what its middle sees."""

    layer: str
    """Its name in the network."""
    kind: str
    """Its class."""
    shape: tuple[int, ...]
    """Of its output; frames that are looked at one by one are counted in the first number."""
    frames: int
    """That it sees."""
    rows: int
    """That it sees."""
    columns: int
    """That it sees."""


def receptive_fields(model: Classifier, task: Task) -> list[Seen]:
    """What the middle of every layer sees; no more than the clip has.

    Args:
        model: With weights; is left as it is but for its precision, which becomes float64: there, torch's convolutions
            touch no pixel beyond their kernels.
        task: Its sizes are the clip's.
    """
    model = model.double().eval()
    sizes = (task.context, task.height, task.width)
    shapes: Shapes = {}
    _reached(model, task, (0, 0, 0), (0, 0, 0), shapes)
    first, last = (
        [_fewest(set(shapes), sizes[axis], partial(_hidden, model, task, axis, end)) for axis in range(3)]
        for end in (False, True)
    )
    # seen are those from the `first`th to the `last`th from the end, both counted from 1
    return [
        Seen(name, kind, shape, *(sizes[a] - (first[a][name] - 1) - (last[a][name] - 1) for a in range(3)))
        for name, (kind, shape) in shapes.items()
    ]


def _hidden(model: Classifier, task: Task, axis: int, from_end: bool, count: int) -> set[str]:
    """Layers that are reached where the first or the last so many frames (axis 0), rows or columns are not numbers."""
    sizes = [task.context, task.height, task.width]
    start, end = [0, 0, 0], list(sizes)
    start[axis], end[axis] = (sizes[axis] - count, sizes[axis]) if from_end else (0, count)
    return _reached(model, task, tuple(start), tuple(end), {})


def _fewest(names: set[str], size: int, ask: Callable[[int], set[str]]) -> dict[str, int]:
    """For every layer, the smallest number from 1 to `size` for which it is among those that `ask` gives."""
    found: dict[str, int] = {}

    def between(low: int, high: int, layers: set[str]) -> None:
        """Those reached at `high`, but not below `low`."""
        if not layers:
            return
        if low == high:
            found.update(dict.fromkeys(layers, low))
            return
        middle = (low + high) // 2
        early = ask(middle) & layers
        between(low, middle, early)
        between(middle + 1, high, layers - early)

    between(1, size, names)
    return found


def _reached(
    model: Classifier,
    task: Task,
    start: tuple[int, ...],
    end: tuple[int, ...],
    shapes: Shapes,
) -> set[str]:
    """Layers whose middle is not a number where that part of the clip is not; writes down the layers' shapes."""
    clip = torch.full((1, task.context, task.channels, task.height, task.width), 0.5, dtype=torch.float64)
    clip[:, start[0] : end[0], :, start[1] : end[1], start[2] : end[2]] = torch.nan
    flow = None
    if model.needs_flow:  # of frame i+1 back to i: hidden with either of them
        flow = clip[:, 1:, :1] + clip[:, :-1, :1]
        flow = flow.expand(-1, -1, 2, -1, -1)
    reached = set()

    def note(name: str, module: nn.Module, output: object) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        assert isinstance(tensor, Tensor)
        shapes.setdefault(name, (type(module).__name__, tuple(tensor.shape)))
        middle = tensor[len(tensor) // 2]
        for size in middle.shape[1:]:
            middle = middle.select(1, size // 2)
        if bool(middle.isnan().any()):
            reached.add(name)

    hooks = [
        module.register_forward_hook(lambda module, _, output, name=name: note(name, module, output))
        for name, module in model.named_modules()
        if isinstance(module, LAYERS)
    ]
    try:
        with torch.no_grad():
            scores = model(clip, flow).logits
    finally:
        for hook in hooks:
            hook.remove()
    shapes.setdefault("logits", ("scores", tuple(scores.shape)))
    if bool(scores.isnan().any()):
        reached.add("logits")
    return reached
