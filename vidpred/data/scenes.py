"""What of a source's frames becomes clips: cuts and long freezes end one, and frames are sampled by time stamp.

In: all frames of a source at the shards' size, and their times. Out: clips as numbers of frames. Frozen repeats are
judged here, on the source's own frames: after resampling nobody could tell a freeze from a slow source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_NEIGHBOURS = 2
_STANDS_OUT = 3.0
"""A cut differs from the frame before by so many times what the frames around it do: fast motion does not."""


@dataclass(frozen=True)
class Scene:
    """An uncut stretch of a source that becomes a clip."""

    start_seconds: float
    """Where it begins in what was read of the source."""
    frames: np.ndarray
    """int64: the source's frames that it shows, in order; a number may stand there twice."""


@dataclass(frozen=True)
class Scenes:
    """What was found in a source."""

    scenes: list[Scene]
    """Those of at least two frames, in order."""
    cuts: int
    """Cuts that ended a clip."""
    freezes: int
    """Pictures that stood still for too long."""
    frozen_frames: int
    """Frames that repeat the one before."""


def nearest_ticks(times: np.ndarray, end: float, fps: float) -> np.ndarray:
    """Which frame is shown at each tick of a clock: every frame at the tick nearest to its time, until the next comes.

    Args:
        times: float64 (T,), seconds, never falling; the first is where the clock starts.
        end: When the last frame ends, in seconds.
        fps: Ticks per second.

    Returns:
        int64 (N,), at least one.
    """
    ticks = np.floor((times - times[0]) * fps + 0.5).astype(np.int64)
    count = max(1, int(np.floor((end - times[0]) * fps + 0.5)))
    return np.searchsorted(ticks, np.arange(count), side="right") - 1


def differences(frames: np.ndarray, *, freeze_threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """How much frames change, in grey levels, and which repeat the picture before.

    Args:
        frames: uint8 (T, H, W, 3); read once, in order.
        freeze_threshold: Grey levels in the mean up to which a frame shows the same picture. It is compared with the
            first frame of that picture, so that a slow pan does not pass for a still.

    Returns:
        float64 (T,): mean absolute difference to the frame before (0 for the first); bool (T,): repeats.
    """
    import cv2  # ten times as fast as NumPy on small frames

    count, size = len(frames), frames[0].size
    change, repeats = np.zeros(count), np.zeros(count, bool)
    rows = frames.reshape(count, frames.shape[1], -1)
    first = 0
    for i in range(1, count):
        change[i] = cv2.norm(rows[i], rows[i - 1], cv2.NORM_L1) / size
        held = change[i] if first == i - 1 else cv2.norm(rows[i], rows[first], cv2.NORM_L1) / size
        if held <= freeze_threshold:
            repeats[i] = True
        else:
            first = i
    return change, repeats


def cuts_in(change: np.ndarray, repeats: np.ndarray, threshold: float | None) -> np.ndarray:
    """Frames that begin a new shot: bool (T,).

    After PySceneDetect's adaptive detector: the change is large, and large beside that of the moving frames around it.
    """
    out = np.zeros(len(change), bool)
    if threshold is None:
        return out
    moving = np.flatnonzero(~repeats)[1:]  # the first frame changes nothing
    values = change[moving]
    for at in np.flatnonzero(values >= threshold):
        around = np.concatenate([values[max(0, at - _NEIGHBOURS) : at], values[at + 1 : at + 1 + _NEIGHBOURS]])
        if not len(around) or values[at] >= _STANDS_OUT * around.mean():
            out[moving[at]] = True
    return out


def scenes_of(
    frames: np.ndarray,
    times: np.ndarray,
    end: float,
    *,
    fps: float | None,
    cut_threshold: float | None,
    freeze_threshold: float,
    max_freeze_seconds: float | None,
    drop_repeats: bool = False,
) -> Scenes:
    """Cuts a source into scenes.

    Args:
        frames: uint8 (T, H, W, 3), T at least 1.
        times: float64 (T,): when each begins, in seconds.
        end: When the last one ends.
        fps: Frames per second of the clips; None takes every frame of the source.
        cut_threshold: Grey levels; None: no cuts.
        freeze_threshold: Grey levels.
        max_freeze_seconds: None: freezes end nothing.
        drop_repeats: Whether a picture is taken once, however long it is shown; without `fps` only.
    """
    change, repeats = differences(frames, freeze_threshold=freeze_threshold)
    cuts = cuts_in(change, repeats, cut_threshold)
    pictures: list[int] = np.flatnonzero(~repeats).tolist()  # where each picture begins
    held = np.append(times[pictures[1:]], end) - times[pictures]
    frozen = np.zeros(len(pictures), bool) if max_freeze_seconds is None else held > max_freeze_seconds + 1e-6
    tick = 1 / fps if fps else 0.0
    scenes: list[Scene] = []
    begin = 0

    def close(last: int, stop: float) -> None:
        """Ends the scene that began at `begin` with frame `last`, which is shown until `stop`."""
        if last < begin:
            return
        own = times[begin : last + 1]
        if fps is not None:
            picked = nearest_ticks(own, stop, fps)
        else:
            taken = np.append(True, ~repeats[begin + 1 : last + 1]) if drop_repeats else np.ones(len(own), bool)
            picked = np.flatnonzero(taken)
        if len(picked) > 1:  # in a single frame nothing moves
            scenes.append(Scene(round(float(own[0]), 6), picked + begin))

    count = len(times)
    for number, first in enumerate(pictures):
        after = pictures[number + 1] if number + 1 < len(pictures) else count
        if cuts[first]:
            close(first - 1, float(times[first]))
            begin = first
        if frozen[number]:
            # shown once, it ends the scene; the next begins with its last repeat, if that is short
            shown = float(times[first + 1]) if first + 1 < count else end
            close(first, min(shown, float(times[first]) + (tick or shown)))
            until = float(times[after]) if after < count else end
            short = max_freeze_seconds is None or until - times[after - 1] <= max_freeze_seconds
            begin = after - 1 if after - 1 > first and short and after < count else after
    close(count - 1, end)
    return Scenes(scenes, int(cuts.sum()), int(frozen.sum()), int(repeats.sum()))
