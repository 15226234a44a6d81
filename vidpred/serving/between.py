"""What `vidpred predict` does with a model that interpolates: a clip in, the same at twice its frame rate out.

All of the clip's frames are kept, and one is made between any two. Side by side, every second frame of the clip is left
out and made again from its neighbours, in a green border: left what happened, right what was made of it, with the
figures.
"""

from __future__ import annotations

import logging

import numpy as np

from vidpred.data import encode
from vidpred.errors import UserError
from vidpred.evaluation.between import interleaved
from vidpred.evaluation.pictures import GREY, bordered
from vidpred.serving.clip import Job, figures_beside, read_clip
from vidpred.serving.predictor import FramePredictor

log = logging.getLogger(__name__)

_GIF_FPS = 50
"""More frames a second no viewer shows of a GIF."""


def fill(predictor: FramePredictor, job: Job, *, side_by_side: bool, fps: float | None) -> str:
    """Does one clip; returns what to tell about it.

    Args:
        predictor: Of a model that interpolates.
        job: The clip and where its result goes.
        side_by_side: Whether to make the clip's own frames again instead, at the frame rate that the model was
            trained on.
        fps: Frames per second at which the clip is read; None: its own, side by side the model's.

    Raises:
        MediaError: the clip cannot be read.
        UserError: it is too short, or the result cannot be written.
    """
    if side_by_side:
        return _again(predictor, job, fps)
    clip, rate = read_clip(predictor, job.source, fps)
    if len(clip) < 2:
        raise UserError(f"{job.source} is too short: it has one frame at {rate:g} per second, and nothing between")
    made = predictor.between(clip)
    whole = np.empty((len(clip) + len(made), *clip.shape[1:]), np.uint8)
    whole[::2], whole[1::2] = clip, made
    if job.target.suffix.lower() == ".gif" and 2 * rate > _GIF_FPS:
        log.warning("%s: GIFs show at most %d frames a second, this has %g: give an .mp4 as --output", job.target,
                    _GIF_FPS, 2 * rate)  # fmt: skip
    _write(job, whole, 2 * rate)
    return f"{job.target}: {len(clip)} frames of {job.source.name} and {len(made)} between, {2 * rate:g} per second"


def _again(predictor: FramePredictor, job: Job, fps: float | None) -> str:
    clip, rate = read_clip(predictor, job.source, fps or predictor.fps)
    clip = clip[:: predictor.task.interval]
    clip = clip[: len(clip) - 1 + len(clip) % 2]  # an odd number: the last one is known
    if len(clip) < 3:
        raise UserError(
            f"{job.source} is too short: 3 frames are needed, the middle one to compare with: give a longer clip"
        )
    known, truth = clip[::2], clip[1::2]
    made = predictor.between(known)
    _write(
        job, np.concatenate([bordered(clip, GREY), interleaved(known, made)], axis=2), rate / predictor.task.interval
    )
    average = np.rint((known[:-1].astype(np.float32) + known[1:]) / 2).astype(np.uint8)
    baselines = {
        "copying the frame before": known[:-1],
        "copying the frame after": known[1:],
        "averaging both": average,
    }
    return (
        f"{job.target}: {len(clip)} frames of {job.source.name}, {len(made)} of them made again; "
        f"{figures_beside(truth, made, baselines)}"
    )


def _write(job: Job, frames: np.ndarray, fps: float) -> None:
    job.target.parent.mkdir(parents=True, exist_ok=True)
    encode.write_video(job.target, frames, fps)
