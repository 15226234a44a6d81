"""What `vidpred predict` does: GIFs and videos in, their predicted continuation out.

A clip is brought to the model's size and frame rate; its last frames are the context. The result shows the clip in a
grey border and what is predicted in a green one. Side by side, the clip's own last frames are predicted from those
before: left what happened, right what was predicted, with the figures. A model that interpolates gives the clip at
twice its frame rate instead (`serving.between`).

1. sources.py     what was typed → files to read
2. clip.py        files → frames at the model's size
3. continuing.py, between.py: plans, which predict them
4. panels.py, strip.py, heat.py, text.py: a result → a film or a picture
5. outputs.py     → a file, by its suffix
pipeline.py does 2 to 5 for many clips at once.
"""

from __future__ import annotations

import logging
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from vidpred.data import media
from vidpred.data.progress import progress
from vidpred.errors import UserError
from vidpred.serving.between import Filling
from vidpred.serving.clip import Job
from vidpred.serving.continuing import Continuing, Truth
from vidpred.serving.outputs import KINDS
from vidpred.serving.panels import Result
from vidpred.serving.pipeline import worked_through
from vidpred.serving.plan import PD, PSNR, Plan, beside
from vidpred.serving.predictor import FramePredictor
from vidpred.serving.sources import Source, collect, is_url
from vidpred.tracking.meant import TRAINED, is_model
from vidpred.workspace import cores

log = logging.getLogger(__name__)

FRAMES = 5
"""Frames predicted where nobody says how many."""
STDOUT = Path("-")
_LISTED = ".gif, .mp4, .png or .npy"


def predict_files(
    model: str,
    inputs: Sequence[Path],
    *,
    files_from: Path | None = None,
    frames: int | None = None,
    output: Path | None = None,
    kind: str | None = None,
    side_by_side: bool = False,
    compare: Sequence[str] = (),
    heatmap: bool = False,
    fps: float | None = None,
    device: str = "auto",
    skip_existing: bool = False,
) -> int:
    """Predicts every clip, goes on after one that cannot be, and gives the exit code.

    Args:
        model: As `FramePredictor.load` takes it.
        inputs: GIFs, videos, folders of them, globs, or `-`: the bytes of one clip on standard input.
        files_from: A file of further paths, or `-`: standard input.
        frames: How many to predict; None: 5. Not for a model that interpolates.
        output: A file for one input, `-` for standard output, a folder for several. None: `<name>-predicted.gif` in
            the current folder, or the folder `predicted`.
        kind: `gif`, `mp4`, `png` or `npy`, where the output does not tell; None: `gif`.
        side_by_side: Whether to predict the clip's own last frames (or every second one) beside the truth instead; of a
            short clip as many as it has beyond what the model looks at.
        compare: Further models, beside the first one; and beside the truth where a clip is long enough.
        heatmap: Whether to show where each model erred; where a clip is long enough.
        fps: Frames per second at which clips are read; None: the model's, else the clip's own; of a model that
            interpolates the clip's own, but beside the truth.
        device: `auto`, `cpu` or `cuda`.
        skip_existing: Whether to leave out clips whose result is there already.

    Returns:
        0, or 1 where an input gave nothing; each such has its line in the log.

    Raises:
        UserError: a model cannot be had, or the options make no sense.
    """
    if frames is not None and frames < 1:
        raise UserError(f"--frames {frames}: ask for at least 1")
    if fps is not None and not 0 < fps <= 240:
        raise UserError(f"--fps {fps:g}: give more than 0, at most 240")
    _check_order(model, [*inputs, *([files_from] if files_from else [])])
    if len(names := [model, *compare]) > len(set(names)):
        raise UserError("--compare names a model twice: give others than the first one, each once")
    with tempfile.TemporaryDirectory(prefix="vidpred-", ignore_cleanup_errors=True) as folder:
        sources = collect(inputs, listed=files_from, folder=Path(folder))
        for problem in sources.problems:
            log.error("%s", problem)
        if not sources.files:
            return 1
        with _to_stdout(output, kind, Path(folder), several=sources.several) as (place, suffix):
            jobs = _jobs(sources.files, place, suffix, several=sources.several)  # before the models, which take seconds
            _check_arrays(jobs, compare=compare, heatmap=heatmap)
            left = [job for job in jobs if not (skip_existing and job.target.is_file())]
            if len(left) < len(jobs):
                log.info("%d of %d results are there already", len(jobs) - len(left), len(jobs))
            failed = len(sources.problems)
            if left:
                models = {name: FramePredictor.load(name, device=device) for name in names}
                share_cores()
                plan = _plan(models, frames, side_by_side=side_by_side, heatmap=heatmap, fps=fps)
                failed += _work(plan, left, list(models), several=sources.several, piped=output == STDOUT)
    if sources.several:
        every = len(jobs) + len(sources.problems)
        log.info("%d of %d clips done", every - failed, every)
    return 1 if failed else 0


def _check_order(model: str, inputs: Sequence[Path]) -> None:
    """Whether the first word is a model rather than a clip.

    Raises:
        UserError: it is a clip, or what comes after it is the model.
    """
    if is_model(model) and not is_url(model):
        return
    first = next((str(path) for path in inputs if is_model(str(path))), None)
    is_clip = is_url(model) or Path(model).suffix.lower() in media.SUFFIXES or Path(model).is_file()
    if first is None and not is_clip and (inputs or not Path(model).is_dir()):
        return  # what is wrong with it is told when it is opened
    example = first or (TRAINED if is_model(TRAINED) else "models:/vidpred@champion")
    what = "is a clip" if is_clip else "is no model"
    typed = shlex.quote(model)
    command = f"vidpred predict {example} {typed}"
    if is_url(model):
        command = f"curl -sL {typed} | vidpred predict {example} -"
    raise UserError(f"{model} {what}, and MODEL comes first: `{command}`")


