"""Pictures of predictions beside the truth: a filmstrip (PNG) and a moving pair (GIF)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from vidpred.data.encode import write_gif

GREEN, GREY = (46, 160, 67), (128, 128, 128)
GAP = 2
STRIP_STEPS = 12
"""Predicted frames in a filmstrip at the most: more would be too small to see."""


def spread(count: int, most: int) -> list[int]:
    """At most so many of `count` places, from the first to the last, evenly spaced."""
    return sorted({int(place) for place in np.linspace(0, count - 1, min(count, most)).round()})


def enlarge(frames: np.ndarray, side: int = 128) -> np.ndarray:
    """Small frames (..., H, W, 3) repeated to whole multiples, so that people see pixels and not specks."""
    factor = max(1, round(side / frames.shape[-2]))
    return frames.repeat(factor, axis=-3).repeat(factor, axis=-2)


def bordered(frames: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Frames (..., H, W, 3) with a thin border: (..., H + 2·GAP, W + 2·GAP, 3)."""
    *lead, height, width, _ = frames.shape
    out = np.empty((*lead, height + 2 * GAP, width + 2 * GAP, 3), np.uint8)
    out[...] = colour
    out[..., GAP:-GAP, GAP:-GAP, :] = frames
    return out


def write_rows(path: Path, *rows: np.ndarray) -> None:
    """Rows of frames below each other, as a PNG.

    Args:
        path: Of the PNG.
        rows: uint8 (N, H, W, 3), as many frames in each.
    """
    Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in rows])).save(path)


def write_filmstrip(
    path: Path, context: np.ndarray, truth: np.ndarray, predicted: np.ndarray, *, primed: np.ndarray | None = None
) -> None:
    """Top row: what happened. Bottom row: what was seen, then what was predicted from it, in a green border.

    Args:
        path: Of the PNG.
        context: uint8 (T, H, W, 3).
        truth: uint8 (N, H, W, 3), the frames that followed.
        predicted: uint8 (N, H, W, 3).
        primed: uint8 (T-1, H, W, 3), what the model expected of the context, shown in its place; None: the context.
    """
    happened = bordered(enlarge(np.concatenate([context, truth]), 64), GREY)
    write_rows(path, happened, _as_seen(context, predicted, primed, 64))


def write_restored(path: Path, frames: np.ndarray, restored: np.ndarray) -> None:
    """Top row: frames. Bottom row: what an autoencoder gave back of each, in a green border.

    Args:
        path: Of the PNG.
        frames: uint8 (N, H, W, 3).
        restored: uint8 (N, H, W, 3).
    """
    write_rows(path, bordered(enlarge(frames, 64), GREY), bordered(enlarge(restored, 64), GREEN))


def write_pair(
    path: Path,
    context: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    *,
    fps: float,
    primed: np.ndarray | None = None,
) -> None:
    """Left: what happened. Right: the context, then the prediction in a green border.

    Args:
        path: Of the GIF.
        context: uint8 (T, H, W, 3).
        truth: uint8 (N, H, W, 3), the frames that followed.
        predicted: uint8 (N, H, W, 3).
        fps: Frames per second.
        primed: As for `write_filmstrip`.
    """
    left = bordered(enlarge(np.concatenate([context, truth])), GREY)
    write_gif(path, np.concatenate([left, _as_seen(context, predicted, primed, 128)], axis=2), fps)


def _as_seen(context: np.ndarray, predicted: np.ndarray, primed: np.ndarray | None, side: int) -> np.ndarray:
    """What was given in grey borders, then what the model made in green ones."""
    given, made = (context, predicted) if primed is None else (context[:1], np.concatenate([primed, predicted]))
    return np.concatenate([bordered(enlarge(given, side), GREY), bordered(enlarge(made, side), GREEN)])
