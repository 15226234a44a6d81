"""What the trained models share on the path that learns: noise and scale at its start, a head of zeros at its end."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.checks import between


def add_noise(
    frames: Tensor, strength: float, *, training: bool, kind: Literal["gaussian", "drop_pixels"] = "gaussian"
) -> Tensor:
    """Frames with noise while training, from torch's global generator; the frames themselves otherwise.

    Args:
        frames: (..., C, H, W) in [0, 1].
        strength: `gaussian`: standard deviation, in units of full scale. `drop_pixels`: share of the pixels that turn
            black, all colours of a pixel together, each frame on its own.
        training: Whether to do anything.
        kind: What the noise is.
    """
    if not training or strength <= 0:
        return frames
    if kind == "gaussian":
        return frames + strength * torch.randn_like(frames)
    return frames * (torch.rand_like(frames[..., :1, :, :]) >= strength)


def check_noise(model: str, noise: float, noise_kind: str) -> None:
    """Does nothing where the noise can be drawn.

    Raises:
        UserError: a negative strength, or a share of dropped pixels above 1.
    """
    if noise_kind == "drop_pixels":
        between(model, "noise", noise, 0, 1)
    else:
        between(model, "noise", noise, 0)


class Noise(nn.Module):
    """The two ways of a context through a model: what the network sees, and the frames that its residual adds to.

    Args:
        strength: See `add_noise`.
        kind: See `add_noise`.
        on: `learned_path`: only the network's input is noisy. `all`: what the residual adds to as well, as in the
            tutorial, so that the network has to clean the last frame too.
    """

    def __init__(
        self, strength: float, kind: Literal["gaussian", "drop_pixels"], on: Literal["learned_path", "all"]
    ) -> None:
        super().__init__()
        self.strength = strength
        self.kind = kind
        self.on = on

    def forward(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """(seen, carried), each (B, T, C, H, W) as the context; both are the context itself outside training."""
        seen = add_noise(context, self.strength, training=self.training, kind=self.kind)
        return seen, seen if self.on == "all" else context


def check_length(model: str, context: Tensor, length: int) -> None:
    """Does nothing where (B, T, C, H, W) has the T that the model was built for.

    Raises:
        UserError: another T.
    """
    if context.shape[1] != length:
        raise UserError(
            f"{model} was built for {length} context frames and got {context.shape[1]}: "
            f"give {length}, or train one with task.context: {context.shape[1]}"
        )


def standardise(frames: Tensor) -> Tensor:
    """Frames in [0, 1] to about zero mean and unit variance: as they are, networks learn several times slower."""
    return 4 * (frames - 0.5)


def fold_pixels(frames: Tensor, fold: int, multiple: int = 1) -> Tensor:
    """Squares of `fold` x `fold` pixels become the channels of one; the last pixels are repeated where it must be.

    Args:
        frames: (B, T, C, H, W).
        fold: Side of the squares, in pixels.
        multiple: Height and width of what comes out are multiples of this.

    Returns:
        (B, T, C·fold², H', W').
    """
    height, width = frames.shape[-2:]
    below, right = -height % (fold * multiple), -width % (fold * multiple)
    flat = frames.flatten(0, 1)
    if below or right:
        flat = F.pad(flat, (0, right, 0, below), mode="replicate")
    return F.pixel_unshuffle(flat, fold).reshape(*frames.shape[:2], -1, *(side // fold for side in flat.shape[-2:]))


def unfold_pixels(maps: Tensor, fold: int, height: int, width: int) -> Tensor:
    """Back to (B, C, height, width), without what `fold_pixels` repeated."""
    return F.pixel_shuffle(maps, fold)[..., :height, :width]


def zero_head(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    """A convolution that gives zeros until it is trained, so that a residual starts as no residual."""
    head = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.zeros_(head.weight)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    return head


def start_frame(context: Tensor, *, between: bool) -> Tensor:
    """What a residual is added to, (B, 1, C, H, W) float32: the last frame, or the average of those around."""
    return context.float().mean(dim=1, keepdim=True) if between else context[:, -1:].float()


def add_residual(context: Tensor, residual: Tensor, steps: int, *, between: bool) -> Tensor:
    """The `start_frame` plus a residual for every step, in float32.

    Args:
        context: (B, T, C, H, W).
        residual: (B, steps·C, H, W).
        steps: Frames to predict.
        between: As `Predictor.between`.

    Returns:
        (B, steps, C, H, W) float32.
    """
    batch, _, channels, height, width = context.shape
    return start_frame(context, between=between) + residual.float().reshape(batch, steps, channels, height, width)
