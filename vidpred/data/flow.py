"""Optical flow: where each pixel of a frame was in the frame before.

In: uint8 frames. Out: float32 fields in pixels. For models that declare `needs_flow`, and for the baselines that
carry motion on.
"""

from __future__ import annotations

import cv2
import numpy as np

_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}

_LEAST = 16
"""Smaller frames are continued at their edges: DIS takes none below 12 pixels."""


def flow_to_previous(frames: np.ndarray, *, method: str = "dis", preset: str = "medium") -> np.ndarray:
    """Flow from each frame back to the one before it: frame i at p looks like frame i-1 at p + flow.

    The same frames give the same bits, whatever else the process does: OpenCV gets one thread.

    Args:
        frames: uint8 (T, H, W, 3), T at least 2.
        method: `dis`: OpenCV's dense inverse search (Kroeger et al. 2016).
        preset: `ultrafast`, `fast` or `medium`: how hard it searches.

    Returns:
        float32 (T-1, 2, H, W) in pixels, x then y.

    Raises:
        ValueError: other frames, method or preset.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) < 2:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}, expected uint8 (T >= 2, H, W, 3)")
    if method != "dis" or preset not in _PRESETS:
        raise ValueError(f"no flow {method!r} with preset {preset!r}: dis, with one of {', '.join(_PRESETS)}")
    cv2.setNumThreads(1)
    search = cv2.DISOpticalFlow.create(_PRESETS[preset])
    height, width = frames.shape[1:3]
    grey = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in frames]
    down, right = max(0, _LEAST - height), max(0, _LEAST - width)
    if down or right:
        grey = [cv2.copyMakeBorder(frame, 0, down, 0, right, cv2.BORDER_REPLICATE) for frame in grey]
    out = np.empty((len(frames) - 1, 2, height, width), np.float32)
    for i in range(1, len(frames)):
        field = search.calc(grey[i], grey[i - 1], np.zeros((*grey[i].shape, 2), np.float32))
        out[i - 1] = np.moveaxis(np.asarray(field)[:height, :width], -1, 0)
    return out
