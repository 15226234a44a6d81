"""`vidpred export`: the command line of `serving.export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

EPILOG = (
    "Examples: `vidpred export models:/vidpred@champion -o model.onnx`; "
    "`vidpred export models/trained -o model.pt2 --frames 10`; "
    "`vidpred export models:/vidpred-classify@champion -o classes.onnx`"
)


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A `models:/` URI of the MLflow registry, or a model folder.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file: `.onnx`, or `.pt2` for torch.export. Replaced if there.")
    ],
    kind: Annotated[
        Literal["onnx", "torch"] | None, typer.Option("--format", help="Where the file's name does not tell.")
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option("--frames", "-n", min=1, max=1000, help="Frames that it predicts; default: the model's horizon."),
    ] = None,
    static: Annotated[
        bool, typer.Option("--static", help="One window of the model's own size, for runtimes that want that.")
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=255,
            help="By how much it may differ from the original: grey levels of 255 (1 unless told), of a classifier "
            "percentage points of probability (0.1).",
        ),
    ] = None,
) -> None:
    """Write a model as one file for other runtimes (ONNX, torch.export); only if it answers what the original does."""
    from vidpred.serving.export.export import export_model
    from vidpred.workspace import set_up_logging

    set_up_logging()
    export_model(model, output, kind=kind, frames=frames, static=static, tolerance=tolerance)
