"""Words in pictures: dark on paper, in the font that matplotlib brings, which has the letters of most languages."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, SOFT = (251, 251, 249), (28, 32, 36), (91, 100, 112)
SIZE = 12


@lru_cache(maxsize=4)
def _font(size: int = SIZE) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    spec = find_spec("matplotlib")  # found, not imported, which takes half a second
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        font = Path(folder) / "mpl-data/fonts/ttf/DejaVuSans.ttf"
        if font.is_file():
            return ImageFont.truetype(font, size)
    return ImageFont.load_default(size)


def blank(width: int, height: int) -> Image.Image:
    """Paper to write on."""
    return Image.new("RGB", (width, height), PAPER)


def image(pixels: np.ndarray) -> Image.Image:
    """uint8 (H, W, 3) to write on."""
    return Image.fromarray(np.ascontiguousarray(pixels))


def width_of(words: str) -> int:
    """Pixels that words take."""
    return int(np.ceil(_font().getlength(words)))


def fitted(words: str, width: int) -> str:
    """Words that fit into so many pixels; of longer ones the end, which tells most of a path."""
    if width_of(words) <= width:
        return words
    kept = words
    while kept and width_of("…" + kept) > width:
        kept = kept[1:]
    return "…" + kept


def write(
    picture: Image.Image, at: tuple[float, float], words: str, *, soft: bool = False, anchor: float = 0.0
) -> None:
    """Writes one line into a picture.

    Args:
        picture: It is changed.
        at: Where its top lies, x then y.
        words: What.
        soft: In a paler ink.
        anchor: Which part of the line lies at x: 0 its left end, 1 its right one.
    """
    x = at[0] - anchor * width_of(words)
    ImageDraw.Draw(picture).text((x, at[1]), words, fill=SOFT if soft else INK, font=_font())
