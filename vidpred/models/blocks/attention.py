"""The non-local block (Wang et al. 2018, arXiv 1711.07971): every place at every moment looks at all others."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.models.blocks.learned_path import zero_head


class NonLocal(nn.Module):
    """(B, T, channels, H, W) in and out, any T, H and W; x + out(softmax(query·key)·value) over all T·H·W places.

    The projections are 1x1x1 convolutions, done frame by frame. The output's starts at zero: a block that is inserted
    into a network leaves it, at first, as it was. Products are divided by the square root of `inner`, which the paper
    leaves to the weights. No T·H·W x T·H·W matrix is kept, but its operations grow with the square of the frame's
    area: use it where maps are small.

    Args:
        channels: Of the maps.
        inner: Channels of query, key and value; the paper takes half of `channels`.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1, bias=False)  # a bias would add the same to all: softmax is blind to it
        self.value = nn.Conv2d(channels, inner, 1)
        self.out = zero_head(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        batch, length, _, height, width = x.shape
        frames = x.flatten(0, 1)
        # (B·T, inner, H, W) to one head of (B, 1, T·H·W, inner)
        query, key, value = (
            project(frames).movedim(1, -1).reshape(batch, 1, length * height * width, -1)
            for project in (self.query, self.key, self.value)
        )
        seen = F.scaled_dot_product_attention(query, key, value)
        by_frame = seen.reshape(batch * length, height, width, -1).movedim(-1, 1)
        added: Tensor = x + self.out(by_frame).unflatten(0, (batch, length))
        return added
