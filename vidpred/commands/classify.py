"""`vidpred classify`: which class clips are of, and what happens when in long videos."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vidpred.evaluation.detections import Span
    from vidpred.serving.classify import ClipClassifier
    from vidpred.serving.localise import Found

EPILOG = (
    "Examples: `vidpred classify cat.gif`; `vidpred classify models:/vidpred-classify@champion clips/*.mp4 --top 3`; "
    "`vidpred classify match.mp4 -o match.srt -o match.png`; "
    "`vidpred classify matches/*.mp4 --localise proposals --truth matches.csv`"
)

log = logging.getLogger(__name__)


class Localise(StrEnum):
    """How long videos are looked at."""

    AUTO = "auto"
    SLIDING = "sliding"
    PROPOSALS = "proposals"
    NONE = "none"


def classify(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] CLIP...",
            help="models:/NAME@ALIAS or a model folder (default: models/trained), then GIFs or videos.",
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="Classes that are told of each clip, likeliest first.")] = 1,
    windows: Annotated[
        int, typer.Option(min=1, max=1000, help="Windows of a clip that are scored at the most, evenly spaced.")
    ] = 8,
    localise: Annotated[
        Localise,
        typer.Option(
            help="Look for segments: `sliding` shows the model overlapping windows of the whole video, `proposals` "
            "only where a quick first look says that something happens; `none` takes a video as one clip; `auto` "
            "slides over those longer than eight windows."
        ),
    ] = Localise.AUTO,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="How sure a segment is at the least that is told.")
    ] = 0.4,
    least_seconds: Annotated[
        float | None, typer.Option(min=0.01, help="Seconds of a segment at the least (default: half a window's).")
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output", "-o", metavar="FILE|FOLDER",
            help="Segments as a timeline (.png), as subtitles (.srt), or all of them, the doubtful too, in the form of "
            "ActivityNet's results (.json, one for all videos); may be given several times. A folder gets all three of "
            "each video.",
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="True segments, a table with video,start,end,label or ActivityNet's JSON: prints mAP and draws them."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON a clip, with all classes or with the segments.")
    ] = False,
    device: Annotated[str, typer.Option(help="`auto`, `cpu` or `cuda`.")] = "auto",
) -> None:  # fmt: skip
    """Say which class each clip is of, and what happens when in long videos, with a model that `task.kind: classify`
    has trained."""
    from vidpred.errors import UserError
    from vidpred.evaluation.annotations import named, read_truth, write_found
    from vidpred.serving.classify import ClipClassifier
    from vidpred.tracking.meant import is_uri
    from vidpred.workspace import find_root, set_up_logging

    set_up_logging()
    given = is_uri(paths[0]) or Path(paths[0]).is_dir()
    clips = [Path(path) for path in (paths[1:] if given else paths)]
    if not clips:
        raise UserError("name a GIF or video beside the model folder")
    if not given and not clips[0].suffix and not clips[0].exists():
        raise UserError(f"{paths[0]}: no such model folder, GIF or video")
    if folder := next((clip for clip in clips if clip.is_dir()), None):
        raise UserError(f"{folder} is a folder: name its clips, such as {folder}/*.gif")
    targets = _targets(output or [], clips, localise)
    known = read_truth(truth) if truth else {}
    if truth and not any(named(known, clip) for clip in clips):
        raise UserError(
            f"{truth} has no true segments of {clips[0]}{' or the others' * (len(clips) > 1)}: it names "
            f"{', '.join(sorted(known)[:3]) or 'no video'}"
        )
    model = ClipClassifier.load(paths[0] if given else find_root() / "models/trained", device=device)
    judge, results = _Judge(known), {}
    failed = 0
    for clip in clips:
        try:
            found = _localised(model, clip, localise, least_seconds, wanted=bool(targets or truth))
            if found is None:
                _tell_class(clip, model.scores(model.read(clip), windows=windows), top=top, as_json=as_json)
            else:
                _tell_segments(found, threshold, as_json=as_json)
                results[clip.stem] = found.spans
                _write(found, targets, threshold, judge.add(found))
        except UserError as error:
            failed += 1
            said = str(error)
            log.error("%s", said if said.startswith(str(clip)) else f"{clip}: {said}")
    for target in targets:
        if _for_all(target) and results:
            write_found(target, results)
            log.info("wrote %s", target)
    if truth:
        judge.tell(truth, as_json=as_json)
    if failed:
        raise typer.Exit(1)


def _localised(
    model: ClipClassifier, clip: Path, way: Localise, least_seconds: float | None, *, wanted: bool
) -> Found | None:
    """What is found in a long video; None: the clip is to be taken as one."""
    from vidpred.serving import localise as long

    if way == Localise.NONE:
        return None
    source = long.opened(model, clip)
    if way == Localise.AUTO and not wanted and not long.is_long(model, source):
        return None
    if long.lacks_background(model):
        log.warning(
            "the model knows no class `background`: where nothing happens it still says something (docs/localise.md)"
        )
    chosen = "sliding" if way == Localise.AUTO else way.value
    return long.localise(model, source, chosen, least_seconds=least_seconds)


def _targets(output: Sequence[Path], clips: Sequence[Path], way: Localise) -> list[Path]:
    """Where results go, checked before any work is done."""
    from vidpred.errors import UserError
    from vidpred.serving.timeline import check_target

    if output and way == Localise.NONE:
        raise UserError("-o writes segments, and --localise none finds none: leave one of them out")
    for target in output:
        if _is_folder(target) or _for_all(target):
            stems = [clip.stem for clip in clips]
            if double := next((stem for stem in stems if stems.count(stem) > 1), None):
                raise UserError(
                    f"two videos are called {double}: what is found in them would have one name in {target}"
                )
            continue
        check_target(target)
        if len(clips) > 1:
            raise UserError(f"-o {target} is one file for {len(clips)} videos: name a folder, such as -o segments/")
    return list(output)


def _is_folder(target: Path) -> bool:
    return target.is_dir() or not target.suffix


def _for_all(target: Path) -> bool:
    """Whether a file is one for all videos."""
    return target.suffix.lower() == ".json" and not target.is_dir()


def _write(found: Found, targets: Sequence[Path], threshold: float, truth: list[Span] | None) -> None:
    from vidpred.serving import timeline

    for target in (target for target in targets if not _for_all(target)):
        files = [target / f"{found.path.stem}{s}" for s in timeline.SUFFIXES] if _is_folder(target) else [target]
        for file in files:
            timeline.write(file, found, threshold=threshold, truth=truth)
            log.info("wrote %s", file)


def _tell_class(clip: Path, scores: dict[str, float], *, top: int, as_json: bool) -> None:
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    if as_json:
        typer.echo(json.dumps({"clip": str(clip), "class": ranked[0][0], "scores": dict(ranked)}))
    else:
        told = ", ".join(f"{name} {100 * share:.1f} %" for name, share in ranked[:top])
        typer.echo(f"{clip}: {told}")


def _tell_segments(found: Found, threshold: float, *, as_json: bool) -> None:
    from vidpred.serving.timeline import table

    if as_json:
        segments = [
            {"start": round(s.start, 3), "end": round(s.end, 3), "class": s.label, "score": round(s.score, 4)}
            for s in found.told(threshold)
        ]
        told: dict[str, Any] = {"clip": str(found.path), "seconds": round(found.seconds, 3), "segments": segments}
        typer.echo(json.dumps(told))
    else:
        typer.echo("\n".join(table(found, threshold)))


class _Judge:
    """Gathers what was found in videos of which the truth is known."""

    def __init__(self, known: dict[str, list[Span]]) -> None:
        self._known = known
        self._found: dict[str, list[Span]] = {}
        self._truth: dict[str, list[Span]] = {}

    def add(self, found: Found) -> list[Span] | None:
        """The truth of a video; None: it is not known."""
        from vidpred.evaluation.annotations import named

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
        from vidpred.errors import UserError
        from vidpred.evaluation.detections import THRESHOLDS, judged, mean_of

        if not any(self._truth.values()):
            raise UserError(f"{path} has no true segments of these videos, so there is no mAP")
        told = judged(self._found, self._truth)
        if as_json:
            rows = {f"{t:g}": {"map": mean_of(ap), "ap": ap} for t, ap in told.items()}
            typer.echo(json.dumps({"videos": len(self._truth), "tiou": rows}))
            return
        count = sum(map(len, self._truth.values()))
        videos = f"{len(self._truth)} video{'s' * (len(self._truth) != 1)}"
        typer.echo(f"{videos} with {count} true segments; average precision at a temporal IoU of")
        labels = list(told[THRESHOLDS[0]])
        wide = max(len(label) for label in [*labels, "mAP"])
        typer.echo(f"  {'':<{wide}}" + "".join(f"{t:>8g}" for t in THRESHOLDS))
        for label in labels:
            typer.echo(f"  {label:<{wide}}" + "".join(f"{100 * told[t][label]:>8.1f}" for t in THRESHOLDS))
        typer.echo(f"  {'mAP':<{wide}}" + "".join(f"{100 * mean_of(told[t]):>8.1f}" for t in THRESHOLDS))
