"""CNN-M-2048 (Chatfield et al. 2014, arXiv 1405.3531), the streams of the published two-stream network; 224x224."""

from __future__ import annotations

from torch import Tensor, nn

from vidpred.models.blocks.scoring import resized

SIDE = 6
"""Rows and columns of the last maps."""


class CnnM(nn.Module):
    """(N, channels, H, W) to logits (N, classes).

    Args:
        channels: Of an image, or of stacked flow.
        classes: That are scored.
        dropout: Before each of the last layers.
        norms: After so many of the first convolutions responses are normalised; the motion stream has one only.
    """

    def __init__(self, channels: int, classes: int, *, dropout: float, norms: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, (outputs, side, stride, padding, pools) in enumerate(
            (
                (96, 7, 2, 0, True),
                (256, 5, 2, 1, True),
                (512, 3, 1, 1, False),
                (512, 3, 1, 1, False),
                (512, 3, 1, 1, True),
            )
        ):
            layers += [nn.Conv2d(channels, outputs, side, stride, padding), nn.ReLU()]
            if number < norms:
                layers.append(nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0))
            if pools:
                layers.append(nn.MaxPool2d(3 if number < 2 else 2, 2, ceil_mode=number == 1))
            channels = outputs
        self.look = nn.Sequential(*layers)
        self.score = nn.Sequential(
            nn.Linear(channels * SIDE**2, 4096), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(4096, 2048), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(2048, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.score(resized(self.look(x), (SIDE, SIDE)).flatten(1))
        return logits
