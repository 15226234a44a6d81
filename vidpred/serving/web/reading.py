"""Uploads to frames: by the hardened decoder, small ones several to a process of ffmpeg.

In: files in a private folder. Out: for each the frames that are needed of it, at the model's size and rate, or why
there are none.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidpred.data import media
from vidpred.data.gifs import is_gif
from vidpred.data.launch import any_ffmpeg
from vidpred.data.media import Decoded, Job, Look, MediaError
from vidpred.data.scenes import nearest_ticks
from vidpred.serving import looks
from vidpred.serving.web.settings import Limits
from vidpred.types import Task


@dataclass(frozen=True)
class Wanted:
    """What is read of an upload."""

    path: Path
    look: Look
    fps: float | None
    """Frames per second, sampled by time stamp; None: the source's own frames."""
    interval: int
    """Only every so many frames, counted back from the last."""
    last: int
    """Frames at the most: the last ones."""


@dataclass(frozen=True)
class Read:
    """What came out."""

    frames: np.ndarray
    """uint8 (T, H, W, 3), RGB."""
    fps: float
    """Of these frames."""
    seconds: float
    """Of the clip that were read."""
    cut: bool
    """Whether there was more of it than is read."""


def look_of(info: Mapping[str, Any], task: Task, limits: Limits) -> Look:
    """What frames are made of any upload for a model: as its `model.json` says, which `download` has checked."""
    return Look(
        **looks.fields(info, task),
        max_seconds=limits.max_seconds,
        max_frames=limits.max_source_frames,
        max_pixels=limits.max_pixels,
    )


def keep(data: bytes | memoryview, path: Path) -> Path:
    """Writes an upload, under the suffix that its content tells: its own name has no say in how it is read.

    Returns:
        The path with that suffix.

    Raises:
        OSError: the disk is full or the like; nothing is left then.
    """
    try:
        path.write_bytes(data)
        return path.rename(path.with_suffix(".gif" if is_gif(path) else ".video"))
    except OSError:
        path.unlink(missing_ok=True)
        raise


def read(wanted: Sequence[Wanted], *, scratch: Path, timeout_seconds: float) -> list[Read | Exception]:
    """Reads files that have one look.

    Args:
        wanted: What is read of each.
        scratch: Folder for what lies between.
        timeout_seconds: Wall time of each process at the most.
    """
    look = wanted[0].look
    with tempfile.TemporaryDirectory(prefix="frames-", dir=scratch) as folder:
        results = media.decode_to(
            Path(folder),
            [Job(one.path) for one in wanted],
            look,
            ffmpeg=any_ffmpeg(),
            timeout_seconds=timeout_seconds,
        )
        return [
            result if isinstance(result, MediaError) else _picked(result, one)
            for result, one in zip(results, wanted, strict=True)
        ]


def _picked(decoded: Decoded, wanted: Wanted) -> Read:
    """The frames that are wanted; only they are brought into memory."""
    look = wanted.look
    raw = np.memmap(decoded.raw, np.uint8, "r").reshape(-1, look.height, look.width, 3)
    end = min(decoded.end_seconds, look.max_seconds)
    picks = np.arange(len(raw)) if wanted.fps is None else nearest_ticks(decoded.times, end, wanted.fps)
    picks = picks[(len(picks) - 1) % wanted.interval :: wanted.interval]
    rate = wanted.fps or decoded.facts.fps
    return Read(
        frames=np.array(raw[picks[-wanted.last :]]),
        fps=rate / wanted.interval,
        seconds=end,
        cut=len(raw) >= look.max_frames
        or (decoded.facts.seconds or 0) > look.max_seconds
        or decoded.end_seconds >= look.max_seconds,
    )
