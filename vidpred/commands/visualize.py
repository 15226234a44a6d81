"""`vidpred visualize`: the command line of `vidpred.visualize`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from vidpred.visualize.subject import Subject

EPILOG = (
    "Examples: `vidpred visualize models/trained`; `vidpred visualize models/trained --class left --class up -o dir`; "
    "`vidpred visualize models/trained --what saliency --clip cat.gif`; "
    "`vidpred visualize models/trained --what ascent --judge models:/vidpred-classify@champion`"
)
_DEFAULT_OUT = Path("results/visualize")


def visualize(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A folder of a classifier, or a `models:/` URI of the registry.")
    ] = "models/trained",
    names: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", help="A class that a clip is found for; several times. Default: all."),
    ] = None,
    clip: Annotated[
        list[Path] | None,
        typer.Option("--clip", metavar="FILE", help="A GIF or video whose saliency is drawn; several times."),
    ] = None,
    what: Annotated[
        Literal["ascent", "saliency", "kernels", "all"],
        typer.Option(help="Clips found by gradient ascent, what of --clip speaks for a class, first kernels, or all."),
    ] = "all",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where to: GIFs, index.html and visualize.json.")
    ] = _DEFAULT_OUT,
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Of gradient ascent.")] = 256,
    motion: Annotated[
        Literal["slow", "free", "both"] | None,
        typer.Option(help="Whether change in time costs. Default: both where the model takes flow, else free."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise that ascent starts from.")] = 0,
    start: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A GIF or video that ascent starts from, instead of noise.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Another classifier of the same classes, a folder or a `models:/` URI: what does it take the found "
            "clips for?",
        ),
    ] = None,
    method: Annotated[
        Literal["integrated", "smooth", "cam"],
        typer.Option(help="Of saliency: integrated gradients, averaged gradients of noisy copies, or grad-CAM."),
    ] = "integrated",
    baseline: Annotated[
        Literal["grey", "still"],
        typer.Option(
            help="What integrated gradients begin from: grey frames, or the clip's mean frame, standing still."
        ),
    ] = "grey",
    device: Annotated[str, typer.Option(help="`auto`, `cpu` or `cuda`.")] = "auto",
) -> None:
    """Show what a classifier looks for: clips it would like to see, saliency on given ones, its first kernels."""
    from vidpred.errors import UserError
    from vidpred.visualize.ascent import Ascent
    from vidpred.visualize.gallery import PARTS, write_gallery
    from vidpred.visualize.opening import open_clip, open_subject
    from vidpred.visualize.subject import numbers_of
    from vidpred.workspace import set_up_logging

    set_up_logging()
    if what == "saliency" and not clip:
        raise UserError("saliency is of a clip: name one with --clip")
    if what in ("ascent", "kernels") and clip:
        raise UserError(f"--clip is for saliency: leave it out with --what {what}")
    subject = open_subject(model, device=device)
    classes = numbers_of(subject.task, names or [])
    if clip and names and len(names) > 1 and what == "saliency":
        raise UserError("saliency asks about one class: name one, or none for what the model takes the clip for")
    parts = PARTS if what == "all" else (what,)
    said = write_gallery(
        output,
        subject,
        what=parts,
        classes=classes,
        clips=[open_clip(path, subject) for path in clip or []],
        towards=names[0] if names and len(names) == 1 else None,
        how=Ascent(steps=steps, seed=seed),
        motions=None if motion is None else ("slow", "free") if motion == "both" else (motion,),
        start=None if start is None else open_clip(start, subject),
        judge=None if judge is None else _judge(judge, device),
        method=method,
        baseline=baseline,
    )
    for row in said["ascent"]:
        told = "" if row["judged"] is None else f"; {said['judge']['name']}: {row['judged']['answer']}"
        going = "" if row["going"] is None else f", mean flow ({row['going'][0]:+.2f}, {row['going'][1]:+.2f})"
        typer.echo(f"{row['label']} ({row['motion']}): {row['answer']} {100 * row['believed']:.1f} %{going}{told}")
    for row in said["saliency"]:
        typer.echo(f"{row['clip']}: {row['answer']}; for {row['towards']}: {100 * row['believed']:.1f} %")
    logging.getLogger(__name__).info("%s", output / "index.html")


def _judge(model: str, device: str) -> Subject:
    from vidpred.errors import UserError
    from vidpred.visualize.opening import open_subject

    try:
        return open_subject(model, device=device)
    except UserError as error:
        raise UserError(f"--judge: {error}") from None
