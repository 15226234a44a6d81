"""What gradient ascent draws on: clips or flow as waves, somewhat larger than the frame, seen from here and there.

In: what is there at first. Out: fields (N, T, C, H, W) that depend on `Canvas.waves`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_COLOURS = ((1.0, 0.35, 0.12), (1.0, 0.0, -0.24), (1.0, -0.35, 0.12))
"""Red, green and blue of brightness, of red against blue, and of green against both: videos vary most in the first."""
_REACH = 2.0
"""Flow lies within so many times full scale in each direction."""
_GAIN = 4.0
"""By which waves are scaled before they are squeezed into what is allowed."""


class View(NamedTuple):
    """From where copies are seen."""

    larger: Tensor
    """(views,): how much larger things look."""
    shift: Tensor
    """(views, 2): right and down, as shares of a frame's sides."""


def draw_view(views: int, *, shift: float, scale: float, draw: torch.Generator) -> View:
    """Shifts within `shift` of a frame's side, sizes within a factor of e to the `scale`."""
    larger = torch.exp(scale * (2 * torch.rand(views, generator=draw) - 1))
    return View(larger, shift * (2 * torch.rand(views, 2, generator=draw) - 1))


class Canvas:
    """Fields as waves in space, every moment by itself: of waves alike in size the long ones show most.

    What lies beyond the frame's borders is drawn as well, for copies that are shifted: mirrored at a border, what moves
    left would move right.

    Args:
        base: (1, T, C, H, W): what is there at first; it is continued beyond its borders. Colours in [0, 1], or flow in
            units of full scale.
        count: N, fields that begin alike.
        margin: Pixels beyond each border.
        of_flow: Whether they are flow.
        noise: Deviation of what is drawn at first.
        draw: The noise comes from it.
    """

    def __init__(
        self, base: Tensor, count: int, *, margin: int, of_flow: bool, noise: float, draw: torch.Generator
    ) -> None:
        self._frame, self._margin, self._of_flow = (base.shape[-2], base.shape[-1]), margin, of_flow
        wide = F.pad(base.flatten(1, 2), (margin,) * 4, mode="replicate").unflatten(1, base.shape[1:3])
        self.base = wide
        height, width = self._size = (wide.shape[-2], wide.shape[-1])
        away = torch.sqrt(torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.rfftfreq(width)[None] ** 2)
        falling = 1 / away.clamp(min=1 / max(height, width))
        self._falling = (falling / falling.square().mean().sqrt()).to(base.device)
        pixels = noise * torch.randn(wide.shape, generator=draw).to(base.device)
        waves = torch.fft.rfft2(pixels, norm="ortho") / self._falling
        self.waves = torch.view_as_real(waves.repeat(count, 1, 1, 1, 1)).contiguous().requires_grad_(True)
        """What is moved."""
        self._at = torch.logit(wide / (2 * _REACH) + 0.5 if of_flow else wide, eps=0.02)

    def drawn(self) -> Tensor:
        """The fields, with what lies beyond the borders."""
        pixels = torch.fft.irfft2(torch.view_as_complex(self.waves) * self._falling, s=self._size, norm="ortho")
        if not self._of_flow and pixels.shape[2] == len(_COLOURS):
            pixels = torch.einsum("dc,ntchw->ntdhw", pixels.new_tensor(_COLOURS), pixels)
        within = torch.sigmoid(self._at + _GAIN * pixels)
        return (within - 0.5) * 2 * _REACH if self._of_flow else within

    def cut(self, fields: Tensor) -> Tensor:
        """Without what lies beyond the borders."""
        rows, columns = (slice(self._margin, self._margin + side) for side in self._frame)
        return fields[..., rows, columns]

    def seen(self, fields: Tensor, view: View) -> Tensor:
        """(views·N, T, C, H, W): a frame's worth of the fields from each place of a view, all moments from the same."""
        part = torch.tensor([self._frame[1] / self._size[1], self._frame[0] / self._size[0]])
        placed = torch.zeros(len(view.larger), 2, 3)
        placed[:, 0, 0], placed[:, 1, 1] = part[0] / view.larger, part[1] / view.larger
        placed[:, :, 2] = 2 * view.shift * part
        placed = placed.repeat_interleave(len(fields), dim=0).to(fields.device)
        many = fields.repeat(len(view.larger), 1, 1, 1, 1).flatten(1, 2)
        grid = F.affine_grid(placed, [*many.shape[:2], *self._frame], align_corners=False)
        frames: Tensor = F.grid_sample(many, grid, padding_mode="border", align_corners=False)
        return frames.reshape(len(many), *fields.shape[1:3], *self._frame)
