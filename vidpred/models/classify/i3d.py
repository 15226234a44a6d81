"""I3D (Carreira and Zisserman 2017, arXiv 1705.07750): a network of images, inflated to one of clips.

With `pretrained`, its kernels are copied along time and divided by the number of copies: of a repeated frame it then
says what the network of images says of that frame (with `pad_time: replicate`, exactly). ResNet-50 is inflated as in
Wang et al. 2018 (arXiv 1711.07971), Inception-v1 as in the paper, VGG-16 in all its 3x3 convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vidpred.models.blocks.inflated import InflatedConfig
from vidpred.types import Classifier, Scores, Task


@dataclass(frozen=True)
class Config(InflatedConfig):
    """What a sweep may vary. The published network is ResNet-50's."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range.
        """
        self.check("i3d")


SEARCH = {
    "config": {"width": [8, 16, 32], "pad_time": ["zeros", "replicate"]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""
MADE_FOR = {"paper": (32, 224, 400)}
"""Of the variants: frames, rows and columns, classes."""


class I3d(Classifier):
    """Clips of any length, frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.net = config.stream("i3d", "resnet50", task.channels, len(task.classes))

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`."""
        return Scores(self.net(clip.transpose(1, 2)).float())


def build(config: Config, task: Task) -> I3d:
    """An `I3d` for a task.

    Raises:
        UserError: unknown stages, or a file of weights that does not fit.
    """
    return I3d(config, task)
