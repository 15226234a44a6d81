"""Inflation (Carreira and Zisserman 2017, arXiv 1705.07750): a network of images becomes one of clips.

Kernels are copied along time and divided by the number of copies, so that a clip of one frame, repeated, gives what the
network gave of that frame. At a clip's ends that is so where time is padded by repeating (`replicate`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PadTime = Literal["zeros", "replicate"]
Plan = Callable[[str], tuple[int, int]]
"""From a layer's name to its kernel's length in time and its step in time."""


class InflatedConv(nn.Conv3d):
    """A convolution over (B, C, T, H, W), with half of its kernel's length padded before and after.

    Args:
        flat: The convolution of images that it is made of: its sizes and, repeated and divided, its weights.
        length: Of the kernel in time, odd.
        step: In time.
        pad_time: What lies beyond the ends.
    """

    def __init__(self, flat: nn.Conv2d, length: int, step: int, pad_time: PadTime) -> None:
        rows, columns = (int(side) for side in flat.padding)
        beyond = length // 2 if pad_time == "replicate" else 0
        super().__init__(
            flat.in_channels,
            flat.out_channels,
            (length, *flat.kernel_size),  # type: ignore[arg-type]
            (step, *flat.stride),  # type: ignore[arg-type]
            (0 if beyond else length // 2, rows, columns),
            groups=flat.groups,
            bias=flat.bias is not None,
            device=flat.weight.device,
        )
        self.beyond = beyond
        with torch.no_grad():
            self.weight.copy_(flat.weight[:, :, None] / length)
            if self.bias is not None and flat.bias is not None:
                self.bias.copy_(flat.bias)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if self.beyond:
            x = F.pad(x, (0, 0, 0, 0, self.beyond, self.beyond), mode="replicate")
        return super().forward(x)


def inflate(network: nn.Module, plan: Plan, pad_time: PadTime, within: str = "") -> None:
    """Turns convolutions, batch norms and poolings of images into those of clips, where they are; names stay.

    Args:
        network: Its `forward` must work for (N, C, H, W) and (N, C, T, H, W) alike.
        plan: See `Plan`. Poolings ask it too.
        pad_time: See `InflatedConv`.
        within: The network's own name, for the plan.
    """
    for name, child in network.named_children():
        whole = f"{within}.{name}" if within else name
        made = _inflated(child, *plan(whole), pad_time)
        if made is None:
            inflate(child, plan, pad_time, whole)
        else:
            setattr(network, name, made.train(child.training))


def _inflated(flat: nn.Module, length: int, step: int, pad_time: PadTime) -> nn.Module | None:
    if isinstance(flat, nn.Conv2d):
        return InflatedConv(flat, length, step, pad_time)
    if isinstance(flat, nn.BatchNorm2d):
        norm = nn.BatchNorm3d(flat.num_features, flat.eps, flat.momentum, device=flat.weight.device)
        norm.load_state_dict(flat.state_dict())
        return norm
    if isinstance(flat, nn.MaxPool2d):
        side, stride, padding = (int(number) for number in (flat.kernel_size, flat.stride, flat.padding))  # type: ignore[arg-type]
        before = length // 2 if length % 2 else 0
        sizes = ((length, side, side), (step, stride, stride), (before, padding, padding))
        return nn.MaxPool3d(*sizes, ceil_mode=flat.ceil_mode)
    return None