def _plan(
    models: Mapping[str, FramePredictor], frames: int | None, *, side_by_side: bool, heatmap: bool, fps: float | None
) -> Plan:
    name, first = next(iter(models.items()))
    judged = len(models) > 1 or heatmap
    if first.task.between:
        if frames is not None:
            raise UserError(f"--frames {frames}: {name} puts one frame between any two of a clip: leave --frames out")
        return Filling(models, again=side_by_side or judged, heat=heatmap, fps=fps)
    truth: Truth = "needed" if side_by_side else "if there" if judged else "none"
    return Continuing(models, frames or FRAMES, truth=truth, heat=heatmap, fps=fps)


def share_cores() -> None:
    """Half of the cores for torch, the others for ffmpeg: torch's threads spin while they wait for each other, and
    crawl where they have to share cores."""
    import torch

    torch.set_num_threads(min(torch.get_num_threads(), max(1, cores() // 2)))


def _work(plan: Plan, jobs: Sequence[Job], models: Sequence[str], *, several: bool, piped: bool) -> int:
    """Does all jobs, and gives the number of those that failed."""
    done: list[Result] = []
    failed = 0
    try:
        with progress("predicting", len(jobs)) as advance, closing(worked_through(plan, jobs)) as outcomes:
            for job, outcome in outcomes:
                if isinstance(outcome, Result):
                    if outcome.note:
                        log.warning("%s", outcome.note)
                    log.info("%s: %s", "standard output" if piped else job.target, outcome.told)
                    done.append(outcome)
                else:
                    log.error("%s", outcome)
                    failed += 1
                advance()
    except KeyboardInterrupt:
        if several:
            log.warning("stopped after %d of %d clips: --skip-existing goes on from here", len(done), len(jobs))
        raise
    judged = [result.scores for result in done if result.scores]
    if len(judged) > 1:
        means = {
            name: {figure: sum(scores[name][figure] for scores in judged) / len(judged) for figure in (PD, PSNR)}
            for name in judged[0]
        }
        log.info("mean of %d clips: %s", len(judged), beside(means, models))
    return failed


@contextmanager
def _to_stdout(
    output: Path | None, kind: str | None, folder: Path, *, several: bool
) -> Iterator[tuple[Path | None, str]]:
    """Where results go, and the suffix of those that are not named; what is for standard output goes there in the end.

    Raises:
        UserError: the kind is unknown or not that of `output`, or there is no sense in writing to standard output.
    """
    suffix = f".{kind.lower().lstrip('.')}" if kind else ".gif"
    if suffix not in KINDS:
        raise UserError(f"--format {kind}: frames are written as {_LISTED}")
    if output != STDOUT:
        own = output.suffix.lower() if output is not None and not output.is_dir() else ""
        if kind and own in KINDS and own != suffix:
            raise UserError(f"--output {output} is no {suffix} as --format says: leave one of them out")
        yield output, suffix
        return
    if several:
        raise UserError("--output - is standard output, but several clips may come out: give a folder")
    if sys.stdout.isatty():
        raise UserError("--output - is standard output, and that is a terminal: pipe it into a file or a program")
    result = folder / f"result{suffix}"
    yield result, suffix
    if result.is_file():
        with result.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _jobs(sources: Sequence[Source], output: Path | None, kind: str, *, several: bool) -> list[Job]:
    """A target for each source, all different, none of them a source.

    Raises:
        UserError: `output` cannot be what it must be.
    """
    suffix = output.suffix.lower() if output is not None else ""
    is_folder = output is not None and (output.is_dir() or not suffix)
    if several and output is not None and not is_folder:
        raise UserError(f"--output {output} is one file, but several clips may come out: give a folder")
    if output is not None and not is_folder and suffix not in KINDS:
        raise UserError(f"--output {output}: frames are written as {_LISTED}")
    if output is not None and is_folder and output.is_file():
        raise UserError(f"--output {output} is a file without {_LISTED}: give such a name, or a folder")
    if output is not None and not output.parent.is_dir():  # more likely a slip than a wish for new folders
        raise UserError(f"--output {output}: there is no folder {output.parent}: make it first")
    if output is not None and not is_folder:
        targets = [output]
    else:
        folder = output or Path("predicted" if several else ".")
        targets = [folder / f"{name}{kind}" for name in _names(sources)]
    taken = {source.path.resolve() for source in sources}
    for target in targets:
        if target.resolve() in taken:
            raise UserError(f"{target} is an input: give another --output, it would be overwritten")
    return [Job(source.path, target, source.name) for source, target in zip(sources, targets, strict=True)]


def _names(sources: Sequence[Source]) -> list[str]:
    """Of results, all different."""
    names: dict[str, None] = {}
    numbers: Counter[str] = Counter()
    for source in sources:
        name = f"{source.stem}-predicted"
        while name in names:
            numbers[source.stem] += 1
            name = f"{source.stem}-predicted-{numbers[source.stem] + 1}"
        names[name] = None
    return list(names)


def _check_arrays(jobs: Sequence[Job], *, compare: Sequence[str], heatmap: bool) -> None:
    if jobs and jobs[0].target.suffix.lower() == ".npy" and (compare or heatmap):
        option = "--heatmap" if heatmap else "--compare"
        raise UserError(f"{option}: an .npy holds the frames of one model and nothing else: take .gif, .mp4 or .png")
