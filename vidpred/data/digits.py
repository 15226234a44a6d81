"""The bundled data: moving digits, written as real GIF files (and some MP4), so that they go the way of any other file.

In: a recipe (datasets/moving_digits.yaml). Out: files, and for each its group. Two handwritten digits of scikit-learn's
set, each in a bright colour of its own, move over black and bounce at the borders. The digits are dealt into pools, one
a group: a split by groups therefore tests on digits that training never saw. The recipe's seed decides every frame.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from vidpred.config import Count, Section, Seed, Share
from vidpred.data.encode import write_gif, write_mp4

LICENCE = "scikit-learn digits: UCI Optical Recognition of Handwritten Digits (CC BY 4.0)"

_LEVELS = 127
"""Grey levels of a digit: two digits and black make 255 colours, as many as a GIF can hold without loss."""


class Recipe(Section):
    """The numbers of a recipe file."""

    recipe: str
    """`moving_digits`."""
    size: Annotated[int, Field(ge=16, le=1024)] = 64
    """Rows and columns of a frame."""
    digit: Annotated[int, Field(ge=8, le=512)] = 24
    """Rows and columns of a digit."""
    speed: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] = (2.0, 5.0)
    """Pixels that a digit moves in a frame, at the least and at the most, in any direction."""
    brightness: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of the brightest pixel of a digit."""
    frames: Count = 20
    """Frames of a clip."""
    fps: Annotated[float, Field(gt=0, le=100)] = 10
    """Frames per second."""
    groups: Annotated[int, Field(ge=3, le=800)] = 40
    """Pools that the digits are dealt into."""
    clips_per_group: Count = 8
    """Clips with the digits of one pool."""
    mp4_share: Share = 0.1
    """Share of the clips written as MP4 (H.264) rather than GIF."""
    seed: Seed = 0
    """Another seed, other clips."""

    @model_validator(mode="after")
    def _possible(self) -> Recipe:
        if self.digit >= self.size:
            raise ValueError(f"a digit of {self.digit} pixels cannot move in a frame of {self.size}")
        if self.speed[0] > self.speed[1]:
            raise ValueError(f"speed {self.speed[0]} to {self.speed[1]}: the first must be the smaller")
        return self


@dataclass(frozen=True)
class DigitClip:
    """One clip to be made."""

    name: str
    """Of its file."""
    number: int
    """From 0, over all groups."""
    group: str
    """Its pool."""
    label: str
    """The two digits."""
    digits: tuple[int, int]
    """Their rows in scikit-learn's set."""


def planned(recipe: Recipe, targets: np.ndarray) -> list[DigitClip]:
    """Which digits each clip shows.

    Args:
        recipe: The numbers.
        targets: (1797,), which digit each image of the set is.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([recipe.seed, 0], np.uint64)))
    pools = np.array_split(rng.permutation(len(targets)), recipe.groups)
    total = recipe.groups * recipe.clips_per_group
    mp4 = set(rng.permutation(total)[: round(total * recipe.mp4_share)].tolist())
    clips = []
    for number in range(total):
        pool, index = divmod(number, recipe.clips_per_group)
        first, second = (int(row) for row in rng.choice(pools[pool], 2, replace=False))
        clips.append(
            DigitClip(
                name=f"digits_g{pool:03d}_c{index:03d}.{'mp4' if number in mp4 else 'gif'}",
                number=number,
                group=f"digits_g{pool:03d}",
                label=f"{targets[first]}{targets[second]}",
                digits=(first, second),
            )
        )
    return clips


def rendered(recipe: Recipe, clip: DigitClip, images: np.ndarray) -> np.ndarray:
    """The frames of a clip: uint8 (T, size, size, 3) with at most 255 colours.

    Args:
        recipe: The numbers.
        clip: From `planned`.
        images: (1797, 8, 8), 0 to 16.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([recipe.seed, clip.number + 1], np.uint64)))
    hue = rng.random()
    # a row and a column more: there a digit that touches the border has its share of nothing
    levels = np.zeros((recipe.frames, recipe.size + 1, recipe.size + 1), np.int16)
    palette = np.zeros((2 * _LEVELS + 1, 3), np.uint8)
    for which, row in enumerate(clip.digits):
        sprite = _resized(images[row] / 16.0, recipe.digit)
        # far apart on the colour wheel, so that the digits can be told from each other where they cross
        colour = colorsys.hsv_to_rgb(
            (hue + which * rng.uniform(0.3, 0.7)) % 1.0, rng.uniform(0.55, 0.95), recipe.brightness
        )
        first = which * _LEVELS
        palette[first + 1 : first + _LEVELS + 1] = np.round(np.outer(np.arange(1, _LEVELS + 1) / _LEVELS, colour) * 255)
        for frame, (top, left) in zip(levels, _path(recipe, rng), strict=True):
            drawn = np.round(_between(sprite, top % 1, left % 1) * _LEVELS).astype(np.int16)
            place = frame[int(top) : int(top) + len(drawn), int(left) : int(left) + len(drawn)]
            # what is brighter is on top: blending would make more colours than a GIF holds
            below = np.where(place > _LEVELS, place - _LEVELS, place)
            np.copyto(place, drawn + first, where=(drawn > 0) & (drawn >= below), casting="same_kind")
    return np.asarray(palette[levels[:, :-1, :-1]])


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    """A digit at another size, float (size, size) in [0, 1], with edges about a pixel wide."""
    from PIL import Image

    large = np.asarray(Image.fromarray(image.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC))
    return np.clip((large - 0.25) * 2.0, 0.0, 1.0)


def _path(recipe: Recipe, rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Top and left of a digit in each frame: a straight line, folded at the borders."""
    room = recipe.size - recipe.digit
    start = rng.uniform(0, room, 2)
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(*recipe.speed)
    step = speed * np.array([np.sin(angle), np.cos(angle)])
    for t in range(recipe.frames):
        top, left = room - np.abs((start + t * step) % (2 * room) - room)
        yield float(top), float(left)


def _between(sprite: np.ndarray, down: float, right: float) -> np.ndarray:
    """The sprite moved by less than a pixel: (S + 1, S + 1), each pixel shared out among four."""
    side = len(sprite)
    out = np.zeros((side + 1, side + 1))
    for i, rows in ((0, 1 - down), (1, down)):
        for j, columns in ((0, 1 - right), (1, right)):
            out[i : i + side, j : j + side] += rows * columns * sprite
    return out


def write_clip(path: Path, frames: np.ndarray, fps: float) -> None:
    """Writes a clip as a GIF, without loss, or as an MP4 of high quality, by the name's suffix."""
    if path.suffix == ".mp4":
        write_mp4(path, frames, fps, crf=14)
    else:
        write_gif(path, frames, fps)
