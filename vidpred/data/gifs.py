"""The frame of a GIF file: whether it is one, its size, and whether it ends in the middle of a block.

In: a path. Out: a number, yes or no. ffmpeg shows the half frame of a file that was cut short, often without a word; so
the lengths of the blocks are added up here. Nothing is decoded.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

_MARKS = (b"GIF87a", b"GIF89a")
_EXTENSION, _IMAGE = 0x21, 0x2C
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


def cut_short(path: Path) -> bool:
    """True for a GIF whose last block is incomplete; a missing end mark alone is no harm."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] != b"GIF8":
            return False
        blocks = 0
        try:
            at = _HEADER_BYTES + _palette_bytes(data[10])
            while at < len(data) and blocks < _MOST_BLOCKS:
                blocks += 1
                if data[at] == _EXTENSION:
                    at += 2
                elif data[at] == _IMAGE:
                    at += _IMAGE_BYTES + _palette_bytes(data[at + _IMAGE_BYTES - 1]) + 1
                else:  # the end mark, or what only ffmpeg can judge
                    return False
                begin, at = at, _FULL_BLOCKS.match(data, at).end()  # type: ignore[union-attr] # it matches always
                blocks += (at - begin) >> 8
                while length := data[at]:
                    at += length + 1
                    blocks += 1
                at += 1
        except IndexError:
            return True
        return False


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
