"""What networks of images have in common, so that they can be inflated, cut into stages and given other heads."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class ImageNetwork(nn.Module):
    """(N, channels, H, W) to logits (N, classes); and, once it is inflated, (N, channels, T, H, W) too."""

    widths: Mapping[str, int]
    """Names of the stages in their order, and the channels that come out of each."""
    features_out: int
    """Numbers that the scores are made of."""
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    """To be taken off colours in [0, 1]."""
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    """To divide by, after that."""
    pool_time: Mapping[str, int] = {}
    """So many moments become one after a stage, once it is inflated."""

    def stage(self, name: str, maps: Tensor) -> Tensor:
        """The maps that a stage makes of those before, the first one of frames."""
        raise TypeError(f"{type(self).__name__} defines no stage")

    def score(self, maps: Tensor) -> Tensor:
        """Logits (N, classes), or features (N, `features_out`) where there are no classes, of the last maps."""
        raise TypeError(f"{type(self).__name__} defines no score")

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        for name in self.widths:
            x = self.stage(name, x)
        return self.score(x)
