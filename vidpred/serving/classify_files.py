"""What `vidpred classify` does: GIFs and videos in, their classes told and written.

1. sources.py       what was typed → files to read
2. classifying.py   files → a class for each, segments for long ones
3. here, timeline.py: told on standard output, written by suffix, judged where the truth is known
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from vidpred.data.progress import progress
from vidpred.errors import UserError
from vidpred.evaluation.annotations import named, read_truth, write_found
from vidpred.evaluation.detections import THRESHOLDS, Span, judged, mean_of
from vidpred.serving import timeline
from vidpred.serving.classify import Classified, ClipClassifier
from vidpred.serving.classify_table import Lines, write_table
from vidpred.serving.classifying import Asked, classified
from vidpred.serving.clip import Job
from vidpred.serving.localise import Found, lacks_background
from vidpred.serving.predict import share_cores
from vidpred.serving.sources import Source, collect

log = logging.getLogger(__name__)


def classify_files(
    model: str | Path,
    inputs: Sequence[Path],
    *,
    files_from: Path | None,
    asked: Asked,
    top: int,
    threshold: float,
    output: Sequence[Path],
    truth: Path | None,
    as_json: bool,
    device: str = "auto",
) -> int:
    """Classifies every clip, goes on after one that cannot be, and gives the exit code.

    Args:
        model: As `ClipClassifier.load` takes it.
        inputs: GIFs, videos, folders of them, globs, or `-`: the bytes of one clip on standard input.
        files_from: A file of further paths, or `-`: standard input.
        asked: How clips are looked at; `always` follows from `output` and `truth`.
        top: Classes that are told of each clip.
        threshold: How sure a segment is at the least that is told.
        output: Files and folders for results.
        truth: A file of true segments.
        as_json: Whether lines are JSON.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        0, or 1 where an input gave nothing; each such has its line in the log.

    Raises:
        UserError: the model cannot be had, or the options make no sense.
    """
    known = read_truth(truth) if truth else {}
    with tempfile.TemporaryDirectory(prefix="vidpred-", ignore_cleanup_errors=True) as folder:
        sources = collect(inputs, listed=files_from, folder=Path(folder), command="vidpred classify")
        for problem in sources.problems:
            log.error("%s", problem)
        if not sources.files:
            return 1
        _check_targets(output, sources.files, asked, several=sources.several)
        if truth and not any(named(known, source.path) for source in sources.files):
            raise UserError(
                f"{truth} has no true segments of {sources.files[0].name}{' or the others' * sources.several}: it "
                f"names {', '.join(sorted(known)[:3]) or 'no video'}"
            )
        ready = ClipClassifier.load(model, device=device)
        _warn_of_classes(known, sources.files, ready.task.classes)
        share_cores()
        results = _Results(output, threshold, known)
        asked = replace(asked, always=bool(truth) or not all(_is_table(target) for target in output))
        names = [source.name for source in sources.files]
        lines = Lines(names if sources.several else [], ready.task.classes, top=top, as_json=as_json)
        failed = len(sources.problems)
        try:
            failed += _work(
                ready, sources.files, asked, results, lambda name, told: _tell(lines, name, told, threshold)
            )
        finally:
            results.finish(ready.task.classes)
    if sources.several:
        every = len(sources.files) + len(sources.problems)
        log.info("%d of %d clips done", every - failed, every)
    if truth:
        results.judge.tell(truth, as_json=as_json)
    return 1 if failed else 0


def _warn_of_classes(known: dict[str, list[Span]], sources: Sequence[Source], classes: Sequence[str]) -> None:
    """Tells of classes in the truth of these videos that the model cannot say."""
    labels = {span.label for source in sources for span in named(known, source.path) or ()}
    if strange := sorted(labels.difference(classes)):
        log.warning(
            "the truth names %s, and the model has no such class: its average precision is 0 (it has %s)",
            ", ".join(strange), ", ".join(classes),
        )  # fmt: skip


def _work(
    model: ClipClassifier,
    sources: Sequence[Source],
    asked: Asked,
    results: _Results,
    tell: Callable[[str, Classified | Found], None],
) -> int:
    """Does all clips, and gives the number of those that failed."""
    jobs = [Job(source.path, Path("-"), source.name) for source in sources]
    failed = done = 0
    warned = False
    try:
        with progress("classifying", len(jobs)) as advance, closing(classified(model, jobs, asked)) as outcomes:
            for source, (_, told) in zip(sources, outcomes, strict=True):
                if isinstance(told, UserError):
                    log.error("%s", told)
                    failed += 1
                else:
                    if isinstance(told, Found) and not warned and lacks_background(model):
                        log.warning(
                            "the model knows no class `background`: where nothing happens it still says something "
                            "(docs/localise.md)"
                        )
                        warned = True
                    tell(source.name, told)
                    try:
                        results.add(source, told)
                    except UserError as error:
                        log.error("%s", error)
                        failed += 1
                done += 1
                advance()
    except KeyboardInterrupt:
        if len(jobs) > 1:
            log.warning("stopped after %d of %d clips", done, len(jobs))
        raise
    return failed


def _tell(lines: Lines, name: str, told: Classified | Found, threshold: float) -> None:
    text = lines.of_clip(name, told) if isinstance(told, Classified) else lines.of_video(name, told, threshold)
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class _Results:
    """What was found, and where it goes."""

    def __init__(self, targets: Sequence[Path], threshold: float, known: dict[str, list[Span]]) -> None:
        self._targets, self._threshold = targets, threshold
        self._spans: dict[str, list[Span]] = {}
        self._rows: list[tuple[str, Classified | list[Span]]] = []
        self.judge = Judge(known)

    def add(self, source: Source, told: Classified | Found) -> None:
        """Keeps a result for the files of all, and writes those of its own.

        Raises:
            UserError: one cannot be written.
        """
        if isinstance(told, Classified):
            self._rows.append((source.name, told))
            return
        self._rows.append((source.name, told.told(self._threshold)))
        self._spans[source.stem] = told.spans
        truth = self.judge.add(told)
        for target in (target for target in self._targets if not _for_all(target)):
            names = [target / f"{source.stem}{s}" for s in timeline.SUFFIXES] if _is_folder(target) else [target]
            for file in names:
                timeline.write(file, told, threshold=self._threshold, truth=truth)
                log.info("wrote %s", file)

    def finish(self, classes: Sequence[str]) -> None:
        """Writes the files of all, with what there is."""
        for target in self._targets:
            if _is_table(target) and self._rows:
                write_table(target, self._rows, classes)
            elif _for_all(target) and not _is_table(target) and self._spans:
                write_found(target, self._spans)
            else:
                continue
            log.info("wrote %s", target)


def _check_targets(output: Sequence[Path], sources: Sequence[Source], asked: Asked, *, several: bool) -> None:
    """Whether results can go where they are to, before any work is done."""
    of_segments = [target for target in output if not _is_table(target)]
    if of_segments and asked.way == "none":
        raise UserError(
            f"-o {of_segments[0]} is of segments, and --localise none finds none: leave one of them out, or write a "
            "table of classes, -o classes.csv"
        )
    for target in of_segments:
        if _is_folder(target) or _for_all(target):
            stems = [source.stem for source in sources]
            if double := next((stem for stem in stems if stems.count(stem) > 1), None):
                raise UserError(
                    f"two videos are called {double}: what is found in them would have one name in {target}"
                )
            continue
        timeline.check_target(target)
        if several:
            many = f"{len(sources)} videos" if len(sources) > 1 else "what may be several videos"
            raise UserError(f"-o {target} is one file for {many}: name a folder, such as -o segments/")


def _is_folder(target: Path) -> bool:
    return target.is_dir() or not target.suffix


def _is_table(target: Path) -> bool:
    return target.suffix.lower() == ".csv" and not target.is_dir()


def _for_all(target: Path) -> bool:
    """Whether a file is one for all videos."""
    return target.suffix.lower() in (".json", ".csv") and not target.is_dir()


class Judge:
    """Gathers what was found in videos of which the truth is known."""

    def __init__(self, known: dict[str, list[Span]]) -> None:
        self._known = known
        self._found: dict[str, list[Span]] = {}
        self._truth: dict[str, list[Span]] = {}

    def add(self, found: Found) -> list[Span] | None:
        """The truth of a video; None: it is not known."""
        if not self._known:
            return None
        truth = named(self._known, found.path)
        if truth is None:
            log.warning("%s: the truth says nothing of it, so it is not judged", found.path)
            return None
        self._found[str(found.path)], self._truth[str(found.path)] = found.spans, truth
        return truth

    def tell(self, path: Path, *, as_json: bool) -> None:
        """Prints mAP, and the average precision of each class.

        Raises:
            UserError: no video was judged.
        """
        if not any(self._truth.values()):
            raise UserError(f"{path} has no true segments of these videos, so there is no mAP")
        told = judged(self._found, self._truth)
        sys.stdout.write(f"{self._as_json(told) if as_json else self._in_words(told)}\n")

    def _as_json(self, told: dict[float, Any]) -> str:
        rows = {f"{t:g}": {"map": mean_of(ap), "ap": ap} for t, ap in told.items()}
        return json.dumps({"videos": len(self._truth), "tiou": rows})

    def _in_words(self, told: dict[float, Any]) -> str:
        count = sum(map(len, self._truth.values()))
        videos = f"{len(self._truth)} video{'s' * (len(self._truth) != 1)}"
        labels = list(told[THRESHOLDS[0]])
        wide = max(len(label) for label in [*labels, "mAP"])
        rows = [("", [f"{t:>8g}" for t in THRESHOLDS])]
        rows += [(label, [f"{100 * told[t][label]:>8.1f}" for t in THRESHOLDS]) for label in labels]
        rows.append(("mAP", [f"{100 * mean_of(told[t]):>8.1f}" for t in THRESHOLDS]))
        head = f"{videos} with {count} true segments; average precision at a temporal IoU of"
        return "\n".join([head, *(f"  {label:<{wide}}{''.join(cells)}" for label, cells in rows)])
