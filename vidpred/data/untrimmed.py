"""Moving shapes for videos in which most of the time nothing of interest happens, written as real GIF files.

In: a recipe (datasets/untrimmed_shapes.yaml). Out: the clips of `shapes.py`, and beside them some of a class
`background`, to train on; and long videos with the truth, to find actions in. In a long video one shape rests or
trembles on the spot, now and then does one of the motions, and rests again; after a few of them the scene is cut, and
another shape goes on.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from vidpred.data import shapes
from vidpred.data.shapes import Motion

REST, TREMBLE, CUT = "rest", "tremble", "cut"
KINDS = (REST, TREMBLE, CUT)
"""What a clip of the background is, in turn: a shape that stands still, one that trembles, a cut between two such."""
_SHAKE = (2.0, math.radians(3), 0.03)
"""By how much a shape trembles at the most: pixels, angle, share of its radius."""
_LEAST = 8
"""Frames of a growth at the least: there may be no room for more."""

Frames = tuple[Annotated[int, Field(ge=4)], Annotated[int, Field(ge=4)]]


class Recipe(shapes.Recipe):
    """The numbers of a recipe file: those of `shapes.Recipe`, and these."""

    label: Literal["motion"] = "motion"
    background: Annotated[int, Field(ge=1)] = 3
    """Clips of the class `background` in each group."""
    action: Frames = (12, 22)
    """Frames of an action in a long video, at the least and at the most."""
    gap: Frames = (8, 30)
    """Frames between two of them."""
    actions: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (1, 3)
    """Of a scene, before the cut."""
    seconds: Annotated[float, Field(gt=0)] = 60
    """Of a long video, at the least: the last scene is played to its end."""

    @model_validator(mode="after")
    def _in_order(self) -> Recipe:
        for name in ("action", "gap", "actions"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} {low} to {high}: the first must be the smaller")
        smallest, largest = self.radius
        if self.growth[0] ** (2 * (_LEAST - 1)) > largest / smallest:  # from the middle, either way
            raise ValueError(
                f"radius {smallest:g} to {largest:g} leaves a shape of middling size no room for {_LEAST} frames of "
                f"growth by {self.growth[0]:g}: allow a wider range of radius, or lower growth"
            )
        return self


@dataclass(frozen=True)
class Background:
    """One clip in which nothing happens that has a name."""

    name: str
    """Of its file."""
    group: str
    draw: int
    """Number of the draw that decides all there is to see."""
    kind: str
    """One of `KINDS`."""


class Action(NamedTuple):
    """What happens in a long video, and when."""

    start: int
    """First frame."""
    end: int
    """Frame after the last."""
    label: str


def planned(recipe: Recipe) -> list[Background]:
    """The clips of the background."""
    return [
        Background(f"shapes_g{group:03d}_b{i}.gif", f"shapes_g{group:03d}", number, KINDS[number % len(KINDS)])
        for group in range(recipe.groups)
        for i, number in enumerate(range(group * recipe.background, (group + 1) * recipe.background))
    ]


def rendered(recipe: Recipe, clip: Background) -> np.ndarray:
    """The frames of a clip of the background: uint8 (T, size, size, 3)."""
    rng = shapes.generator(recipe, 3, clip.draw)
    lengths = [recipe.frames]
    if clip.kind == CUT:
        first = int(rng.integers(recipe.frames // 3, recipe.frames - recipe.frames // 3 + 1))
        lengths = [first, recipe.frames - first]
    scenes = []
    for length in lengths:
        trembles = clip.kind == TREMBLE or (clip.kind == CUT and rng.random() < 0.5)
        paint, start = shapes.painted(recipe, rng), _standing(recipe, rng)
        scenes.append(shapes.drawn(paint, _gap(recipe, rng, start, length, trembles=trembles)))
    return np.concatenate(scenes)


def composed(recipe: Recipe, number: int) -> tuple[np.ndarray, list[Action]]:
    """A long video: frames uint8 (T, size, size, 3), and what happens in them, in order.

    Args:
        recipe: Its seed decides, with the number.
        number: Another one, another video.
    """
    rng = shapes.generator(recipe, 4, number)
    scenes: list[np.ndarray] = []
    actions: list[Action] = []
    now = 0
    while now < recipe.seconds * recipe.fps:
        paint, state = shapes.painted(recipe, rng), _standing(recipe, rng)
        parts = [_rest(recipe, rng, state)]
        for _ in range(int(rng.integers(recipe.actions[0], recipe.actions[1] + 1))):
            label, moving = _action(recipe, rng, state)
            start = now + sum(len(part.x) for part in parts)
            actions.append(Action(start, start + len(moving.x), label))
            state = _last(moving)
            parts += [moving, _rest(recipe, rng, state)]
        scene = shapes.drawn(paint, _joined(parts))
        scenes.append(scene)
        now += len(scene)
    return np.concatenate(scenes), actions


def write_video(path: Path, recipe: Recipe, number: int) -> list[Action]:
    """Writes a long video as GIF or MP4, by the suffix, and gives what happens in it."""
    from vidpred.data.encode import write_video

    frames, actions = composed(recipe, number)
    write_video(path, frames, recipe.fps)
    return actions


def _standing(recipe: Recipe, rng: np.random.Generator) -> Motion:
    """A shape somewhere: one frame."""
    smallest, largest = np.log(recipe.radius)
    return Motion(
        shape=list(shapes.SHAPES)[int(rng.integers(len(shapes.SHAPES)))],
        mirrored=bool(rng.random() < 0.5),
        x=rng.uniform(0, recipe.size, 1),
        y=rng.uniform(0, recipe.size, 1),
        radius=np.exp(rng.uniform(smallest, largest, 1)),
        angle=rng.uniform(0, 2 * math.pi, 1),
    )


def _rest(recipe: Recipe, rng: np.random.Generator, state: Motion) -> Motion:
    length = int(rng.integers(recipe.gap[0], recipe.gap[1] + 1))
    return _gap(recipe, rng, state, length, trembles=bool(rng.random() < 0.5))


def _gap(recipe: Recipe, rng: np.random.Generator, state: Motion, length: int, *, trembles: bool) -> Motion:
    """So many frames of a shape that stays where it is."""
    shake = np.where(trembles, 1.0, 0.0) * rng.uniform(-1, 1, (4, length))
    pixels, angle, share = _SHAKE
    return replace(
        state,
        x=(state.x + pixels * shake[0]) % recipe.size,
        y=(state.y + pixels * shake[1]) % recipe.size,
        angle=state.angle + angle * shake[2],
        radius=state.radius * (1 + share * shake[3]),
    )


def _action(recipe: Recipe, rng: np.random.Generator, state: Motion) -> tuple[str, Motion]:
    """What a shape does next, and how."""
    label = shapes.MOTIONS[int(rng.integers(len(shapes.MOTIONS)))]
    length = int(rng.integers(recipe.action[0], recipe.action[1] + 1))
    speed, turn = rng.uniform(*recipe.speed), math.radians(rng.uniform(*recipe.turn))
    toss = rng.random()
    growth = 0.0
    if label in ("grow", "shrink"):
        room = {
            "grow": math.log(recipe.radius[1] / float(state.radius[0])),
            "shrink": math.log(float(state.radius[0]) / recipe.radius[0]),
        }
        slow, fast = np.log(recipe.growth)
        if room[label] < (_LEAST - 1) * slow:
            label = "shrink" if label == "grow" else "grow"
        length = min(length, 1 + int(room[label] / slow))
        growth = (slow + toss * (min(fast, room[label] / (length - 1)) - slow)) * (1 if label == "grow" else -1)
    time = np.arange(length)
    away = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}.get(label, (0, 0))
    around = {"clockwise": 1, "counter-clockwise": -1}.get(label, 0)
    return label, replace(
        state,
        x=(state.x + away[0] * speed * time) % recipe.size,
        y=(state.y + away[1] * speed * time) % recipe.size,
        angle=state.angle + around * turn * time,
        radius=state.radius * np.exp(growth * time),
    )


def _last(motion: Motion) -> Motion:
    return replace(motion, x=motion.x[-1:], y=motion.y[-1:], radius=motion.radius[-1:], angle=motion.angle[-1:])


def _joined(parts: list[Motion]) -> Motion:
    def along(name: str) -> np.ndarray:
        return np.fromiter(itertools.chain.from_iterable(getattr(part, name) for part in parts), np.float64)

    return replace(parts[0], x=along("x"), y=along("y"), radius=along("radius"), angle=along("angle"))
