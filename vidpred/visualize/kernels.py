"""What a classifier's first layers respond to, drawn in pixels and moments of the clip, whatever their weights' layout.

A first layer's response is a sum over the clip: its kernel is the gradient of the response. So it does not matter
whether a layer is a 3D convolution, a 2D one over stacked frames or one over folded pixels. Whether a layer is a first
one is asked as well: only then does its response change as much from half way as it did to half way.

In: a classifier and its task. Out: a `Kernels` for each first layer: one a stream, one a pathway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from vidpred.types import Classifier, Task
from vidpred.visualize.streams import differentiable

MOST = 64
"""Kernels of a layer that are looked at."""
_SAME = 1e-3
"""Part of a response's change within which two halves of it are alike."""


@dataclass(frozen=True)
class Kernels:
    """Of one first layer."""

    layer: str
    """Its name in the network."""
    of: Literal["clip", "flow"]
    """What they look at."""
    weights: np.ndarray
    """float32 (N, T, C, H, W) per unit of the input (full scale of a colour; a pixel of flow, as `Batch.flow`), the
    largest first; as many moments, rows and columns as they reach."""
    total: int
    """Kernels that the layer has."""


def first_kernels(model: Classifier, task: Task, *, most: int = MOST) -> list[Kernels]:
    """The kernels of every first convolution.

    Args:
        model: Is left as it is.
        task: Its sizes are the clip's.
        most: Kernels of each, the largest first.
    """
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    draw = torch.Generator().manual_seed(0)
    shapes = [(1, task.context, task.channels, task.height, task.width)]
    if model.needs_flow:
        shapes.append((1, task.context - 1, 2, task.height, task.width))
    ends = [[torch.rand(shape, generator=draw).to(device) for shape in shapes] for _ in range(2)]
    with differentiable(model):
        inputs = [end.requires_grad_(True) for end in ends[0]]
        begin = _responses(model, inputs)
        with torch.no_grad():
            middle = _responses(model, [(one + other) / 2 for one, other in zip(*ends, strict=True)])
            end = _responses(model, ends[1])
        names = [name for name in begin if _even(begin[name].detach(), middle[name], end[name])]
        found = [_kernels(name, begin[name], inputs, most) for name in names]
    return [kernels for layer in found for kernels in layer]


def _responses(model: Classifier, inputs: list[Tensor]) -> dict[str, Tensor]:
    """What every convolution gives in its middle, (kernels,), in the order in which they are computed."""
    found: dict[str, Tensor] = {}

    def note(name: str, output: Tensor) -> None:
        middle = output[len(output) // 2]
        for size in middle.shape[1:]:
            middle = middle.select(1, size // 2)
        found.setdefault(name, middle)

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: note(name, output))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Conv3d)
    ]
    try:
        model(inputs[0], inputs[1] if len(inputs) > 1 else None)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _even(begin: Tensor, middle: Tensor, end: Tensor) -> bool:
    """Whether responses change evenly between two inputs."""
    change = (end - begin).abs().max()
    return bool(change > 0) and bool(((begin + end) / 2 - middle).abs().max() <= _SAME * change)


def _kernels(name: str, responses: Tensor, inputs: list[Tensor], most: int) -> list[Kernels]:
    """Of one layer: of the clip, of flow, or of both."""
    found: list[Kernels] = []
    mixed = torch.randn(len(responses), generator=torch.Generator().manual_seed(1)).to(responses.device)
    for number, part in enumerate(inputs):
        whole = _slope((responses * mixed).sum(), part).abs().amax(dim=(0, 2))
        if not bool(whole.any()):
            continue
        time, rows, columns = (_reach(whole, axis) for axis in range(3))
        # cut at once: of long and large clips all slopes together are gigabytes
        cut = np.stack([_slope(one, part)[0, time, :, rows, columns].cpu().numpy() for one in responses])
        order = np.argsort(-np.square(cut).sum(axis=(1, 2, 3, 4)), kind="stable")[:most]
        found.append(Kernels(name, "flow" if number else "clip", cut[order], len(responses)))
    return found


def _slope(response: Tensor, part: Tensor) -> Tensor:
    (slope,) = torch.autograd.grad(response, part, retain_graph=True, allow_unused=True, materialize_grads=True)
    return slope


def _reach(whole: Tensor, axis: int) -> slice:
    """From the first to the last place of an axis that is not zero."""
    felt = whole.amax(dim=[other for other in range(3) if other != axis]).nonzero()[:, 0]
    return slice(int(felt[0]), int(felt[-1]) + 1)
