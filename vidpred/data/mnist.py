"""Moving MNIST, made from the digits of MNIST's idx files by the protocol of its authors.

In: a recipe (`recipe: moving_mnist` in a .yaml) and the idx files that it names, or a folder of such files, which
`recipe_of` has a recipe for. Out: one .npy a sequence, uint8 (T, 64, 64), and for each its group and label. Two digits
of 28x28 start anywhere in 64x64, move 3.6 pixels a frame in a direction of their own, and turn round at the borders;
positions are cut to whole pixels, and where digits overlap the brighter pixel is seen. The recipe's seed and the idx
files decide every frame.

As with `vidpred.data.digits`: `planned` says which clips there are, `rendered` makes one, `write_clip` writes it:

    digits = read_digits(recipe, source.parent, params.max_bytes)
    for clip in planned(recipe, digits):
        write_clip(folder / clip.name, rendered(recipe, clip, digits))
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, cast

import numpy as np
from pydantic import Field

from vidpred.config import Count, Section, Seed
from vidpred.data.sequences import write_npy
from vidpred.errors import UserError

LICENCE = "MNIST digits: Yann LeCun and Corinna Cortes (CC BY-SA 3.0)"

_IDX = re.compile(r"(?P<of>.+)-(?P<what>images[-.]idx3|labels[-.]idx1)-ubyte(\.gz)?")
"""Names of MNIST's files: `t10k-images-idx3-ubyte.gz`."""
_SEQUENCES, _GROUPS = 3000, 200
"""Of a folder of them: a fifth of the pools, 40, is enough to judge by, and 50 of MNIST's digits a pool to vary."""


class MovingMnistRecipe(Section):
    """The numbers of a recipe file."""

    recipe: Literal["moving_mnist"]
    images: str | Annotated[list[str], Field(min_length=1)]
    """The digits' idx3-ubyte file or files, packed with gzip or not; a relative path starts at the recipe."""
    labels: str | list[str] | None = None
    """Their idx1-ubyte files, in the same order; null: clips have no label."""
    sequences: Count = 1000
    """Clips."""
    frames: Annotated[int, Field(ge=2, le=10_000)] = 20
    """Frames of a clip."""
    size: Annotated[int, Field(ge=16, le=1024)] = 64
    """Rows and columns of a frame."""
    digits: Annotated[int, Field(ge=1, le=16)] = 2
    """Digits in a clip."""
    step: Annotated[float, Field(ge=0)] = 3.6
    """Pixels that a digit moves in a frame."""
    groups: Annotated[int, Field(ge=3)] | None = None
    """Pools that the digits are dealt into, so that a split by groups tests on digits that training never saw; null:
    every clip draws from all digits, and is a group of its own."""
    seed: Seed = 0
    """Another seed, other clips."""


@dataclass(frozen=True)
class Digits:
    """What the idx files hold."""

    images: np.ndarray
    """uint8 (N, side, side)."""
    labels: np.ndarray | None
    """uint8 (N,), or None."""


@dataclass(frozen=True)
class MnistClip:
    """One clip to be made."""

    name: str
    """Of its file."""
    number: int
    """From 0."""
    group: str
    """Its pool, or itself."""
    label: str
    """The digits, as `37`; an empty string without labels."""
    digits: tuple[int, ...]
    """Their rows in the idx file."""


def read_digits(recipe: MovingMnistRecipe, folder: Path, max_bytes: int = 1 << 30) -> Digits:
    """The digits that a recipe names.

    Args:
        recipe: The numbers.
        folder: Where the recipe lies.
        max_bytes: Of an idx file, unpacked.

    Raises:
        UserError: a file is missing, damaged or of another kind, or its digits do not do for the recipe.
    """
    found = [read_idx(folder / Path(name).expanduser(), 3, max_bytes) for name in _listed(recipe.images)]
    for name, (_, rows, columns) in zip(_listed(recipe.images), (part.shape for part in found), strict=True):
        if rows != columns or rows >= recipe.size:
            raise UserError(f"images: {name} has digits of {rows}x{columns}: they cannot move in {recipe.size}")
        if rows != found[0].shape[1]:
            first = "x".join(map(str, found[0].shape[1:]))
            raise UserError(f"images: {name} has digits of {rows}x{columns}, and the first file {first}")
    images = np.concatenate(found)
    labels, count = _read_labels(recipe, folder, max_bytes), len(images)
    if labels is not None and len(labels) != count:
        told = ", ".join(_listed(recipe.labels))
        raise UserError(f"labels: {told} has {len(labels)} labels for {count} images")
    if count // (recipe.groups or 1) < recipe.digits:
        pools = recipe.groups or 1
        raise UserError(f"groups: {pools} pools of {count} digits: some have fewer than the {recipe.digits} of a clip")
    if recipe.groups and recipe.groups > recipe.sequences:
        raise UserError(f"groups: {recipe.groups} are more than the {recipe.sequences} sequences")
    return Digits(images, labels)


