"""Random changes to training windows: drawn for a batch, then done to a window's frames and to its stored flow alike.

In: `train.augment`, the seed and the step. Out: a `Change` a window, and what `change_frames` and `change_flow` write.
What is drawn depends on nothing else, so a resumed run sees the same windows. Changes of place (scale, translation) are
one integer rectangle of the frame, which may reach beyond it: there the frame goes on as its mirror image, so motion
stays motion, and its flow is turned round with it.
"""

from __future__ import annotations

import math
from itertools import permutations
from typing import NamedTuple

import numpy as np

from vidpred.config import Augment
from vidpred.data.flow_store import Quantised, quantised

UNCHANGED = Augment(flip=False, transpose=False, reverse=False, colour=False)
_COLOUR_ORDERS = tuple(permutations(range(3)))
_MOVES = 6
"""Numbers drawn a window for stride, scale, place of the crop (y, x) and translation (y, x)."""


class Region(NamedTuple):
    """The part of a frame that is seen, in whole pixels; it may reach beyond the frame on any side."""

    top: int
    left: int
    height: int
    width: int


class Change(NamedTuple):
    """What is done to one window."""

    stride: float
    """Uniform in [0, 1): which of the distances that fit the clip is taken."""
    region: Region | None
    """Seen instead of the whole frame, and resized to the size that is asked for; None: the whole frame."""
    reverse: bool
    transpose: bool
    upside_down: bool
    left_right: bool
    colours: tuple[int, ...] | None
    """Channels in their new order."""


def draw_changes(
    augment: Augment, rng: np.random.Generator, *, seed: int, step: int, count: int, height: int, width: int
) -> list[Change]:
    """The changes of a batch.

    Args:
        augment: Which are wanted.
        rng: The batch's generator, after its windows were drawn. Flips, transposition, reversal and colours are drawn
            from it whether they are wanted or not; the others have a stream of their own and disturb no one's draws.
        seed: Of the run.
        step: Of the batch.
        count: Windows.
        height: Rows of a frame.
        width: Columns of a frame.
    """
    turns = augment.turns
    tosses = rng.random((count, 4)) < 0.5
    orders = rng.integers(0, len(_COLOUR_ORDERS), count)
    moves = np.zeros((count, _MOVES))
    placed = moves_frames(augment)
    if placed or augment.stride > 1:
        key, aside = np.array([seed, step], np.uint64), np.array([0, 0, 0, 1], np.uint64)
        moves = np.random.Generator(np.random.Philox(key=key, counter=aside)).random((count, _MOVES))
    return [
        Change(
            stride=float(move[0]),
            region=_region(augment, move, height, width) if placed else None,
            reverse=bool("reverse" in turns and toss[0]),
            transpose=bool("transpose" in turns and toss[1] and (height == width or augment.crop)),
            upside_down=bool("upside_down" in turns and toss[2]),
            left_right=bool("left_right" in turns and toss[3]),
            colours=_COLOUR_ORDERS[order] if augment.colour and order else None,
        )
        for move, toss, order in zip(moves, tosses, orders, strict=True)
    ]


def moves_frames(augment: Augment) -> bool:
    """Whether frames are cropped, scaled or shifted."""
    return augment.crop is not None or augment.translate > 0 or augment.scales != (1.0, 1.0)


def _region(augment: Augment, move: np.ndarray, height: int, width: int) -> Region | None:
    smallest, largest = augment.scales
    scale = smallest * math.exp(float(move[1]) * math.log(largest / smallest))
    sides, corner = [], []
    for side, place, shift in zip((height, width), move[2:4], move[4:6], strict=True):
        seen = max(1, round((augment.crop or side) / scale))
        room = side - seen  # negative where more is seen than there is: the frame is then anywhere inside
        start = int(place * (abs(room) + 1)) * (1 if room >= 0 else -1)
        corner.append(start - (int(shift * (2 * augment.translate + 1)) - augment.translate))
        sides.append(seen)
    region = Region(corner[0], corner[1], sides[0], sides[1])
    return None if region == (0, 0, height, width) else region


def change_frames(frames: np.ndarray, change: Change, into: np.ndarray) -> None:
    """Writes a window, all its frames changed alike.

    Args:
        frames: uint8 (T, H, W, 3); not changed itself.
        change: What to do; its stride is the caller's, who has read the frames so.
        into: uint8 of the same shape, or with the sides of a crop.
    """
    if change.region is not None:
        frames = _resized(_cut_frames(frames, change.region), into.shape[1:3])
    if change.reverse:
        frames = frames[::-1]
    if change.transpose:
        frames = frames.swapaxes(1, 2)
    frames = frames[:, :: -1 if change.upside_down else 1, :: -1 if change.left_right else 1]
    if change.colours is None:
        into[...] = frames
    else:
        for channel, taken in enumerate(change.colours):
            into[..., channel] = frames[..., taken]


