"""The bundled data of classification: one shape that moves, written as real GIF files like `digits.py` does.

In: a recipe (datasets/moving_shapes.yaml, datasets/still_shapes.yaml). Out: files, and for each its group and class.

`label: motion` is a set where time is everything: the class is how the shape moves, and one frame tells nothing of it.
Shape, colours, background, position, angle and size are drawn alike for all classes; positions wrap at the borders; a
shape that does not grow has the size of some frame of one that does; and every clip has its twin, the same frames
played backwards, in the same group. `label: shape` is the opposite: the same movements, but the class is the shape.
Files are GIFs only: what H.264 loses depends on the direction of time.
"""

from __future__ import annotations

import colorsys
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from vidpred.config import Section, Seed
from vidpred.data.encode import write_gif

LICENCE = "made by vidpred: public domain (CC0 1.0)"

PAIRS = (("left", "right"), ("up", "down"), ("clockwise", "counter-clockwise"), ("grow", "shrink"))
"""Motions, each beside what it is when it is played backwards."""
MOTIONS = tuple(itertools.chain(*PAIRS))

_COVERED, _GROUND = 14, 16
"""Levels of how much of a pixel a shape covers, and of the background: 15 times 16 colours fit into a GIF."""
_PATCHES = 4
"""Rows and columns of the random field that the background is made of."""

Step = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


def _star(points: int, inner: float) -> np.ndarray:
    angles = np.arange(2 * points) * math.pi / points - math.pi / 2
    return np.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.tile([1.0, inner], points)[:, None])


def _outline(*corners: tuple[float, float]) -> np.ndarray:
    """A polygon around its middle whose farthest corner is at 1."""
    found = np.array(corners, np.float64)
    found -= (found.min(0) + found.max(0)) / 2
    return np.asarray(found / np.hypot(*found.T).max())


SHAPES = {
    "triangle": _star(3, 0.5),  # whose inner corners lie on the sides
    "square": _outline((0, 0), (1, 0), (1, 1), (0, 1)),
    "cross": _outline((1, 0), (2, 0), (2, 1), (3, 1), (3, 2), (2, 2), (2, 3), (1, 3), (1, 2), (0, 2), (0, 1), (1, 1)),
    "star": _star(5, 0.45),
    "arrow": _outline((0, 1), (2, 1), (2, 0), (4, 2), (2, 4), (2, 3), (0, 3)),
    "ell": _outline((0, 0), (1, 0), (1, 3), (2.5, 3), (2.5, 4), (0, 4)),
}
"""Corners (N, 2), at most 1 from the middle. None looks the same after less than a fifth of a turn."""


class Recipe(Section):
    """The numbers of a recipe file."""

    recipe: str
    """`shapes`."""
    label: Literal["motion", "shape"]
    """What the class is."""
    size: Annotated[int, Field(ge=16, le=1024)] = 64
    """Rows and columns of a frame."""
    radius: Step = (7.0, 20.0)
    """Of a shape, from its middle to its farthest corner, in pixels: the smallest and the largest that it ever has."""
    speed: Step = (1.5, 3.5)
    """Pixels that a shape moves in a frame, at the least and at the most."""
    turn: Step = (8.0, 16.0)
    """Degrees that it turns in a frame."""
    growth: Step = (1.05, 1.09)
    """By which factor it grows in a frame."""
    frames: Annotated[int, Field(ge=2)] = 12
    """Of a clip."""
    fps: Annotated[float, Field(gt=0, le=100)] = 10
    """Frames per second."""
    groups: Annotated[int, Field(ge=3)] = 100
    """Each has one clip of every class."""
    seed: Seed = 0
    """Another seed, other clips."""

    @model_validator(mode="after")
    def _possible(self) -> Recipe:
        for name in ("radius", "speed", "turn", "growth"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} {low:g} to {high:g}: the first must be the smaller")
        if self.growth[0] <= 1:
            raise ValueError(f"growth {self.growth[0]:g}: what grows does so by a factor above 1")
        if 2 * self.radius[1] >= self.size:
            raise ValueError(f"a shape of radius {self.radius[1]:g} meets itself at the borders of {self.size} pixels")
        if self.growth[1] ** (self.frames - 1) > self.radius[1] / self.radius[0]:
            raise ValueError(
                f"growing by {self.growth[1]:g} a frame for {self.frames} frames leads beyond the radius "
                f"{self.radius[1]:g}: lower growth or frames, or allow a wider range of radius"
            )
        if self.turn[1] >= 36:
            raise ValueError(f"turn {self.turn[1]:g}: from 36 degrees on a star may as well turn the other way")
        return self


