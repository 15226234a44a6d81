"""`vidpred export`: a model as one file for other runtimes, written only if it answers what the original answers."""

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
from vidpred.models.files import task_from
from vidpred.serving.export.bounds import Bounds
from vidpred.serving.export.compare import Compared, compare
from vidpred.serving.export.files import SUFFIXES, Format, check_installed, convert, open_runner, write
from vidpred.serving.export.graph import FLOW, Captured, capture
from vidpred.serving.export.subject import Subject, subject_of
from vidpred.tracking.opening import open_model
from vidpred.types import Model, Task

log = logging.getLogger(__name__)


def export_model(
    model: str,
    output: Path,
    *,
    kind: Format | None = None,
    frames: int | None = None,
    static: bool = False,
    tolerance: float | None = None,
) -> dict[str, Any]:
    """Writes a model as one file, after it was held against the original.

    Args:
        model: As `download` takes it.
        output: The file; its folder must be there. An existing file is replaced, once the new one is good.
        kind: `onnx` or `torch`; None: by the file's suffix, `.onnx` or `.pt2`.
        frames: How many the graph gives; None: as many as the model was trained for. A model that needs flow gives at
            most those of one step, a classifier none.
        static: Whether batch and size are fixed.
        tolerance: By how much the graph may differ anywhere: in grey levels of 255 (None: 1), of a classifier in
            percentage points of probability (None: 0.1).

    Returns:
        The file's metadata.

    Raises:
        UserError: the options make no sense, the model cannot be had or captured, or the graph differs from it.
    """
    chosen = _format(output, kind)
    check_installed(chosen)
    built, info = open_model(model, Model)
    task = task_from(info["task"])
    subject = subject_of(built, task, frames)
    most = subject.tolerance if tolerance is None else tolerance
    with tempfile.TemporaryDirectory(prefix=".vidpred-export-", dir=output.parent) as temporary:
        part = Path(temporary) / f"model{next(s for s, its in SUFFIXES.items() if its == chosen)}"
        log.info("%s: capturing the graph, which takes seconds to minutes", model)
        captured = capture(subject.graph, task, sizes=subject.sizes, static=static)
        if captured.why and not static:
            log.info("not everything may vary: %s", captured.why)
        log.info("captured: %s; writing it as %s", captured.bounds.told(), output.name)
        converted = convert(captured.program, chosen, subject.output)
        write(converted, part, chosen, {})
        shapes = captured.bounds.tried(task)
        with progress("comparing with the original", len(shapes)) as advance:
            compared = compare(subject, open_runner(part, chosen), task, info, shapes, advance=advance)
        if compared.largest > most:
            raise UserError(
                f"{output} was not written: the graph differs from the model by {compared.largest:.3g} "
                f"{subject.unit}, more than {most:g}; try the other kind, --static, or raise --tolerance"
            )
        metadata = _metadata(subject, info, task, captured, compared)
        write(converted, part, chosen, metadata)
        part.replace(output)
    log.info("%s: %s", output, _told(metadata, subject, captured.bounds))
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


def _metadata(
    subject: Subject, info: Mapping[str, Any], task: Task, captured: Captured, compared: Compared
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
    told = subject.told(batch, height, width)
    if subject.needs_flow:
        told["inputs"][FLOW] = {
            "shape": [batch, task.context - 1, 2, height, width],
            "dtype": "float32",
            "what": "optical flow from each frame but the first back to the one before, in pixels, x then y",
            "computed": dict(info.get("flow", {})),
        }
    return {
        "model": info["name"],
        "config": info["config"],
        "task": info["task"],
        "data_id": info.get("data_id"),
        "weights_sha256": info["weights_sha256"],
        "fps": info.get("fps"),
        **told,
        "bounds": captured.bounds.as_json(),
        "compared": {
            subject.figure: round(compared.largest, 6),
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


def _told(metadata: Mapping[str, Any], subject: Subject, bounds: Bounds) -> str:
    inputs = " and ".join(f"{name} {tuple(said['shape'])}" for name, said in metadata["inputs"].items())
    outputs = " and ".join(f"{name} {tuple(said['shape'])}" for name, said in metadata["outputs"].items())
    off, shapes = metadata["compared"][subject.figure], len(metadata["compared"]["batch_height_width"])
    return (
        f"{inputs} to {outputs}; {bounds.told()}; at most {off:.3g} {subject.unit} off the original in "
        f"{shapes} shape{'s' * (shapes != 1)}"
    ).replace("'", "")
