"""Frames to what a browser shows: GIFs and PNG strips, in memory, in a few milliseconds.

`vidpred.data.encode` has ffmpeg do it, in a process that takes longer to start than this takes for a handful of small
frames. Exact where a GIF can be: at most 256 colours over all of its frames.
"""

from __future__ import annotations

import io
import math
import struct

import numpy as np
from PIL import GifImagePlugin, Image

_COLOURS = 256
_FOR_EVER = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
_SAMPLES = 16_384
"""Pixels that a palette is chosen by: to look at all of them takes more time than all else of a GIF together."""
_PNG_LEVEL = 2
"""Of zlib's nine; more takes longer than a local network takes to carry the rest."""


def gif(frames: np.ndarray, fps: float) -> bytes:
    """A GIF that repeats for ever, with every frame a frame of its own, equal ones too.

    Args:
        frames: uint8 (T, H, W, 3), RGB.
        fps: Frames per second; GIF rounds a frame's time to hundredths of a second.
    """
    count, height, width, _ = frames.shape
    indices, palette = _indexed(frames)
    centiseconds = [round(100 * (i + 1) / fps) - round(100 * i / fps) for i in range(count)]  # none is lost by rounding
    out = [b"GIF89a", struct.pack("<HHBBB", width, height, 0xF7, 0, 0), palette, _FOR_EVER]
    for image, delay in zip(indices, centiseconds, strict=True):
        out += GifImagePlugin.getdata(Image.fromarray(image), duration=10 * max(2, delay))
    return b"".join([*out, b";"])


def _indexed(frames: np.ndarray) -> tuple[np.ndarray, bytes]:
    """uint8 (T, H, W) into one palette of 256 colours, three bytes each."""
    count, height, width, _ = frames.shape
    packed = frames.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    step = math.ceil(math.sqrt(packed.size / _SAMPLES))
    if len(np.unique(packed[:, ::step, ::step])) <= _COLOURS:  # else there is no need to look at all of them
        colours, places = np.unique(packed, return_inverse=True)
        if len(colours) <= _COLOURS:
            table = np.zeros((_COLOURS, 3), np.uint8)
            table[: len(colours)] = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=-1)
            return places.astype(np.uint8).reshape(packed.shape), table.tobytes()
    tall = Image.fromarray(np.ascontiguousarray(frames).reshape(count * height, width, 3))
    some = np.ascontiguousarray(frames[:, ::step, ::step])
    sample = Image.fromarray(some.reshape(-1, some.shape[2], 3))
    palette = sample.quantize(_COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    drawn = tall.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    table_bytes = bytes(palette.getpalette("RGB") or [])[: 3 * _COLOURS]
    return np.asarray(drawn).reshape(count, height, width), table_bytes.ljust(3 * _COLOURS, b"\0")


def strip(frames: np.ndarray) -> bytes:
    """Frames below each other as one PNG, exactly.

    Args:
        frames: uint8 (T, H, W, 3), RGB.
    """
    count, height, width, _ = frames.shape
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frames).reshape(count * height, width, 3)).save(
        out, "PNG", compress_level=_PNG_LEVEL
    )
    return out.getvalue()
