"""Networks of images by name, as they are or inflated, with published weights and non-local blocks where asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.images import ImageNetwork
from vidpred.models.blocks.inception import InceptionV1, as_published
from vidpred.models.blocks.inflate import InflatedConv, PadTime, Plan, inflate
from vidpred.models.blocks.nonlocal_after import NonLocalAfter
from vidpred.models.blocks.pretrained import load_pretrained
from vidpred.models.blocks.resnet import ResNet, every_block
from vidpred.models.blocks.scoring import he
from vidpred.models.blocks.small_images import SmallNetwork, everywhere
from vidpred.models.blocks.vgg import Vgg16, all_convolutions

Name = Literal["small", "resnet50", "inception_v1", "vgg16"]


@dataclass(frozen=True)
class Kind:
    """One of the networks."""

    make: Callable[[int, int, int], ImageNetwork]
    """Of channels, classes and width; published networks have one width."""
    plan: Plan
    """How it is inflated."""
    weights: str
    """Whose weights it can start with; empty: nobody's."""
    first: str = "conv1.weight"
    """Its first convolution's weights."""


KINDS: dict[str, Kind] = {
    "small": Kind(SmallNetwork, everywhere, ""),
    # Wang et al. 2018 (arXiv 1711.07971): every second block, 3x1x1
    "resnet50": Kind(
        lambda channels, classes, _: ResNet(channels, classes, dropout=0.5),
        every_block(5, [(3,), (3, 1), (3, 1), (1, 3)]),
        "ResNet-50's weights under timm's names",
    ),
    "inception_v1": Kind(
        lambda channels, classes, _: InceptionV1(channels, classes),
        as_published,
        "Inception-v1's weights under the names of torchvision's googlenet",
        "conv1.conv.weight",
    ),
    "vgg16": Kind(
        lambda channels, classes, _: Vgg16(channels, classes),
        all_convolutions(3),
        "VGG-16's weights under timm's names",
        "features.0.weight",
    ),
}


class Backbone(nn.Module):
    """Frames (N, C, H, W) or, `over_time`, clips (N, C, T, H, W), any size; to maps, features or scores.

    Args:
        model: For what is said.
        name: One of `KINDS`.
        channels: Of a frame; 3 colours in [0, 1], or 2 of optical flow in pixels.
        classes: That are scored; 0: `forward` gives features.
        width: Of `small`.
        over_time: Inflated. Without `pretrained`, kernels are drawn anew: copies would begin blind to time's direction.
        pretrained: A file of weights; see `pretrained`.
        pad_time: See `inflate`.
        nonlocal_after: Stages, for clips.

    Raises:
        UserError: unknown stages, or a file that does not fit.
    """

    def __init__(
        self,
        model: str,
        name: str,
        channels: int,
        classes: int,
        *,
        over_time: bool,
        width: int = 16,
        pretrained: str = "",
        pad_time: PadTime = "zeros",
        nonlocal_after: Sequence[str] = (),
    ) -> None:
        super().__init__()
        kind = KINDS[name]
        self.net = kind.make(channels, classes, width)
        self.of_flow = channels == 2
        self.over_time = over_time
        if pretrained:
            if not kind.weights:
                raise UserError(f"{model}: there are no published weights of backbone {name}: leave pretrained out")
            load_pretrained(self.net, pretrained, what=kind.weights, first=kind.first)
        if over_time:
            inflate(self.net, kind.plan, pad_time)
            if not pretrained:
                for module in self.net.modules():
                    if isinstance(module, InflatedConv):
                        he(module)
        elif nonlocal_after:
            raise UserError(f"{model}: nonlocal_after is for networks over time: leave it out")
        self.attend = NonLocalAfter(model, nonlocal_after, self.net.widths)

    def maps(self, x: Tensor) -> Tensor:
        """The last stage's maps."""
        x = self.standardised(x)
        if self.over_time:
            x = x.contiguous(memory_format=torch.channels_last_3d)
        for stage in self.net.widths:
            x = self.attend.after(stage, self.net.stage(stage, x))
            if self.over_time and (moments := self.net.pool_time.get(stage)):
                x = F.max_pool3d(x, (moments, 1, 1), ceil_mode=True)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes), or features (N, …)."""
        return self.net.score(self.maps(x))

    def standardised(self, x: Tensor) -> Tensor:
        if self.of_flow:  # as Carreira and Zisserman 2017, but not to within [-1, 1] where motion is small
            return x / 4 if isinstance(self.net, SmallNetwork) else (x / 20).clamp(-1, 1)
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        mean, std = (x.new_tensor(values).reshape(shape) for values in (self.net.mean, self.net.std))
        return (x - mean) / std
