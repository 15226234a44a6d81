"""`vidpred classify`: which class clips are of."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

EPILOG = (
    "Examples: `vidpred classify cat.gif`; `vidpred classify models/trained clips/*.mp4 --top 3`; "
    "`vidpred classify cat.gif --json`"
)


def classify(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="[MODEL] CLIP...", help="A model folder (default: models/trained), then GIFs or videos."
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="Classes that are told of each clip, likeliest first.")] = 1,
    windows: Annotated[
        int, typer.Option(min=1, max=1000, help="Windows of a clip that are scored at the most, evenly spaced.")
    ] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON a clip, with all classes.")] = False,
    device: Annotated[str, typer.Option(help="`auto`, `cpu` or `cuda`.")] = "auto",
) -> None:
    """Say which class each clip is of, with a model that `task.kind: classify` has trained."""
    from vidpred.errors import UserError
    from vidpred.serving.classify import ClipClassifier
    from vidpred.workspace import find_root, set_up_logging

    set_up_logging()
    given = paths[0].is_dir()
    clips = paths[1:] if given else paths
    if not clips:
        raise UserError("name a GIF or video beside the model folder")
    model = ClipClassifier.load(paths[0] if given else find_root() / "models/trained", device=device)
    failed = 0
    for clip in clips:
        try:
            scores = model.scores(model.read(clip), windows=windows)
        except UserError as error:
            failed += 1
            said = str(error)
            logging.getLogger(__name__).error("%s", said if said.startswith(str(clip)) else f"{clip}: {said}")
            continue
        ranked = sorted(scores.items(), key=lambda item: -item[1])
        if as_json:
            typer.echo(json.dumps({"clip": str(clip), "class": ranked[0][0], "scores": dict(ranked)}))
        else:
            told = ", ".join(f"{name} {100 * share:.1f} %" for name, share in ranked[:top])
            typer.echo(f"{clip}: {told}")
    if failed:
        raise typer.Exit(1)
