"""A small 2D network from maps to scores: of a frame, of frames stacked on the channel axis, of stacked flow."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vidpred.models.blocks.learned_path import fold_pixels
from vidpred.models.blocks.scales import Down, widths
from vidpred.models.blocks.scoring import he, mlp, pooled
from vidpred.models.checks import between


@dataclass(frozen=True)
class FlatSizes:
    """Of the network; the fields that the configs of its models share."""

    width: int = 16
    """Channels at the finest scale; the next ones have twice, three times … as many."""
    scales: int = 3
    """Resolutions: that of folded pixels, half of it …"""
    depth: int = 1
    """Convolutions at each scale."""
    hidden: int = 64
    """Features between the maps' averages and the scores."""
    dropout: float = 0.0
    """Share of those features that is left out while training."""
    fold: int = 2
    """So many pixels a side become the channels of one; 1 keeps the full resolution."""

    def check(self, model: str) -> None:
        """Does nothing where the network can be built.

        Raises:
            UserError: a field is out of range.
        """
        for field in ("width", "depth", "hidden", "fold"):
            between(model, field, getattr(self, field), 1)
        between(model, "scales", self.scales, 1, 6)
        between(model, "dropout", self.dropout, 0, 0.95)


class FlatNetwork(nn.Module):
    """Maps (N, channels, H, W) of any size to logits (N, classes).

    Args:
        sizes: Of its layers.
        channels: Of the maps, with about unit variance.
        classes: That are scored.
    """

    def __init__(self, sizes: FlatSizes, channels: int, classes: int) -> None:
        super().__init__()
        self.fold, self.multiple = sizes.fold, 2 ** (sizes.scales - 1)
        each = widths(sizes.width, sizes.scales)
        # by the maximum: a small thing that moves would be lost in the mean of much that stands still
        self.look = Down(channels * sizes.fold**2, each, sizes.depth, norm=True, pool="max")
        he(self.look)
        self.score = mlp(each[-1], sizes.hidden, classes, sizes.dropout)

    def forward(self, maps: Tensor) -> Tensor:
        """See the class."""
        folded = fold_pixels(maps.unsqueeze(1), self.fold, self.multiple).squeeze(1)
        logits: Tensor = self.score(pooled(self.look(folded)[-1]))
        return logits
