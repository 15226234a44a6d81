"""Optical flow: where each pixel of a frame was in the frame before, and pictures of it.

In: uint8 frames. Out: float32 fields in pixels. For models that declare `needs_flow`, and for the baselines that
carry motion on. This file is copied beside such a model in the registry: it imports nothing else of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

PRESETS = ("ultrafast", "fast", "medium", "fine")
"""How hard DIS searches: OpenCV's own three, and `medium` down to the full resolution instead of half of it."""
METHODS = ("dis", "farneback")

_LEAST = 16
"""Smaller frames are continued at their edges: DIS takes none below 12 pixels."""
_SHOWN = 0.5
"""Pixels: the least motion that pictures show at full strength, so that noise on a still clip stays faint."""


def flow_to_previous(
    frames: np.ndarray, *, method: str = "dis", preset: str = "medium", interval: int = 1
) -> np.ndarray:
    """Flow from each frame back to an earlier one: frame i at p looks like frame i - interval at p + flow.

    The same frames give the same bits, whatever else the process does: OpenCV gets one thread.

    Args:
        frames: uint8 (T, H, W, 3), T more than `interval`.
        method: `dis`: OpenCV's dense inverse search (Kroeger et al. 2016); `farneback`: its polynomial expansion
            (Farnebäck 2003). Both see the frames in grey.
        preset: One of `PRESETS`: how hard `dis` searches.
        interval: How many frames back.

    Returns:
        float32 (T - interval, 2, H, W) in pixels, x then y; the first field is that of frame `interval`.

    Raises:
        ValueError: other frames, method, preset or interval.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) < 2:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}, expected uint8 (T >= 2, H, W, 3)")
    if not 1 <= interval < len(frames):
        raise ValueError(f"no flow over {interval} of {len(frames)} frames")
    field = _method(method, preset)
    height, width = frames.shape[1:3]
    out = np.empty((len(frames) - interval, 2, height, width), np.float32)
    grey: list[np.ndarray] = []
    for i, frame in enumerate(frames):
        grey.append(_grey(frame))
        if i >= interval:  # only the last few grey frames are kept: a clip may be long
            found = field(grey[-1], grey.pop(0))
            out[i - interval] = np.moveaxis(found[:height, :width], -1, 0)
    return out


def _method(method: str, preset: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """From two grey frames to the field (H, W, 2) that leads from the first to the second."""
    import cv2

    if method not in METHODS or preset not in PRESETS:
        raise ValueError(
            f"no flow {method!r} with preset {preset!r}: {' or '.join(METHODS)}, with one of {', '.join(PRESETS)}"
        )
    cv2.setNumThreads(1)
    if method == "farneback":
        # the values of OpenCV's own examples, with levels for motion of some 30 pixels
        settings: dict[str, Any] = {"pyr_scale": 0.5, "levels": 4, "winsize": 15, "iterations": 3, "poly_n": 5}
        return lambda frame, before: np.asarray(
            cv2.calcOpticalFlowFarneback(frame, before, None, poly_sigma=1.2, flags=0, **settings)  # type: ignore[call-overload]
        )
    known = "medium" if preset == "fine" else preset
    search = cv2.DISOpticalFlow.create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{known.upper()}"))
    if preset == "fine":
        search.setFinestScale(0)
    return lambda frame, before: np.asarray(search.calc(frame, before, np.zeros((*frame.shape, 2), np.float32)))


def _grey(frame: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) in grey, continued at its edges where it is too small."""
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    down, right = max(0, _LEAST - grey.shape[0]), max(0, _LEAST - grey.shape[1])
    return np.asarray(cv2.copyMakeBorder(grey, 0, down, 0, right, cv2.BORDER_REPLICATE) if down or right else grey)


def opencv_version() -> str:
    """Of the OpenCV that computes flow; another one may round differently."""
    import cv2

    return str(cv2.__version__)


def flow_picture(flow: np.ndarray, *, largest: float | None = None) -> np.ndarray:
    """A field on the colour wheel: hue is the direction (red right, cyan left), saturation the speed, white none.

    Args:
        flow: (2, H, W) in pixels, x then y.
        largest: Pixels at which colours are full; None: the 99th percentile of this field, but at least half a pixel.

    Returns:
        uint8 RGB (H, W, 3).
    """
    import cv2

    if flow.ndim != 3 or flow.shape[0] != 2:
        raise ValueError(f"the field is {flow.shape}, expected (2, H, W)")
    x, y = flow.astype(np.float32)
    speed = np.hypot(x, y)
    full = _strength(speed) if largest is None else largest
    hue = np.mod(np.degrees(np.arctan2(y, x)), 360).astype(np.float32)
    wheel = np.stack([hue, np.clip(speed / full, 0, 1), np.ones_like(speed)], axis=-1)
    return np.asarray(np.rint(cv2.cvtColor(wheel, cv2.COLOR_HSV2RGB) * 255), np.uint8)


def flow_pictures(
    frames: np.ndarray, *, method: str = "dis", preset: str = "medium", interval: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How things move in a clip, at the moment when they move most: the way they go, not where they came from.

    Args:
        frames: uint8 (T, H, W, 3), T more than `interval`.
        method: As in `flow_to_previous`.
        preset: As there.
        interval: As there.

    Returns:
        dx uint8 (H, W): 128 is none, brighter to the right, darker to the left; dy uint8 (H, W): brighter downwards;
        colour uint8 (H, W, 3): `flow_picture`. All three on one scale.
    """
    fields = -flow_to_previous(frames, method=method, preset=preset, interval=interval)
    field = fields[np.argmax(np.abs(fields).mean(axis=(1, 2, 3)))]
    full = _strength(np.hypot(*field))
    dx, dy = np.asarray(np.rint(128 + 127 * np.clip(field / full, -1, 1)), np.uint8)
    return dx, dy, flow_picture(field, largest=full)


def _strength(speed: np.ndarray) -> float:
    return max(_SHOWN, float(np.percentile(speed, 99)))
