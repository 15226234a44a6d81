"""Two-stream I3D (Carreira and Zisserman 2017, arXiv 1705.07750): one I3D sees frames, one optical flow.

Their scores are averaged; while training, each stream's own are trained as well. With `pretrained`, both start from it,
the flow's first kernels from the mean over colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vidpred.models.blocks.inflated import InflatedConfig
from vidpred.models.blocks.scoring import agreed
from vidpred.models.checks import sees_motion
from vidpred.types import Classifier, Scores, Task


@dataclass(frozen=True)
class Config(InflatedConfig):
    """What a sweep may vary, in both streams alike. The published networks are Inception-v1's."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range.
        """
        self.check("two_stream_i3d")


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
        self.appearance, self.motion = (
            config.stream("two_stream_i3d", "inception_v1", channels, len(task.classes))
            for channels in (task.channels, 2)
        )

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
