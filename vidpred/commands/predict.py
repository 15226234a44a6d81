"""`vidpred predict`: clips in, their continuation out. The work is `vidpred.serving.predict`'s."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpred.commands.options import FilesFrom

EXAMPLES = """Examples: `vidpred predict models:/vidpred@champion cat.gif -o out.gif`;
`vidpred predict models/trained clips/ 'more/*.mp4' --frames 10 --side-by-side -o predicted/`;
`vidpred predict models/trained cat.gif --compare models:/vidpred/3 --heatmap -o judged.png`;
`curl -s https://example.org/cat.gif | vidpred predict models/trained - -o - > out.gif`;
`find clips -size -1M -print0 | vidpred predict models/trained --files-from - --format npy -o arrays/`"""


def predict(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A `models:/` URI of the MLflow registry, or a model folder.")
    ],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[INPUT]...",
            help="GIFs, videos, folders of them, globs in quotes; `-` is one clip on standard input.",
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            "--frames", "-n", min=1, help="Frames to predict; 5 unless told. Not for a model that interpolates."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A .gif, .mp4, .png (a strip) or .npy (the predicted frames) for one input, `-` for standard output, "
            "a folder for several. Default: NAME-predicted.gif here, or predicted/.",
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--format", "-f", metavar="KIND", help="gif, mp4, png or npy, where --output is no such name."),
    ] = None,
    side_by_side: Annotated[
        bool,
        typer.Option("--side-by-side", help="Predict the clip's own last frames instead, beside what really happened."),
    ] = False,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            "--compare",
            metavar="MODEL",
            help="Another model, beside the first and what really happened; may be given several times.",
        ),
    ] = None,
    heatmap: Annotated[
        bool,
        typer.Option("--heatmap", help="Show where the prediction of the clip's own last frames erred, with a scale."),
    ] = False,
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps", min=0.1, max=240, help="Frames per second at which clips are read. Default: the model's."
        ),
    ] = None,
    files_from: FilesFrom = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out clips whose result is there already.")
    ] = False,
    device: Annotated[str, typer.Option(help="`auto` (a GPU where there is one), `cpu` or `cuda`.")] = "auto",
) -> None:
    """Predict how GIFs or videos go on; or double their frame rate, if the model interpolates.

    Without more, the output is the clip, then what the model makes of it, framed in green.
    """
    from vidpred.serving.predict import predict_files
    from vidpred.workspace import set_up_logging

    set_up_logging()
    raise typer.Exit(
        predict_files(
            model, inputs or [], files_from=files_from, frames=frames, output=output, kind=kind,
            side_by_side=side_by_side, compare=compare or [], heatmap=heatmap, fps=fps, device=device,
            skip_existing=skip_existing,
        )
    )  # fmt: skip
