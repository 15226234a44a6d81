"""Whether a GIF ends in the middle of a block.

In: a path. Out: yes or no. ffmpeg shows the half frame of such a file, often without a word; so the lengths of the
blocks are added up here. Nothing is decoded.
"""

from __future__ import annotations

import mmap
from pathlib import Path

_EXTENSION, _IMAGE = 0x21, 0x2C
_HEADER_BYTES, _IMAGE_BYTES = 13, 10


def cut_short(path: Path) -> bool:
    """True for a GIF whose last block is incomplete; a missing end mark alone is no harm."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] != b"GIF8":
            return False
        try:
            at = _HEADER_BYTES + _palette_bytes(data[10])
            while at < len(data):
                if data[at] == _EXTENSION:
                    at += 2
                elif data[at] == _IMAGE:
                    at += _IMAGE_BYTES + _palette_bytes(data[at + _IMAGE_BYTES - 1]) + 1
                else:  # the end mark, or what only ffmpeg can judge
                    return False
                while length := data[at]:
                    at += length + 1
                at += 1
        except IndexError:
            return True
        return False


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
