"""Visualisations as frames: flow in colours and arrows, saliency over its clip, kernels on a sheet.

In: arrays. Out: uint8 frames (T, H, W, 3), a few hundred pixels wide.
"""

from __future__ import annotations

import math

import numpy as np

from vidpred.data.flow import flow_picture
from vidpred.evaluation.pictures import GAP, enlarge

SIDE = 160
"""Pixels to which small clips are enlarged."""
_TILE, _ACROSS = 40, 8
"""Of a kernel's picture, about, and how many stand beside each other."""
_ARROWS = 8
"""Along a side."""
_PAPER = (251, 251, 249)
_FOR, _AGAINST = np.array([255, 66, 32], np.float32), np.array([40, 110, 255], np.float32)
_MOST = 99.5
"""Per cent of the pixels that stay below full colour."""


def flow_film(flow: np.ndarray, *, arrows: bool) -> np.ndarray:
    """The way things go: hue is the direction (red right, cyan left, yellow-green down, violet up), white none.

    Args:
        flow: (T, 2, H, W) in pixels, as `Batch.flow`: back to where things were.
        arrows: Whether arrows stand over the colours, each the mean of its surroundings.
    """
    going = -np.asarray(flow, np.float32)
    largest = max(0.5, float(np.percentile(np.hypot(going[:, 0], going[:, 1]), 99)))
    frames = enlarge(np.stack([flow_picture(field, largest=largest) for field in going]), SIDE)
    if arrows:
        for frame, field in zip(frames, going, strict=True):
            _draw_arrows(frame, field, largest)
    return frames


def _draw_arrows(frame: np.ndarray, field: np.ndarray, largest: float) -> None:
    """Changes the frame."""
    import cv2

    height, width = field.shape[1:]
    step, factor = max(1, min(height, width) // _ARROWS), frame.shape[0] / height
    for top in range(0, height - step + 1, step):
        for left in range(0, width - step + 1, step):
            dx, dy = field[:, top : top + step, left : left + step].mean(axis=(1, 2)) * (0.9 * step * factor / largest)
            x, y = (left + step / 2) * factor, (top + step / 2) * factor
            if math.hypot(dx, dy) < 2:
                continue
            tail, tip = ((round(float(x + s * dx / 2)), round(float(y + s * dy / 2))) for s in (-1, 1))
            cv2.arrowedLine(frame, tail, tip, (30, 34, 40), 1, cv2.LINE_AA, tipLength=0.35)


def overlay(frames: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """A grey clip on which red speaks for the class and blue against it; beside it the clip as it is.

    Args:
        frames: uint8 (T, H, W, 3).
        maps: (T, H, W), of any scale.
    """
    grey = frames.mean(axis=-1, keepdims=True, dtype=np.float32).repeat(3, axis=-1) * 0.6 + 90
    soft = _softened(maps)
    top = max(float(np.percentile(np.abs(soft), _MOST)), 1e-12)
    share = np.clip(np.abs(soft) / top, 0, 1)[..., None]
    colour = np.where(soft[..., None] > 0, _FOR, _AGAINST)
    painted = np.rint(grey * (1 - share) + colour * share).astype(np.uint8)
    return np.concatenate([enlarge(frames, SIDE), enlarge(painted, SIDE)], axis=2)


def _softened(maps: np.ndarray) -> np.ndarray:
    """Single pixels are noise to the eye: each with its neighbours."""
    import cv2

    side = max(maps.shape[1:])
    sigma = max(0.6, side / 64)
    return np.stack([cv2.GaussianBlur(np.ascontiguousarray(one, np.float32), (0, 0), sigma) for one in maps])


def kernel_sheet(weights: np.ndarray, *, of_flow: bool) -> np.ndarray:
    """Kernels beside each other, moments one after the other, then a pause where there are several.

    Grey or, of flow, white is none; every kernel is drawn to its own scale.

    Args:
        weights: (N, T, C, H, W), C 3 colours, 1 grey or 2 of flow.
        of_flow: Whether they are of flow: drawn in the colours of the way things go.
    """
    count, moments, channels, height, width = weights.shape
    largest = np.maximum(np.abs(weights).max(axis=(1, 2, 3, 4), keepdims=True), 1e-12)
    if of_flow:
        tiles = np.stack([[flow_picture(-one, largest=1.0) for one in each] for each in weights / largest])
    else:
        colours = weights if channels == 3 else weights.mean(axis=2, keepdims=True).repeat(3, axis=2)
        tiles = np.rint(127.5 + 127.5 * colours / largest).astype(np.uint8).transpose(0, 1, 3, 4, 2)
    factor = max(1, _TILE // max(height, width))
    tiles = tiles.repeat(factor, axis=2).repeat(factor, axis=3)
    high, wide = tiles.shape[2] + 2 * GAP, tiles.shape[3] + 2 * GAP
    across = min(count, max(_ACROSS, _ACROSS * _TILE // wide))
    sheet = np.empty((moments + (moments > 1), -(-count // across) * high, across * wide, 3), np.uint8)
    sheet[...] = _PAPER
    for i in range(count):
        top, left = i // across * high + GAP, i % across * wide + GAP
        sheet[:moments, top : top + tiles.shape[2], left : left + tiles.shape[3]] = tiles[i]
    return sheet
