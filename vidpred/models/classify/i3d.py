"""I3D (Carreira and Zisserman 2017, arXiv 1705.07750): a network of images, inflated to one of clips.

With `pretrained`, its kernels are copied along time and divided by the number of copies: of a repeated frame it then
says what the network of images says of that frame (with `pad_time: replicate`, exactly). ResNet-50 is inflated as in
Wang et al. 2018 (arXiv 1711.07971), Inception-v1 as in the paper, VGG-16 in all its 3x3 convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from vidpred.models.blocks.backbones import Backbone
from vidpred.models.blocks.scoring import only_default
from vidpred.models.checks import between
from vidpred.types import Classifier, Scores, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "paper"] = "default"
    """`paper`: the published networks: ResNet-50, or the backbone that is named."""
    backbone: Literal["small", "resnet50", "inception_v1", "vgg16"] = "small"
    """The network of images."""
    width: int = 16
    """Channels of the first of four stages of `small`; the next ones have twice, three and four times as many."""
    pretrained: str = ""
    """Where training begins: a .safetensors file of a published backbone's weights; empty: at random."""
    pad_time: Literal["zeros", "replicate"] = "zeros"
    """What lies before a clip's first frame and behind its last."""
    nonlocal_after: tuple[str, ...] = ()
    """Stages that a non-local block follows; `small`: stage1 to stage4, `resnet50`: layer1 to layer4, `inception_v1`:
    conv1, conv3, inception3b, inception4e, inception5b, `vgg16`: stage1 to stage5."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range.
        """
        between("i3d", "width", self.width, 1)
        only_default("i3d", self, free=("backbone", "pretrained", "pad_time", "nonlocal_after"))


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
        self.net = Backbone(
            "i3d",
            "resnet50" if config.variant == "paper" and config.backbone == "small" else config.backbone,
            task.channels,
            len(task.classes),
            over_time=True,
            width=config.width,
            pretrained=config.pretrained,
            pad_time=config.pad_time,
            nonlocal_after=config.nonlocal_after,
        )

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`."""
        return Scores(self.net(clip.transpose(1, 2)).float())


def build(config: Config, task: Task) -> I3d:
    """An `I3d` for a task.

    Raises:
        UserError: unknown stages, or a file of weights that does not fit.
    """
    return I3d(config, task)
