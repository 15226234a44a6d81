"""The network of Karpathy et al. 2014 on one frame or several, for the variants `paper` of its ways to fuse time.

https://research.google/pubs/large-scale-video-classification-with-convolutional-neural-networks/: in its shorthand
C(96, 11, 3)-N-P-C(256, 5, 1)-N-P-C(384, 3, 1)-C(384, 3, 1)-C(256, 3, 1)-P-FC(4096)-FC(4096), for frames of 170x170.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vidpred.models.blocks.scoring import resized

SIDE = 6
"""Rows and columns of the last maps, of frames of 170x170."""
FEATURES = 256 * SIDE**2
"""Numbers in the last maps of one moment."""


class Convolutions(nn.Module):
    """(N, channels, T, H, W) to maps (N, 256, T', 6, 6).

    Args:
        channels: Of what goes in.
        moments: Frames that the kernels of the first three convolutions span.
        strides: Their steps in time; beyond the ends there is nothing.
    """

    def __init__(self, channels: int, moments: Sequence[int] = (1, 1, 1), strides: Sequence[int] = (1, 1, 1)) -> None:
        def conv(inputs: int, outputs: int, side: int, stride: int = 1, layer: int = 3) -> list[nn.Module]:
            kernel = (moments[layer] if layer < 3 else 1, side, side)
            step = (strides[layer] if layer < 3 else 1, stride, stride)
            padding = (0, side // 2, side // 2) if stride == 1 else 0
            return [nn.Conv3d(inputs, outputs, kernel, step, padding), nn.ReLU()]

        def norm() -> nn.Module:
            return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.5, k=2.0)  # the paper's alpha is not divided by 5

        def pool() -> nn.Module:
            return nn.MaxPool3d((1, 2, 2))

        super().__init__()
        self.layers = nn.Sequential(
            *conv(channels, 96, 11, 3, 0), norm(), pool(),
            *conv(96, 256, 5, 1, 1), norm(), pool(),
            *conv(256, 384, 3, 1, 2), *conv(384, 384, 3), *conv(384, 256, 3), pool(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        maps: Tensor = self.layers(x)
        return resized(maps, (maps.shape[2], SIDE, SIDE))


def fully_connected(inputs: int, classes: int) -> nn.Sequential:
    """FC(4096)-FC(4096) and the scores, with the usual dropout of half."""
    layers: list[nn.Module] = []
    for before in (inputs, 4096):
        layers += [nn.Linear(before, 4096), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(4096, classes))
