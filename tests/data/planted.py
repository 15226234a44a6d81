"""Clips for the tests of near-duplicates: footage, what people do to copies of it, and shards of both."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from vidpred.data.digits import Recipe, planned, rendered
from vidpred.data.shards import RawClip, Shards, write_shards

SIZE = 64
FPS = 10.0


class Made(NamedTuple):
    """A clip to be put into shards."""

    name: str
    frames: np.ndarray
    """uint8 (T, H, W, 3), of any size."""
    group: str = ""
    """The name, if empty."""
    label: str = ""
    part: str = ""
    fps: float = FPS


def shards_of(folder: Path, clips: Sequence[Made], *, size: int = SIZE) -> Shards:
    """Shards of these, each frame brought to `size` as transcode does; the rows are in the order of `rows_of`."""
    raw = []
    for number, clip in enumerate(clips):
        frames = np.stack([cv2.resize(f, (size, size), interpolation=cv2.INTER_AREA) for f in clip.frames])
        path = folder / f"{number}.raw"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(frames.tobytes())
        sha256 = hashlib.sha256(f"{clip.name} {number}".encode()).hexdigest()
        raw.append(
            RawClip(
                source=clip.name,
                sha256=sha256,
                key=sha256,
                number=0,
                group=clip.group or clip.name,
                label=clip.label,
                fps=clip.fps,
                motion=float(np.abs(np.diff(frames.astype(np.int16), axis=0)).mean()),
                frames=path,
                length=len(frames),
                part=clip.part,
            )
        )
    made = folder / "shards"
    write_shards(made, raw, [], height=size, width=size, fps=None, buckets=2, parameters={}, ffmpeg="none")
    return Shards(made)


def rows_of(shards: Shards) -> dict[str, int]:
    """The row of each source."""
    return {clip.source: row for row, clip in enumerate(shards.clips)}


def scene(seed: int, *, frames: int = 24, size: int = 160) -> np.ndarray:
    """A picture full of shapes that the camera pans over while things move in it: uint8 (T, size, size, 3)."""
    rng = np.random.default_rng(seed)
    wide = _canvas(rng, 2 * size)
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.5)
    things = [(rng.uniform(0, size, 2), rng.normal(0, 4, 2), rng.integers(0, 256, 3)) for _ in range(3)]
    out = []
    for t in range(frames):
        x, y = size / 2 + speed * t * np.array([np.cos(angle), np.sin(angle)])
        frame = cv2.getRectSubPix(wide, (size, size), (float(x + size / 2), float(y + size / 2)))
        for place, step, colour in things:
            at = np.mod(place + t * step, size).astype(int)
            cv2.circle(frame, tuple(int(v) for v in at), size // 8, tuple(int(v) for v in colour), -1, cv2.LINE_AA)
        out.append(frame)
    return np.stack(out)


def takes(seed: int, *, frames: int = 24, size: int = 160) -> Iterator[np.ndarray]:
    """Takes of one scene, without end: the same camera and room, another figure that wanders through it."""
    rng = np.random.default_rng(seed)
    room = _canvas(rng, size)
    while True:
        height = int(rng.uniform(0.3, 0.5) * size)
        turns, phases = rng.uniform(0.1, 0.35, 2), rng.uniform(0, 2 * np.pi, 2)
        body, head = (tuple(int(v) for v in rng.integers(0, 256, 3)) for _ in range(2))
        out = []
        for t in range(frames):
            frame = room.copy()
            x, y = (0.5 + 0.5 * np.sin(turns * t + phases)) * (size - height / 3, size - height)
            cv2.rectangle(frame, (int(x), int(y)), (int(x) + height // 4, int(y) + height), body, -1)
            cv2.circle(frame, (int(x) + height // 8, int(y)), height // 7, head, -1, cv2.LINE_AA)
            out.append(frame)
        yield np.stack(out)


def _canvas(rng: np.random.Generator, size: int) -> np.ndarray:
    """Shapes of many sizes over each other: uint8 (size, size, 3)."""
    out = np.full((size, size, 3), rng.integers(0, 256, 3), np.uint8)
    for scale in (3, 3, 3, 5, 5, 5, 8, 8, 8, 8, 12, 12, 12, 12):
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        corner = rng.uniform(0, size, 2)
        points = (corner + rng.normal(0, size / scale, (4, 2))).astype(np.int32)
        cv2.fillConvexPoly(out, cv2.convexHull(points), colour, cv2.LINE_AA)
    return cv2.GaussianBlur(out, (0, 0), 1.0)


def digits(groups: int, each: int, *, size: int = SIZE) -> list[Made]:
    """Clips of the bundled recipe: two digits over black."""
    from sklearn.datasets import load_digits

    recipe = Recipe(
        recipe="moving_digits",
        size=size,
        digit=size * 24 // 64,
        speed=(2.0, 5.0),
        frames=20,
        groups=140,
        clips_per_group=3,
    )
    images = load_digits()
    plans = [plan for plan in planned(recipe, images.target) if plan.number < 3 * groups and plan.number % 3 < each]
    return [Made(plan.name, rendered(recipe, plan, images.images), plan.group) for plan in plans]


def gif_frames(path: Path) -> np.ndarray:
    """Frames of a small GIF, the middle square of each: uint8 (T, S, S, 3)."""
    out = []
    with Image.open(path) as image:
        for number in range(image.n_frames):
            image.seek(number)
            frame = np.asarray(image.convert("RGB"))
            side = min(frame.shape[:2])
            top, left = ((length - side) // 2 for length in frame.shape[:2])
            out.append(frame[top : top + side, left : left + side])
    return np.stack(out)


def _rescaled(frames: np.ndarray, factor: float = 0.45) -> np.ndarray:
    return np.stack([cv2.resize(f, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) for f in frames])


def _as_gif(frames: np.ndarray) -> np.ndarray:
    """Each frame in 64 colours of its own, dithered."""
    return np.stack([np.asarray(Image.fromarray(f).convert("P", palette=1, colors=64).convert("RGB")) for f in frames])


def _as_jpeg(frames: np.ndarray) -> np.ndarray:
    out = []
    for frame in frames:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=12)
        out.append(np.asarray(Image.open(file)))
    return np.stack(out)


def _cropped(top: float, bottom: float, left: float, right: float) -> Callable[[np.ndarray], np.ndarray]:
    def crop(frames: np.ndarray) -> np.ndarray:
        height, width = frames.shape[1:3]
        rows = slice(round(height * top), height - round(height * bottom))
        return frames[:, rows, round(width * left) : width - round(width * right)]

    return crop


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rescaled": _rescaled,
    "gif": _as_gif,
    "jpeg": _as_jpeg,
    "cropped all round": _cropped(0.05, 0.05, 0.05, 0.05),
    "cropped at the top": _cropped(0.05, 0, 0, 0),
    "cropped at the bottom": _cropped(0, 0.05, 0, 0),
    "cropped on the left": _cropped(0, 0, 0.05, 0),
    "cropped on the right": _cropped(0, 0, 0, 0.05),
    "cropped in a corner": _cropped(0.05, 0, 0, 0.05),
    "trimmed": lambda frames: frames[3:-2] if len(frames) > 12 else frames[1:-1],
    "mirrored": lambda frames: frames[:, :, ::-1],
    "all of it": lambda frames: _as_jpeg(
        _rescaled(_cropped(0, 0.05, 0.05, 0)(frames[2:] if len(frames) > 12 else frames[1:]))
    ),
}
"""What a copy may have gone through."""
