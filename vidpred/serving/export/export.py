"""`vidpred export`: a model as one file for other runtimes, written only if it predicts what the original predicts."""

from __future__ import annotations

import importlib.metadata
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import vidpred
from vidpred.data.progress import progress
from vidpred.errors import UserError
from vidpred.models.files import load_model, task_from
from vidpred.serving.export.bounds import Bounds
from vidpred.serving.export.compare import Compared, compare
from vidpred.serving.export.files import SUFFIXES, Format, check_installed, convert, open_runner, write
from vidpred.serving.export.graph import CONTEXT, FLOW, FRAMES, Captured, capture
from vidpred.tracking.download import download
from vidpred.types import Predictor, Task

log = logging.getLogger(__name__)

TOLERANCE = 1.0
"""Grey levels of 255 by which a graph may differ from the original anywhere."""


def export_model(
    model: str,
    output: Path,
    *,
    kind: Format | None = None,
    frames: int | None = None,
    static: bool = False,
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """Writes a model as one file, after it was held against the original.

    Args:
        model: As `download` takes it.
        output: The file; its folder must be there. An existing file is replaced, once the new one is good.
        kind: `onnx` or `torch`; None: by the file's suffix, `.onnx` or `.pt2`.
        frames: How many the graph gives; None: as many as the model was trained for. A model that needs flow gives at
            most those of one step.
        static: Whether batch and size are fixed.
        tolerance: In grey levels of 255.

    Returns:
        The file's metadata.

    Raises:
        UserError: the options make no sense, the model cannot be had or captured, or the graph differs from it.
    """
    chosen = _format(output, kind)
    check_installed(chosen)
    built, info = load_model(download(model))
    task = task_from(info["task"])
    count = _frames(built, task, frames)
    with tempfile.TemporaryDirectory(prefix=".vidpred-export-", dir=output.parent) as temporary:
        part = Path(temporary) / f"model{next(s for s, its in SUFFIXES.items() if its == chosen)}"
        log.info("%s: capturing the graph, which takes seconds to minutes", model)
        captured = capture(built, task, count, static=static)
        if captured.why and not static:
            log.info("not everything may vary: %s", captured.why)
        log.info("captured: %s; writing it as %s", captured.bounds.told(), output.name)
        converted = convert(captured.program, chosen)
        write(converted, part, chosen, {})
        shapes = captured.bounds.tried(task)
        with progress("comparing with the original", len(shapes)) as advance:
            compared = compare(built, open_runner(part, chosen), task, info, count, shapes, advance=advance)
        if compared.largest > tolerance:
            raise UserError(
                f"{output} was not written: the graph differs from the model by {compared.largest:.3g} grey levels "
                f"of 255, more than {tolerance:g}; try the other kind, --static, or raise --tolerance"
            )
        metadata = _metadata(built, info, task, count, captured, compared)
        write(converted, part, chosen, metadata)
        part.replace(output)
    log.info("%s: %s", output, _told(metadata, captured.bounds))
    return metadata


def _format(output: Path, kind: Format | None) -> Format:
    by_suffix = SUFFIXES.get(output.suffix.lower())
    if kind is None and by_suffix is None:
        raise UserError(f"--output {output}: name it .onnx or .pt2 (torch.export), or give --format")
    if output.is_dir():
        raise UserError(f"--output {output} is a folder: give a file in it")
    if not output.parent.is_dir():  # more likely a slip than a wish for new folders
        raise UserError(f"--output {output}: there is no folder {output.parent}: make it first")
    if kind is not None and by_suffix is not None and kind != by_suffix:
        raise UserError(f"--output {output} is named as {by_suffix}, --format says {kind}: leave one out")
    return kind or by_suffix or "onnx"


def _frames(model: Predictor, task: Task, asked: int | None) -> int:
    most = 1 if model.between else model.steps if model.needs_flow else None
    if asked is None:
        return task.horizon if most is None else min(task.horizon, most)
    if most is not None and asked > most:
        why = "gives the one frame between two" if model.between else "needs the flow of what it predicts for more"
        raise UserError(f"--frames {asked}: this model {why}: at most {most}")
    return asked


def _metadata(
    model: Predictor, info: Mapping[str, Any], task: Task, frames: int, captured: Captured, compared: Compared
) -> dict[str, Any]:
    """All that somebody needs who has only the file."""
    batch, height, width = (
        name if low != high else high
        for name, (low, high) in zip(
            ("batch", "height", "width"),
            (captured.bounds.batch, captured.bounds.height, captured.bounds.width),
            strict=True,
        )
    )
    shape = [batch, task.context, task.channels, height, width]
    inputs: dict[str, Any] = {
        CONTEXT: {"shape": shape, "dtype": "float32", "what": "the last frames, oldest first, RGB, uint8 / 255"}
    }
    if model.needs_flow:
        inputs[FLOW] = {
            "shape": [batch, task.context - 1, 2, height, width],
            "dtype": "float32",
            "what": "optical flow from each frame but the first back to the one before, in pixels, x then y",
            "computed": dict(info.get("flow", {})),
        }
    what = "the frame between the two" if model.between else "the frames that follow"
    return {
        "model": info["name"],
        "config": info["config"],
        "task": info["task"],
        "data_id": info.get("data_id"),
        "weights_sha256": info["weights_sha256"],
        "fps": info.get("fps"),
        "inputs": inputs,
        "outputs": {
            FRAMES: {
                "shape": [batch, frames, task.channels, height, width],
                "dtype": "float32",
                "what": f"{what}, RGB in [0, 1]: round(255 * frames) is what vidpred gives",
            }
        },
        "bounds": captured.bounds.as_json(),
        "compared": {
            "largest_difference_grey_levels": round(compared.largest, 6),
            "batch_height_width": [list(shape) for shape in compared.shapes],
            "of": ["noise", "moving pictures"],
        },
        "versions": {
            "vidpred": vidpred.__version__,
            **{name: importlib.metadata.version(name) for name in ("torch", "onnx", "onnxruntime") if _is_there(name)},
        },
    }


def _is_there(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _told(metadata: Mapping[str, Any], bounds: Bounds) -> str:
    inputs = " and ".join(f"{name} {tuple(said['shape'])}" for name, said in metadata["inputs"].items())
    outputs = " and ".join(f"{name} {tuple(said['shape'])}" for name, said in metadata["outputs"].items())
    off = metadata["compared"]["largest_difference_grey_levels"]
    return (
        f"{inputs} to {outputs}; {bounds.told()}; at most {off:.3g} grey levels of 255 off the original in "
        f"{len(metadata['compared']['batch_height_width'])} shapes"
    ).replace("'", "")
