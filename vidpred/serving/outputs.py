"""Results to files, by the name's suffix: a film (GIF, MP4), a strip (PNG), or the frames themselves (NumPy)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vidpred.data import encode
from vidpred.errors import UserError
from vidpred.serving.panels import Result, film
from vidpred.workspace import atomic

KINDS = (".gif", ".mp4", ".png", ".npy")
"""Suffixes of results."""


def write_result(target: Path, result: Result) -> None:
    """Writes what came of a clip, whole or not at all; folders above it are made.

    Raises:
        UserError: it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        match target.suffix.lower():
            case ".npy":
                with atomic(target) as part, part.open("wb") as file:
                    np.save(file, result.frames)
            case ".png":
                _write_png(target, result)
            case _:
                encode.write_video(target, film(result), result.fps)
    except OSError as error:
        raise UserError(f"{target} could not be written: {error.strerror or error}") from None


def _write_png(target: Path, result: Result) -> None:
    from PIL import Image

    from vidpred.serving.strip import strip  # words need a font, which others do without

    with atomic(target) as part:
        Image.fromarray(strip(result)).save(part, "PNG")
