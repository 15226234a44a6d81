"""A small network of images, to learn small frames on a CPU, and small clips once it is inflated."""

from __future__ import annotations

from torch import Tensor, nn

from vidpred.models.blocks.images import ImageNetwork
from vidpred.models.blocks.scoring import pooled


class SmallNetwork(ImageNetwork):
    """(N, channels, …, H, W) to logits (N, classes): four convolutions with batch norm, three poolings.

    Args:
        channels: That go in.
        classes: That come out; 0: features.
        width: Channels of the first stage; the next ones have twice, three and four times as many.
    """

    def __init__(self, channels: int, classes: int, width: int = 16) -> None:
        super().__init__()
        self.widths = {f"stage{number}": number * width for number in (1, 2, 3, 4)}
        for number, (stage, outputs) in enumerate(self.widths.items()):
            side = 3 if number else 5
            conv = nn.Conv2d(channels, outputs, side, 1 if number else 2, side // 2, bias=False)
            pool = [nn.MaxPool2d(2, 2, 0, ceil_mode=True)] if number < 3 else []
            setattr(self, stage, nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(), *pool))
            channels = outputs
        self.features_out = channels
        self.fc: nn.Module = nn.Linear(channels, classes) if classes else nn.Identity()

    def stage(self, name: str, maps: Tensor) -> Tensor:
        """See `ImageNetwork.stage`."""
        made: Tensor = getattr(self, name)(maps)
        return made

    def score(self, maps: Tensor) -> Tensor:
        """See `ImageNetwork.score`."""
        logits: Tensor = self.fc(pooled(maps))
        return logits


def everywhere(name: str) -> tuple[int, int]:
    """Kernels of three moments in every convolution; all moments stay."""
    return (3, 1) if name.endswith(".0") else (1, 1)