def recipe_of(folder: Path) -> dict[str, Any] | None:
    """The recipe for a folder of MNIST's files, as a YAML file would have it; None where it holds no digits.

    All digits of the folder are taken, MNIST's train set and test set alike, and dealt into pools of our own.

    Args:
        folder: What is in its sub-folders is not looked at.
    """
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    named = [match for name in files if (match := _IDX.fullmatch(name))]
    images = {match["of"]: match[0] for match in named if match["what"].startswith("images")}
    labels = {match["of"]: match[0] for match in named if match["what"].startswith("labels")}
    if not images:
        return None
    return {
        "recipe": "moving_mnist",
        "images": list(images.values()),
        "labels": [labels[of] for of in images] if images.keys() <= labels.keys() else None,
        "sequences": _SEQUENCES,
        "groups": _GROUPS,
    }


def _read_labels(recipe: MovingMnistRecipe, folder: Path, max_bytes: int) -> np.ndarray | None:
    if recipe.labels is None:
        return None
    parts = [read_idx(folder / Path(name).expanduser(), 1, max_bytes) for name in _listed(recipe.labels)]
    return np.concatenate(parts)


def _listed(names: str | list[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else names or []


def read_idx(path: Path, axes: int, max_bytes: int = 1 << 30) -> np.ndarray:
    """An idx file of bytes: uint8, with so many axes.

    Args:
        path: The file, packed with gzip or not.
        axes: 3 for images, 1 for labels.
        max_bytes: That it may hold, unpacked.

    Raises:
        UserError: it cannot be read, is no such file, or holds less or more than its header says.
    """
    try:
        with path.open("rb") as file:
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if file.peek(2)[:2] == b"\x1f\x8b" else file
            head = stream.read(4)
            if head != bytes((0, 0, 8, axes)):
                raise UserError(f"{path} is no idx{axes}-ubyte file: it begins with {head.hex(' ') or 'nothing'}")
            shape = struct.unpack(f">{axes}I", stream.read(4 * axes))
            if not 0 < math.prod(shape) <= max_bytes:
                raise UserError(f"{path} says that it holds {shape}: more than {max_bytes} bytes, or none")
            data = stream.read(math.prod(shape))
            if len(data) < math.prod(shape) or stream.read(1):
                raise UserError(f"{path} holds {'less' if len(data) < math.prod(shape) else 'more'} than {shape}")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (EOFError, zlib.error, struct.error) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    return np.frombuffer(data, np.uint8).reshape(shape)


def planned(recipe: MovingMnistRecipe, digits: Digits) -> list[MnistClip]:
    """Which digits each clip shows.

    Args:
        recipe: The numbers.
        digits: From `read_digits`.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([recipe.seed, 0], np.uint64)))
    pools = np.array_split(rng.permutation(len(digits.images)), recipe.groups or 1)
    clips = []
    for number in range(recipe.sequences):
        pool = number % len(pools)
        rows = tuple(int(row) for row in rng.choice(pools[pool], recipe.digits, replace=False))
        name = f"mnist_{number:06d}" if recipe.groups is None else f"mnist_g{pool:04d}_{number:06d}"
        clips.append(
            MnistClip(
                name=f"{name}.npy",
                number=number,
                group=name if recipe.groups is None else f"mnist_g{pool:04d}",
                label="" if digits.labels is None else "".join(str(digits.labels[row]) for row in rows),
                digits=rows,
            )
        )
    return clips


def rendered(recipe: MovingMnistRecipe, clip: MnistClip, digits: Digits) -> np.ndarray:
    """The frames of a clip: uint8 (T, size, size).

    Args:
        recipe: The numbers.
        clip: From `planned`.
        digits: From `read_digits`.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([recipe.seed, clip.number + 1], np.uint64)))
    frames = np.zeros((recipe.frames, recipe.size, recipe.size), np.uint8)
    for row in clip.digits:
        digit = digits.images[row]
        side = len(digit)
        path = positions(rng, recipe.frames, recipe.size - side, recipe.step)
        for frame, (top, left) in zip(frames, path.astype(int), strict=True):
            place = frame[top : top + side, left : left + side]
            np.maximum(place, digit, out=place)
    return frames


def positions(rng: np.random.Generator, frames: int, room: int, step: float) -> np.ndarray:
    """Top and left of a digit in each frame: float (frames, 2), from 0 to `room`.

    A digit that would leave stops at the border in that frame, and goes back from there.

    Args:
        rng: Decides where it starts and in which direction it goes.
        frames: So many.
        room: Pixels that it can move, down and to the right.
        step: Pixels that it moves in a frame.
    """
    at = rng.uniform(0, room, 2)
    angle = rng.uniform(0, 2 * math.pi)
    speed = step * np.array([math.sin(angle), math.cos(angle)])
    path = np.empty((frames, 2))
    for now in path:
        at = at + speed
        outside = (at <= 0) | (at >= room)
        at = np.clip(at, 0, room)
        speed = np.where(outside, -speed, speed)
        now[:] = at
    return path


def write_clip(path: Path, frames: np.ndarray) -> None:
    """Writes a clip as an .npy."""
    write_npy(path, frames)