def change_flow(flow: Quantised, change: Change, into: Quantised) -> None:
    """Writes the flow of a window whose frames `change_frames` changes alike.

    Flow leads back in time, so a window with flow must not be reversed: the caller sees to that. Colours leave flow as
    it is, though grey, which it was computed from, changes a little.

    Args:
        flow: int8 (T-1, 2, H, W) and float32 (T-1); not changed itself.
        change: What to do.
        into: Of the same shapes, or with the sides of a crop.
    """
    field, scales = flow
    if change.region is not None:
        field, scales = _changed_region(flow, change.region, into.values.shape[2:])
    if change.transpose:
        field = field.swapaxes(2, 3)[:, ::-1]
    values = into.values
    values[...] = field[:, :, :: -1 if change.upside_down else 1, :: -1 if change.left_right else 1]
    into.scales[...] = scales
    for component, turned in ((0, change.left_right), (1, change.upside_down)):
        if turned:
            np.negative(values[:, component], out=values[:, component])


def _changed_region(flow: Quantised, region: Region, size: tuple[int, ...]) -> Quantised:
    """Flow as it is in a part of the frame, enlarged or shrunk to a size with its displacements."""
    cut = _cut(flow.values, region, axes=(2, 3))
    signs = [_mirrored(start, seen, side)[1] for start, seen, side in _along(region, *flow.values.shape[2:])]
    height, width = size
    cut = np.stack([cut[:, 0] * signs[1], cut[:, 1] * signs[0][:, None]], axis=1)  # int8: at most 127 either way
    if (region.height, region.width) == (height, width):
        return Quantised(cut, flow.scales)
    whole = _resized(np.moveaxis(cut, 1, -1).astype(np.float32), (height, width))
    whole *= np.array([width / region.width, height / region.height], np.float32)
    values, steps = quantised(np.moveaxis(whole, -1, 1))
    return Quantised(values, flow.scales * steps)


def _along(region: Region, height: int, width: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    return (region.top, region.height, height), (region.left, region.width, width)


def _cut(images: np.ndarray, region: Region, *, axes: tuple[int, int]) -> np.ndarray:
    """The region of images, mirrored beyond their edges; a view where none of it is."""
    sides = images.shape[axes[0]], images.shape[axes[1]]
    for axis, (start, seen, side) in zip(axes, _along(region, *sides), strict=True):
        if start >= 0 and start + seen <= side:
            images = images[(slice(None),) * axis + (slice(start, start + seen),)]
        else:
            images = images.take(_mirrored(start, seen, side)[0], axis=axis)
    return images


def _cut_frames(frames: np.ndarray, region: Region) -> np.ndarray:
    """As `_cut` along rows and columns of (T, H, W, 3); several times as fast, where OpenCV can do it."""
    parts, edges = [], []
    for start, seen, side in _along(region, *frames.shape[1:3]):
        before, after = max(0, -start), max(0, start + seen - side)
        part = slice(max(0, start), min(side, start + seen))
        if max(before, after) > part.stop - part.start:  # it would mirror what was cut off
            return _cut(frames, region, axes=(1, 2))
        parts.append(part)
        edges += [before, after]
    frames = frames[:, parts[0], parts[1]]
    if not any(edges):
        return frames
    import cv2  # what most runs do without

    above, below, left, right = edges
    out = np.empty((len(frames), region.height, region.width, 3), np.uint8)
    for frame, into in zip(frames, out, strict=True):
        cv2.copyMakeBorder(frame, above, below, left, right, cv2.BORDER_REFLECT, dst=into)
    return out


def _mirrored(start: int, seen: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Which rows (or columns) are seen from `start` on, and -1 where that is their mirror image, else 1 (int8)."""
    place = np.arange(start, start + seen) % (2 * side)
    beyond = place >= side
    return np.where(beyond, 2 * side - 1 - place, place), np.where(beyond, -1, 1).astype(np.int8)


def _resized(images: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Images (N, h, w, C) at another size: averages over areas where they shrink, bilinear where they grow."""
    if images.shape[1:3] == size:
        return images
    import cv2  # what most runs do without

    cv2.setNumThreads(1)  # the batches have threads of their own
    height, width = size
    how = cv2.INTER_AREA if images.shape[1] > height else cv2.INTER_LINEAR
    out = np.empty((len(images), height, width, images.shape[3]), images.dtype)
    for image, into in zip(images, out, strict=True):
        cv2.resize(np.ascontiguousarray(image), (width, height), dst=into, interpolation=how)
    return out
