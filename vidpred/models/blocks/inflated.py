"""What `i3d` and `two_stream_i3d` are made of: a network of images by name, inflated, and the fields that say which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vidpred.models.blocks.backbones import Backbone
from vidpred.models.blocks.scoring import only_default
from vidpred.models.checks import between


@dataclass(frozen=True)
class InflatedConfig:
    """The fields that the configs of both models share."""

    variant: Literal["default", "paper"] = "default"
    """`paper`: the published network, or the backbone that is named, at its published size."""
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

    def check(self, model: str) -> None:
        """Does nothing where a network can be built.

        Raises:
            UserError: a field is out of range.
        """
        between(model, "width", self.width, 1)
        only_default(model, self, free=("backbone", "pretrained", "pad_time", "nonlocal_after"))

    def stream(self, model: str, published: str, channels: int, classes: int) -> Backbone:
        """The network over clips (N, channels, T, H, W).

        Args:
            model: For what is said.
            published: Backbone of the variant `paper`, where none is named.
            channels: Of a frame, or 2 of optical flow.
            classes: That are scored.

        Raises:
            UserError: unknown stages, or a file of weights that does not fit.
        """
        return Backbone(
            model,
            published if self.variant == "paper" and self.backbone == "small" else self.backbone,
            channels,
            classes,
            over_time=True,
            width=self.width,
            pretrained=self.pretrained,
            pad_time=self.pad_time,
            nonlocal_after=self.nonlocal_after,
        )
