"""The two formats: a captured graph becomes a file with its metadata, and is read back as what a user would run."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.export import ExportedProgram

from vidpred.errors import UserError
from vidpred.serving.export.compare import Runner

Format = Literal["onnx", "torch"]
SUFFIXES: dict[str, Format] = {".onnx": "onnx", ".pt2": "torch"}
METADATA = "vidpred"
"""Key of the metadata in an ONNX file."""
METADATA_FILE = "vidpred.json"
"""Its name in a file of torch.export."""
_ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def check_installed(kind: Format) -> None:
    """Does nothing where a format can be written.

    Raises:
        UserError: packages are missing; says which and how to get them.
    """
    missing = [name for name in _ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if kind == "onnx" and missing:
        raise UserError(f"ONNX needs {', '.join(missing)}: `pip install 'vidpred[onnx]'`")


def convert(program: ExportedProgram, kind: Format, output: str) -> Any:
    """A captured graph in a kind, without metadata; ONNX knows its output by that name.

    Raises:
        UserError: ONNX has no word for something in the graph.
    """
    if kind == "torch":
        return program
    from torch.onnx.errors import OnnxExporterError

    try:
        with _quiet():
            converted = torch.onnx.export(
                program, output_names=[output], external_data=False, verbose=False, optimize=True
            )
    except OnnxExporterError as error:
        line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"the graph cannot be said in ONNX: {line[:300]}") from error
    assert converted is not None
    proto = converted.model_proto
    _name_axes(proto.graph)
    return proto


def _name_axes(graph: Any) -> None:
    """What may vary gets its name in place of torch's symbols."""
    named: dict[str, str] = {}
    for value in (*graph.input, *graph.output):
        for axis, name in ((0, "batch"), (3, "height"), (4, "width")):
            dims = value.type.tensor_type.shape.dim
            if axis < len(dims) and (dim := dims[axis]).dim_param:
                named[dim.dim_param] = name
                dim.dim_param = name
    for value in graph.value_info:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in named:
                dim.dim_param = named[dim.dim_param]


def write(converted: Any, path: Path, kind: Format, metadata: Mapping[str, Any]) -> None:
    """Writes what `convert` gave."""
    said = json.dumps(metadata, indent=2, sort_keys=True)
    if kind == "torch":
        with _quiet():
            torch.export.save(converted, path, extra_files={METADATA_FILE: said})
        return
    import onnx

    onnx.helper.set_model_props(converted, {METADATA: said})
    converted.producer_name = "vidpred"
    onnx.checker.check_model(converted, full_check=True)
    onnx.save(converted, str(path))


def open_runner(path: Path, kind: Format) -> Runner:
    """A written file as its users run it, on the CPU."""
    if kind == "torch":
        with _quiet():
            module = torch.export.load(path).module()

        def run_torch(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
            with torch.inference_mode():
                frames: np.ndarray = module(*(torch.from_numpy(value) for value in inputs.values())).numpy()
            return frames

        return run_torch
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    output = session.get_outputs()[0].name

    def run_onnx(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.asarray(session.run([output], dict(inputs))[0])

    return run_onnx


def read_metadata(path: Path) -> dict[str, Any]:
    """What an exported file says of itself.

    Raises:
        UserError: it is none of ours.
    """
    kind = SUFFIXES.get(path.suffix)
    said: str | None = None
    if kind == "onnx":
        import onnx

        model = onnx.load(str(path), load_external_data=False)
        said = next((entry.value for entry in model.metadata_props if entry.key == METADATA), None)
    elif kind == "torch":
        extra = {METADATA_FILE: ""}
        with _quiet():
            torch.export.load(path, extra_files=extra)
        said = extra[METADATA_FILE]
    if not said:
        raise UserError(f"{path} was not written by `vidpred export`")
    found: dict[str, Any] = json.loads(said)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """torch tells developers of its exporters, at length; a user can change nothing of it."""
    before = {name: logging.getLogger(name).level for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")}
    try:
        for name in before:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