@dataclass(frozen=True)
class Motion:
    """How one shape moves. Arrays have one number a frame."""

    shape: str
    mirrored: bool
    x: np.ndarray
    """Of its middle, in pixels; the frame goes on at its other side."""
    y: np.ndarray
    radius: np.ndarray
    """In pixels."""
    angle: np.ndarray
    """In radians, clockwise as one looks at it."""


@dataclass(frozen=True)
class ShapeClip:
    """One clip to be made."""

    name: str
    """Of its file."""
    group: str
    label: str
    """The class."""
    draw: int
    """Number of the draw that decides all there is to see; twins share it."""
    motion: str
    """One of `MOTIONS`: the draw's own, or its twin's, which is the same played backwards."""
    shape: str | None
    """One of `SHAPES`; None: drawn."""


def planned(recipe: Recipe) -> list[ShapeClip]:
    """Which clips there are: in every group one of each class."""
    clips: list[ShapeClip] = []
    for group in range(recipe.groups):
        named = f"shapes_g{group:03d}"
        known: list[tuple[str, str, str | None, int]]
        if recipe.label == "motion":
            known = [(motion, motion, None, group * len(PAIRS) + i) for i, pair in enumerate(PAIRS) for motion in pair]
        else:
            motions = generator(recipe, 0, group).choice(len(MOTIONS), len(SHAPES)).tolist()
            known = [
                (shape, MOTIONS[motion], shape, group * len(SHAPES) + i)
                for i, (shape, motion) in enumerate(zip(SHAPES, motions, strict=True))
            ]
        clips += [
            ShapeClip(f"{named}_c{i}.gif", named, label, draw, motion, shape)
            for i, (label, motion, shape, draw) in enumerate(known)
        ]
    return clips


def moved(recipe: Recipe, clip: ShapeClip) -> Motion:
    """How the shape of a clip moves."""
    rng = generator(recipe, 1, clip.draw)
    pair = next(pair for pair in PAIRS if clip.motion in pair)
    kind = pair[0]
    shape = list(SHAPES)[int(rng.integers(len(SHAPES)))]
    mirrored = bool(rng.random() < 0.5)
    x, y = rng.uniform(0, recipe.size, 2)
    angle = rng.uniform(0, 2 * math.pi)
    speed, turn = rng.uniform(*recipe.speed), math.radians(rng.uniform(*recipe.turn))
    growth = math.exp(rng.uniform(*np.log(recipe.growth)))
    time, still = np.arange(recipe.frames), np.zeros(recipe.frames)
    smallest, largest = recipe.radius
    first = math.exp(rng.uniform(math.log(smallest), math.log(largest) - (recipe.frames - 1) * math.log(growth)))
    grown = first * growth**time
    # drawn always, so that all else is the same for every motion
    some = grown[int(rng.integers(recipe.frames))]
    found = Motion(
        shape=clip.shape or shape,
        mirrored=mirrored,
        x=(x - speed * time if kind == "left" else x + still) % recipe.size,
        y=(y - speed * time if kind == "up" else y + still) % recipe.size,
        radius=grown if kind == "grow" else some + still,
        angle=angle + turn * time if kind == "clockwise" else angle + still,
    )
    return found if clip.motion == kind else _backwards(found)


def _backwards(motion: Motion) -> Motion:
    return Motion(
        motion.shape, motion.mirrored, motion.x[::-1], motion.y[::-1], motion.radius[::-1], motion.angle[::-1]
    )


def rendered(recipe: Recipe, clip: ShapeClip) -> np.ndarray:
    """The frames of a clip: uint8 (T, size, size, 3) with at most 240 colours."""
    return drawn(painted(recipe, generator(recipe, 2, clip.draw)), moved(recipe, clip))


@dataclass(frozen=True)
class Paint:
    """What a shape is drawn with and on."""

    palette: np.ndarray
    """uint8 (240, 3)."""
    ground: np.ndarray
    """Levels of the background: int (size, size)."""


