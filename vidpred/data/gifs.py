"""The frame of a GIF file: whether it is one, its size, its delays, and whether it ends in the middle of a block.

In: a path. Out: numbers, yes or no. ffmpeg shows the half frame of a file that was cut short, often without a word; so
the lengths of the blocks are added up here. On the way the delays are read: to have ffmpeg write down when each frame
begins takes it a tenth of its time with a small GIF. Nothing is decoded.
"""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass
from pathlib import Path

_MARKS = (b"GIF87a", b"GIF89a")
_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B
_CONTROL, _CONTROL_BYTES = 0xF9, 4
"""An extension that says how long the next image is shown."""
_SHORTEST_DELAY, _DELAY = 2, 10
"""Hundredths of a second: an image that is to be shown for less than the first is shown for the second, in all
browsers."""
_MOST_DELAYS = 20_000
_HEADER_BYTES, _IMAGE_BYTES = 13, 10
_FULL_BLOCKS = re.compile(rb"(?s:(?:\xff.{255})*+)")
"""Those of the greatest length, as nearly all are: they are passed over at once."""
_MOST_BLOCKS = 10_000_000
"""Blocks that are counted, in some seconds: a GIF of 2.5 GB, but for one made to keep us busy."""


def pixels(path: Path) -> int:
    """Pixels of a GIF's canvas as its header says; 0 for what is no GIF."""
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    if head[:6] not in _MARKS or len(head) < _HEADER_BYTES:
        return 0
    return int.from_bytes(head[6:8], "little") * int.from_bytes(head[8:10], "little")


def is_gif(path: Path) -> bool:
    """Whether ffmpeg would take a file for a GIF: by its mark, and a canvas that is not empty."""
    try:
        return pixels(path) > 0
    except OSError:  # ffmpeg says what is wrong with it
        return False


@dataclass(frozen=True)
class Blocks:
    """What a file's blocks tell, without what is in them."""

    cut_short: bool = False
    """Whether it is a GIF whose last block is incomplete; a missing end mark alone is no harm."""
    delays: tuple[int, ...] | None = None
    """How long each image is shown, in milliseconds, the shortest as browsers do; None where only ffmpeg can judge."""


def blocks(path: Path) -> Blocks:
    """Adds up the blocks of a GIF; of what is no GIF nothing is told."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] != b"GIF8":
            return Blocks()
        delays: list[int] = []
        delay, passed = 0, 0
        try:
            at = _HEADER_BYTES + _palette_bytes(data[10])
            while at < len(data) and passed < _MOST_BLOCKS:
                passed += 1
                if data[at] == _EXTENSION:
                    if data[at + 1] == _CONTROL and data[at + 2] >= _CONTROL_BYTES:
                        delay = int.from_bytes(data[at + 4 : at + 6], "little")
                    at += 2
                elif data[at] == _IMAGE:
                    if len(delays) <= _MOST_DELAYS:
                        delays.append(10 * (delay if delay >= _SHORTEST_DELAY else _DELAY))
                    delay = 0  # it was for this one only
                    at += _IMAGE_BYTES + _palette_bytes(data[at + _IMAGE_BYTES - 1]) + 1
                else:  # what only ffmpeg can judge, unless it is the end
                    whole = data[at] == _END and len(delays) <= _MOST_DELAYS
                    return Blocks(delays=tuple(delays) if whole else None)
                begin, at = at, _FULL_BLOCKS.match(data, at).end()  # type: ignore[union-attr] # it matches always
                passed += (at - begin) >> 8
                while length := data[at]:
                    at += length + 1
                    passed += 1
                at += 1
        except IndexError:
            return Blocks(cut_short=True)
        return Blocks()


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
