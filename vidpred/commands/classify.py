"""`vidpred classify`: which class clips are of, and what happens when in long videos."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from glob import has_magic
from pathlib import Path
from typing import Annotated

import typer

from vidpred.commands.options import FilesFrom
from vidpred.serving.threshold import THRESHOLD

EPILOG = (
    "Examples: `vidpred classify cat.gif`; `vidpred classify models:/vidpred-classify@champion clips/ 'more/**/*.mp4' "
    "--top 3 -o classes.csv`; `curl -s https://example.org/cat.gif | vidpred classify - --json`; "
    "`vidpred classify match.mp4 -o match.srt -o match.png`; "
    "`vidpred classify matches/ --localise proposals --truth matches.csv`"
)


class Localise(StrEnum):
    """How long videos are looked at."""

    AUTO = "auto"
    SLIDING = "sliding"
    PROPOSALS = "proposals"
    NONE = "none"


def classify(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] [INPUT]...",
            help="models:/NAME@ALIAS or a model folder (default: models/trained), then GIFs, videos, folders of them, "
            "globs in quotes; `-` is one clip on standard input.",
        ),
    ] = None,
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
    ] = THRESHOLD,
    least_seconds: Annotated[
        float | None, typer.Option(min=0.01, help="Seconds of a segment at the least (default: half a window's).")
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output", "-o", metavar="FILE|FOLDER",
            help="A table of all clips and segments (.csv); segments as a timeline (.png), as subtitles (.srt), or all "
            "of them, the doubtful too, in the form of ActivityNet's results (.json, one for all videos); may be given "
            "several times. A folder gets timeline, subtitles and JSON of each video.",
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="True segments, a table with video,start,end,label or ActivityNet's JSON: prints mAP and draws them."
        ),
    ] = None,
    files_from: FilesFrom = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON a clip, with all classes or with the segments.")
    ] = False,
    device: Annotated[str, typer.Option(help="`auto`, `cpu` or `cuda`.")] = "auto",
) -> None:  # fmt: skip
    """Say which class each clip is of, and what happens when in long videos, with a model that `task.kind: classify`
    has trained."""
    from vidpred.errors import UserError
    from vidpred.serving.classify_files import classify_files
    from vidpred.serving.classifying import Asked
    from vidpred.serving.sources import is_url
    from vidpred.tracking.meant import is_model
    from vidpred.workspace import find_root, set_up_logging

    set_up_logging()
    named = paths or []
    given = bool(named) and is_model(named[0]) and not is_url(named[0])
    inputs = [Path(path) for path in (named[1:] if given else named)]
    if given and not inputs and files_from is None:
        raise UserError("name a GIF or video beside the model")
    if not named and files_from is None:
        raise UserError("no clips: name GIFs, videos or folders of them, or give --files-from")
    if not given:
        _check_first(named)
    raise typer.Exit(
        classify_files(
            named[0] if given else find_root() / "models/trained", inputs, files_from=files_from,
            asked=Asked(windows, localise.value, least_seconds=least_seconds), top=top, threshold=threshold,
            output=output or [], truth=truth, as_json=as_json, device=device,
        )
    )  # fmt: skip


def _check_first(named: Sequence[str]) -> None:
    """Whether the first word is a clip, as where the project's own model is meant.

    Raises:
        UserError: it is nothing that there is, or the model comes after it.
    """
    from vidpred.errors import UserError
    from vidpred.serving.sources import is_url
    from vidpred.tracking.meant import is_model, like

    if later := next((word for word in named[1:] if is_model(word) and not is_url(word)), None):
        raise UserError(f"{named[0]} is a clip, and MODEL comes first: `vidpred classify {later} {named[0]}`")
    if len(named) > 1 and not has_magic(named[0]) and named[0] != "-":
        first = Path(named[0])
        if not first.suffix and not first.exists():
            meant = like(named[0])
            raise UserError(f"{first}: no such model folder, GIF or video{f': did you mean {meant}?' if meant else ''}")