def painted(recipe: Recipe, rng: np.random.Generator) -> Paint:
    """Colours and a background."""
    return Paint(_palette(rng), _field(rng, recipe.size))


def drawn(paint: Paint, motion: Motion) -> np.ndarray:
    """The frames of a shape that moves: uint8 (T, size, size, 3), as many as `motion` has numbers."""
    corners = SHAPES[motion.shape] * ([-1.0, 1.0] if motion.mirrored else [1.0, 1.0])
    size = len(paint.ground)
    levels = [
        paint.ground * (_COVERED + 1) + np.round(_covered(corners, size, x, y, radius, angle) * _COVERED).astype(int)
        for x, y, radius, angle in zip(motion.x, motion.y, motion.radius, motion.angle, strict=True)
    ]
    return np.asarray(paint.palette[np.stack(levels)])


def write_clip(path: Path, frames: np.ndarray, fps: float) -> None:
    """Writes a clip as a GIF, without loss."""
    write_gif(path, frames, fps)


def generator(recipe: Recipe, stream: int, number: int) -> np.random.Generator:
    """Random numbers that depend on the recipe's seed, what they are for, and the number of the draw."""
    counter = np.array([0, 0, 0, stream], np.uint64)
    return np.random.Generator(np.random.Philox(key=np.array([recipe.seed, number], np.uint64), counter=counter))


def _palette(rng: np.random.Generator) -> np.ndarray:
    """uint8 (240, 3): a shape's colour over two of the background, by level of the one and of the other."""
    dark = [colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.2, 0.8), rng.uniform(0.05, 0.4)) for _ in range(2)]
    bright = [colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.0, 0.5), rng.uniform(0.8, 1.0)) for _ in range(2)]
    ground, front = (dark, bright[0]) if rng.random() < 0.5 else (bright, dark[0])
    shade = np.linspace(0, 1, _GROUND)[:, None, None]
    share = np.linspace(0, 1, _COVERED + 1)[None, :, None]
    behind = (1 - shade) * np.array(ground[0]) + shade * np.array(ground[1])
    return np.asarray(np.round(255 * ((1 - share) * behind + share * np.array(front)))).astype(np.uint8).reshape(-1, 3)


def _field(rng: np.random.Generator, size: int) -> np.ndarray:
    """A smooth random background that goes on at its other side: levels (size, size)."""
    coarse = rng.random((_PATCHES, _PATCHES))
    place = np.arange(size) * _PATCHES / size
    first, part = place.astype(int), place % 1
    part = part * part * (3 - 2 * part)
    for axis in range(2):
        other = np.take(coarse, (first + 1) % _PATCHES, axis=axis)
        weight = np.expand_dims(part, 1 - axis)
        coarse = (1 - weight) * np.take(coarse, first, axis=axis) + weight * other
    coarse = (coarse - coarse.min()) / max(np.ptp(coarse), 1e-9)
    return np.asarray(np.round(coarse * (_GROUND - 1)).astype(int))


def _covered(corners: np.ndarray, size: int, x: float, y: float, radius: float, angle: float) -> np.ndarray:
    """How much of each pixel a polygon covers: (size, size) in [0, 1], its edge about a pixel wide."""
    # of all its images beyond the borders only the nearest can be seen
    right, down = ((np.arange(size) + 0.5 - middle + size / 2) % size - size / 2 for middle in (x, y))
    dx, dy = np.meshgrid(right, down)
    cos, sin = math.cos(angle), math.sin(angle)
    points = np.stack([cos * dx + sin * dy, cos * dy - sin * dx], axis=-1)
    return np.clip(0.5 - _distance(corners * radius, points), 0, 1)


def _distance(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Signed distance of points (..., 2) to a polygon's border, negative inside."""
    nearest = np.full(points.shape[:-1], np.inf)
    inside = np.zeros(points.shape[:-1], bool)
    for one, other in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        side, away = other - one, points - one
        along = np.clip(away @ side / (side @ side), 0, 1)
        nearest = np.minimum(nearest, np.hypot(*np.moveaxis(away - along[..., None] * side, -1, 0)))
        if one[1] != other[1]:  # a ray to the right crosses it
            between = (points[..., 1] >= one[1]) != (points[..., 1] >= other[1])
            inside ^= between & (points[..., 0] < one[0] + (points[..., 1] - one[1]) / side[1] * side[0])
    return np.where(inside, -nearest, nearest)
