"""What `vidpred predict` does: GIFs and videos in, their predicted continuation out.

A clip is brought to the model's size and frame rate; its last frames are the context. The result shows the clip in a
grey border and what is predicted in a green one. Side by side, the clip's own last frames are predicted from those
before: left what happened, right what was predicted, with the figures. A model that interpolates gives the clip at
twice its frame rate instead (`serving.between`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vidpred.data import encode, media
from vidpred.data.progress import progress
from vidpred.errors import UserError
from vidpred.evaluation.pictures import GREEN, GREY, bordered
from vidpred.serving.between import fill
from vidpred.serving.clip import Job, figures_beside, read_clip
from vidpred.serving.predictor import FramePredictor

log = logging.getLogger(__name__)

SHOWN = 100
"""Known frames in the result, at the most: the last ones."""
FRAMES = 5
"""Frames predicted where nobody says how many."""
_KINDS = (".gif", ".mp4")


def predict_files(
    model: str,
    inputs: Sequence[Path],
    *,
    frames: int | None = None,
    output: Path | None = None,
    side_by_side: bool = False,
    fps: float | None = None,
    device: str = "auto",
) -> int:
    """Predicts every clip, goes on after one that cannot be, and gives the exit code.

    Args:
        model: As `FramePredictor.load` takes it.
        inputs: GIFs, videos, or folders of them.
        frames: How many to predict; None: 5. Not for a model that interpolates.
        output: A .gif or .mp4 for one input; a folder for several. None: `<name>-predicted.gif` in the current folder,
            or the folder `predicted`.
        side_by_side: Whether to predict the clip's own last frames (or every second one) beside the truth instead.
        fps: Frames per second at which clips are read; None: the model's, else the clip's own; of a model that
            interpolates the clip's own, but side by side.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        0, or 1 where an input gave nothing; each such has its line in the log.

    Raises:
        UserError: the model cannot be had, or the options make no sense.
    """
    if frames is not None and frames < 1:
        raise UserError(f"--frames {frames}: ask for at least 1")
    if fps is not None and not 0 < fps <= 240:
        raise UserError(f"--fps {fps:g}: give more than 0, at most 240")
    sources, problems = _expand(inputs)
    several = len(inputs) > 1 or any(path.is_dir() for path in inputs)
    for problem in problems:
        log.error("%s", problem)
    if not sources:
        return 1
    jobs = _jobs(sources, output, several=several)  # before the model, which takes seconds
    predictor = FramePredictor.load(model, device=device)
    if predictor.task.between and frames is not None:
        raise UserError(f"--frames {frames}: {model} puts one frame between any two of a clip: leave --frames out")
    failed = len(problems)
    with progress("predicting", len(jobs)) as advance:
        for job in jobs:
            try:
                if predictor.task.between:
                    told = fill(predictor, job, side_by_side=side_by_side, fps=fps)
                else:
                    told = _predict(predictor, job, frames or FRAMES, side_by_side=side_by_side, fps=fps)
                log.info("%s", told)
            except media.MediaError as error:  # a short reason, without the file's name
                log.error("%s: %s", job.source, error)
                failed += 1
            except UserError as error:
                log.error("%s", error)
                failed += 1
            advance()
    if several:
        log.info("%d of %d clips done", len(jobs) + len(problems) - failed, len(jobs) + len(problems))
    return 1 if failed else 0


def _expand(inputs: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Files to read, and a line for each input that gives none."""
    files: list[Path] = []
    problems: list[str] = []
    for path in inputs:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in media.SUFFIXES)
            files += found
            if not found:
                problems.append(f"{path} holds no GIF or video: put some there, or name a file")
        elif path.exists():
            files.append(path)
        else:
            problems.append(f"{path}: no such file or folder")
    return list(dict.fromkeys(files)), problems


def _jobs(sources: Sequence[Path], output: Path | None, *, several: bool) -> list[Job]:
    """A target for each source, all different, none of them a source.

    Raises:
        UserError: `output` cannot be what it must be.
    """
    suffix = output.suffix.lower() if output is not None else ""
    is_folder = output is not None and (output.is_dir() or not suffix)
    if several and output is not None and not is_folder:
        raise UserError(f"--output {output} is one file, but several clips may come out: give a folder")
    if output is not None and not is_folder and suffix not in _KINDS:
        raise UserError(f"--output {output}: frames are written as .gif or .mp4")
    if output is not None and is_folder and output.is_file():
        raise UserError(f"--output {output} is a file without .gif or .mp4: give such a name, or a folder")
    if output is not None and not output.parent.is_dir():  # more likely a slip than a wish for new folders
        raise UserError(f"--output {output}: there is no folder {output.parent}: make it first")
    if output is not None and not is_folder:
        targets = [output]
    else:
        folder = output or Path("predicted" if several else ".")
        targets = []
        for source in sources:
            name, number = f"{source.stem}-predicted", 1
            while folder / f"{name}.gif" in targets:
                number += 1
                name = f"{source.stem}-predicted-{number}"
            targets.append(folder / f"{name}.gif")
    taken = {source.resolve() for source in sources}
    for target in targets:
        if target.resolve() in taken:
            raise UserError(f"{target} is an input: give another --output, it would be overwritten")
    return [Job(source, target) for source, target in zip(sources, targets, strict=False)]


def _predict(predictor: FramePredictor, job: Job, count: int, *, side_by_side: bool, fps: float | None) -> str:
    """Does one clip; returns what to tell about it.

    Raises:
        UserError: the clip cannot be read or is too short, or the result cannot be written.
    """
    clip, rate = read_clip(predictor, job.source, fps or predictor.fps)
    context, interval = predictor.task.context, predictor.task.interval
    clip = clip[(len(clip) - 1) % interval :: interval]
    needed = context + (count if side_by_side else 0)
    if len(clip) < needed:
        why = f"{context} to look at" + (f" and {count} to compare with" if side_by_side else "")
        every = f", every {interval}th" if interval > 1 else ""
        room = len(clip) - context
        give = f"--frames {room}, a longer clip" if side_by_side and room > 0 else "a longer clip"
        raise UserError(
            f"{job.source} is too short: {len(clip)} frame{'s' * (len(clip) != 1)} at {rate:g} per second{every}, "
            f"the model needs {needed} ({why}): give {give} or a higher --fps"
        )
    known = clip[:-count] if side_by_side else clip
    predicted = predictor.predict(known, count)
    shown = known[-SHOWN:]
    continued = np.concatenate([bordered(shown, GREY), bordered(predicted, GREEN)])
    told = f"{job.target}: {len(shown)} frame{'s' * (len(shown) != 1)} of {job.source.name}, then {count} predicted"
    if side_by_side:
        truth = clip[-count:]
        continued = np.concatenate([bordered(np.concatenate([shown, truth]), GREY), continued], axis=2)
        copied = {"copying the last frame": np.repeat(known[-1:], count, axis=0)}
        told += f"; {figures_beside(truth, predicted, copied)}"
    job.target.parent.mkdir(parents=True, exist_ok=True)
    encode.write_video(job.target, continued, rate / interval)
    return told
