"""Clips for a model: read at its size, many at once, and told how far predictions of them are off.

Files are untrusted, and read by `data.media` within its limits. Tiny ones share an ffmpeg, since starting one takes
longer than reading them.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidpred.data import launch, media
from vidpred.data.scenes import nearest_ticks
from vidpred.errors import UserError
from vidpred.serving import looks
from vidpred.serving.predictor import FramePredictor

if TYPE_CHECKING:
    from vidpred.serving.classify import ClipClassifier

log = logging.getLogger(__name__)

MAX_SECONDS = 600
"""So much of a clip is read."""


@dataclass(frozen=True)
class Job:
    """One clip and where its result goes."""

    source: Path
    target: Path
    """`-` where the result is only told."""
    name: str
    """Of the clip, in messages."""

    @property
    def short_name(self) -> str:
        """Without folders."""
        return Path(self.name).name


@dataclass(frozen=True)
class Clip:
    """What was read of a file."""

    frames: np.ndarray
    """uint8 (T, H, W, 3): those that were chosen."""
    length: int
    """Frames that the clip has at this rate; not all of them may be wanted."""
    rate: float
    """Frames per second, before any were left out."""


@dataclass(frozen=True)
class Reading:
    """How clips are read."""

    look: media.Look
    """Size and limits."""
    fps: float | None
    """Frames per second at which they are sampled; None: their own frames."""
    choose: Callable[[np.ndarray], np.ndarray]
    """From the numbers of a clip's frames, in order, those that are wanted: only they are kept in memory."""
    longer: str = "what follows these is predicted"
    """What is told of a clip beyond `MAX_SECONDS`."""


def look_of(predictor: FramePredictor | ClipClassifier, fps: float | None) -> media.Look:
    """How a model wants its frames; `fps` is that of arrays, which tell no time."""
    return media.Look(**looks.fields(predictor.info, predictor.task), max_seconds=MAX_SECONDS, untimed_fps=fps)


def grouped(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs in order, in groups that are read at once: half a batch of tiny files, or one that is not."""
    groups: list[list[Job]] = []
    tiny = False
    for job in jobs:
        was_tiny, tiny = tiny, is_tiny(job.source)
        if tiny and was_tiny and len(groups[-1]) < media.BATCH // 2:
            groups[-1].append(job)
        else:
            groups.append([job])
    return groups


def is_tiny(path: Path) -> bool:
    """Whether a file shares an ffmpeg with others."""
    try:
        return path.is_file() and media.is_tiny(path)
    except OSError:  # the reading says what is wrong with it
        return False


def read_clips(jobs: Sequence[Job], reading: Reading, *, stop: threading.Event | None = None) -> list[Clip | UserError]:
    """Reads one of the groups of `grouped`; what cannot be read gives the reason, in a line that names it.

    Args:
        jobs: The group.
        reading: How.
        stop: Ends the work early.

    Raises:
        Stopped: `stop` was set.
        UserError: no file can be read here: there is no ffmpeg, or no room for frames.
    """
    ffmpeg = launch.any_ffmpeg()
    with tempfile.TemporaryDirectory(prefix="vidpred-", ignore_cleanup_errors=True) as folder:
        parts = [media.Job(job.source) for job in jobs]
        found = media.decode_to(Path(folder), parts, reading.look, ffmpeg=ffmpeg, stop=stop)
        return [_taken(job, part, reading) for job, part in zip(jobs, found, strict=True)]


def _taken(job: Job, found: media.Decoded | media.MediaError, reading: Reading) -> Clip | UserError:
    if isinstance(found, media.MediaError):
        return UserError(f"{job.name}: {found}")
    look = reading.look
    frames = np.memmap(found.raw, np.uint8, "r").reshape(-1, look.height, look.width, 3)
    shown = np.arange(len(frames))
    if reading.fps is not None:
        shown = nearest_ticks(found.times, min(found.end_seconds, look.max_seconds), reading.fps)
    if found.facts.seconds is not None and found.facts.seconds > MAX_SECONDS:
        log.warning("%s is longer than %d minutes: %s", job.name, MAX_SECONDS // 60, reading.longer)
    wanted = reading.choose(shown)
    return Clip(np.array(frames[wanted]), len(shown), reading.fps or found.facts.fps)


def scores(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """PD and PSNR in the mean over frames, both uint8 (N, H, W, 3)."""
    import torch

    from vidpred.training.metrics import score
    from vidpred.types import to_float

    pair = (to_float(torch.from_numpy(np.ascontiguousarray(frames)))[None] for frames in (predicted, truth))
    return {
        name: float(values.mean()) for name, values in score(*pair, only=("perceptual_distance", "psnr_db")).items()
    }
