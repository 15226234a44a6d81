"""Two-stream I3D (Carreira and Zisserman 2017, arXiv 1705.07750): one I3D sees frames, one optical flow.

Their scores are averaged; while training, each stream's own are trained as well. With `pretrained`, both start from it,
the flow's first kernels from the mean over colours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vidpred.models.blocks.backbones import Backbone
from vidpred.models.blocks.scoring import agreed, only_default
from vidpred.models.checks import between, sees_motion
from vidpred.types import Classifier, Scores, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "paper"] = "default"
    """`paper`: the published network: Inception-v1, or the backbone that is named."""
    backbone: Literal["small", "resnet50", "inception_v1", "vgg16"] = "small"
    """The network of images, of both streams."""
    width: int = 16
    """Channels of the first of four stages of `small`; the next ones have twice, three and four times as many."""
    pretrained: str = ""
    """Where training begins: a .safetensors file of a published backbone's weights; empty: at random."""
    pad_time: Literal["zeros", "replicate"] = "zeros"
    """What lies before a clip's first frame and behind its last."""
    nonlocal_after: tuple[str, ...] = ()
    """Stages that a non-local block follows, in both streams; see `i3d`."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range.
        """
        between("two_stream_i3d", "width", self.width, 1)
        only_default("two_stream_i3d", self, free=("backbone", "pretrained", "pad_time", "nonlocal_after"))


SEARCH = {
    "config": {"width": [8, 16, 32], "pad_time": ["zeros", "replicate"]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""
MADE_FOR = {"paper": (64, 224, 400)}
"""Of the variants: frames, rows and columns, classes."""


class TwoStreamI3d(Classifier):
    """Clips of any length from two frames on, frames of any size."""

    needs_flow = True

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()

        def stream(channels: int) -> Backbone:
            return Backbone(
                "two_stream_i3d",
                "inception_v1" if config.variant == "paper" and config.backbone == "small" else config.backbone,
                channels,
                len(task.classes),
                over_time=True,
                width=config.width,
                pretrained=config.pretrained,
                pad_time=config.pad_time,
                nonlocal_after=config.nonlocal_after,
            )

        self.appearance = stream(task.channels)
        self.motion = stream(2)

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`.

        Raises:
            ValueError: there is no flow.
        """
        if flow is None:
            raise ValueError("two_stream_i3d needs optical flow: pass flow=")
        logits = self.appearance(clip.transpose(1, 2)), self.motion(flow.transpose(1, 2))
        return agreed(torch.stack(logits, dim=1), training=self.training)


def build(config: Config, task: Task) -> TwoStreamI3d:
    """A `TwoStreamI3d` for a task.

    Raises:
        UserError: a single frame, unknown stages, or a file of weights that does not fit.
    """
    sees_motion("two_stream_i3d", task.context)
    return TwoStreamI3d(config, task)
