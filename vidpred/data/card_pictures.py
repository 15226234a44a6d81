"""The pictures of a data set's card: first frames of clips, and how things move in a few.

In: shards. Out: WebP as data URIs, small enough together for one page; or one PNG.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from vidpred.data.card_figures import moving, spread_over
from vidpred.data.flow import flow_pictures
from vidpred.data.shards import Shards
from vidpred.records import Clip
from vidpred.workspace import atomic

CLIPS = 60
"""First frames shown, at the most."""
MOVING = 6
"""Clips whose motion is shown, at the most."""
BYTES = 330_000
"""Of all pictures of the card together, about: in base64 they take a third more."""
_STEPS = ((112, 80), (112, 60), (96, 50), (80, 40), (64, 30), (48, 20))
"""Sides in pixels and qualities of WebP, tried in turn until the pictures are small enough."""
_FLOW_FRAMES = 12
"""Of the middle of a clip, in which the liveliest moment is looked for."""


@dataclass(frozen=True)
class Tile:
    """The first frame of a clip."""

    clip: Clip
    image: str
    """As a data URI."""


@dataclass(frozen=True)
class Motion:
    """How things move in a clip, at its liveliest moment; all as data URIs."""

    clip: Clip
    frame: str
    """A frame of it."""
    dx: str
    """Grey is none, brighter to the right."""
    dy: str
    """Grey is none, brighter downwards."""
    colour: str
    """Hue is the direction, saturation the speed."""


def draw(shards: Shards) -> tuple[list[Tile], list[Motion], tuple[int, int]]:
    """The card's pictures, small enough together, and the (width, height) in which they are meant to be shown."""
    rows = spread_over(len(shards.clips), CLIPS)
    stills = [shards.frames(row, 0, 1)[0] for row in rows]
    lively = moving(shards.clips, MOVING)
    fields = [_motion(shards, row) for row in lively]
    tiles: list[bytes] = []
    motions: list[list[bytes]] = []
    size = (shards.width, shards.height)
    for side, quality in _STEPS:
        size = _within(shards.height, shards.width, side)
        tiles = [_webp(still, size, quality) for still in stills]
        motions = [[_webp(picture, size, quality) for picture in pictures] for pictures in fields]
        if sum(map(len, tiles)) + sum(len(picture) for four in motions for picture in four) <= BYTES:
            break
    return (
        [Tile(shards.clips[row], _uri(tile)) for row, tile in zip(rows, tiles, strict=True)],
        [Motion(shards.clips[row], *map(_uri, four)) for row, four in zip(lively, motions, strict=True)],
        size,
    )


def write_contact_sheet(path: Path, shards: Shards, *, most: int = CLIPS, side: int = 128) -> None:
    """One PNG with the first frames of clips, evenly over the index, and the start of each name below its own.

    Args:
        path: Where to.
        shards: Whose clips.
        most: Clips at the most.
        side: Pixels of a frame's longer side, at the most.
    """
    rows = spread_over(len(shards.clips), most)
    width, height = _within(shards.height, shards.width, side)
    columns = max(1, min(10, len(rows)))
    gap, text = 6, 14
    across, down = width + gap, height + text + gap
    sheet = Image.new("RGB", (columns * across + gap, -(-len(rows) // columns) * down + gap), (24, 27, 30))
    pen = ImageDraw.Draw(sheet)
    for place, row in enumerate(rows):
        x, y = gap + place % columns * across, gap + place // columns * down
        sheet.paste(
            Image.fromarray(shards.frames(row, 0, 1)[0]).resize((width, height), Image.Resampling.LANCZOS), (x, y)
        )
        name = shards.clips[row].source.rsplit("/", 1)[-1].encode("ascii", "replace").decode()
        shown = "".join(letter if letter.isprintable() else "?" for letter in name)
        while shown and pen.textlength(shown) > width:
            shown = shown[:-1]
        pen.text((x, y + height + 1), shown, fill=(200, 204, 208))
    with atomic(path) as part:
        sheet.save(part, "PNG")


def _motion(shards: Shards, row: int) -> Sequence[np.ndarray]:
    """A frame of a clip, dx, dy and colour."""
    clip = shards.clips[row]
    count = min(clip.length, _FLOW_FRAMES)
    frames = shards.frames(row, (clip.length - count) // 2, count)
    size = _within(shards.height, shards.width, 160)
    if size != (shards.width, shards.height):  # flow of a large frame takes long, and would be shown small
        frames = np.stack([np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BOX)) for f in frames])
    return frames[count // 2], *flow_pictures(np.ascontiguousarray(frames))


def _within(height: int, width: int, side: int) -> tuple[int, int]:
    """(width, height) that fits into a square, never larger than it is."""
    share = min(1.0, side / max(height, width))
    return max(1, round(width * share)), max(1, round(height * share))


def _webp(picture: np.ndarray, size: tuple[int, int], quality: int) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(picture)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BOX)
    image.save(file, "WEBP", quality=quality, method=4)
    return file.getvalue()


def _uri(image: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(image).decode()}"
