"""CaffeNet, the AlexNet (Krizhevsky et al. 2012) that published video networks begin with; images of 227x227."""

from __future__ import annotations

from torch import Tensor, nn

from vidpred.models.blocks.scoring import resized

SIDE = 6
"""Rows and columns of the last maps."""


class CaffeNet(nn.Module):
    """(N, channels, H, W) to logits (N, classes).

    Args:
        channels: Of an image.
        classes: That are scored; 0: `forward` gives the first 4,096 features.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(channels, 96, 11, 4), nn.ReLU(), nn.MaxPool2d(3, 2), _norm(),
            nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2), _norm(),
            nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        layers: list[nn.Module] = [nn.Linear(256 * SIDE**2, 4096), nn.ReLU(), nn.Dropout(0.5)]
        if classes:
            layers += [nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4096, classes)]
        self.connect = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        made: Tensor = self.connect(resized(self.look(x), (SIDE, SIDE)).flatten(1))
        return made


def _norm() -> nn.Module:
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
