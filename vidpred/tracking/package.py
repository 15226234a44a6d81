"""A trained model as a folder that MLflow runs anywhere: weights, description, code and exact requirements.

In: a folder of `model.safetensors` and `model.json`. Out: a pyfunc model from code, without any pickle; the two files
lie in its `artifacts`. The code is this package's `models` and what they import, nothing else of it.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import vidpred
from vidpred.models import zoo
from vidpred.models.files import INFO, WEIGHTS, task_from
from vidpred.types import Model

SEEN = "seen.json"
"""What the model was chosen and trained on, beside its weights."""
ARTIFACTS = "artifacts"
"""Where MLflow puts a model's files."""
WINDOWS = 8
"""Of a clip that a classifier scores, unless told otherwise; `pyfunc_classes` has the same."""

_ALWAYS = ("__init__.py", "py.typed", "types.py", "records.py", "errors.py", "models")
_FLOW = ("data/__init__.py", "data/flow.py")


def package(
    model_folder: Path,
    out: Path,
    *,
    info: Mapping[str, Any],
    seen: Mapping[str, Any],
    card: Path,
    example: np.ndarray,
    run_id: str,
) -> None:
    """Writes the folder.

    Args:
        model_folder: Of the trained model.
        out: Must not exist.
        info: What its model.json says.
        seen: What goes to `seen.json`.
        card: Folder of the card's files, which go beside the weights.
        example: uint8 (1, T, H, W, 3), frames that it may be given: its input example.
        run_id: The MLflow run that it belongs to.
    """
    with tempfile.TemporaryDirectory(prefix="vidpred-") as temporary, warnings.catch_warnings():
        # MLflow finds fault with its own type hints
        warnings.simplefilter("ignore")
        from mlflow.models import Model
        from mlflow.models.model import MLMODEL_FILE_NAME
        from mlflow.pyfunc import save_model

        staged = Path(temporary)
        flow, classifies = needs_flow(info), info["task"].get("kind") == "classify"
        _copy_code(staged / "vidpred", flow=flow)
        (staged / SEEN).write_text(json.dumps(seen, indent=2, sort_keys=True) + "\n")
        save_model(
            str(out),
            python_model=str(Path(__file__).with_name("pyfunc_classes.py" if classifies else "pyfunc_model.py")),
            code_paths=[str(staged / "vidpred")],
            artifacts={
                "weights": str(model_folder / WEIGHTS),
                "description": str(model_folder / INFO),
                "seen": str(staged / SEEN),
            },
            signature=_signature(info["task"]),
            input_example=example,
            pip_requirements=requirements(flow=flow, pandas=classifies),
            mlflow_model=Model(run_id=run_id),
        )
        for name in ("input_example.json", "serving_input_example.json"):  # MLflow gives each number a line
            path = out / name
            path.write_text(json.dumps(json.loads(path.read_bytes()), separators=(",", ":")))
        for path in sorted(card.iterdir()):
            shutil.copyfile(path, out / ARTIFACTS / path.name)
        _forget_sources(out / MLMODEL_FILE_NAME)
    for cache in list(out.rglob("__pycache__")):
        shutil.rmtree(cache)


def needs_flow(info: Mapping[str, Any]) -> bool:
    """Whether the model of a model.json wants optical flow."""
    return zoo.build(info["name"], info["config"], task_from(info["task"]), Model).needs_flow


def requirements(*, flow: bool, pandas: bool = False) -> list[str]:
    """Exact versions of what the model imports, as installed here; without local versions, which no index has."""
    names = ["mlflow", "numpy", "safetensors", "torch"]
    names += ["opencv-python-headless"] * flow + ["pandas"] * pandas
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in names]


def _forget_sources(path: Path) -> None:
    """Takes out of an MLmodel file where this machine had the parts; MLflow finds them by their names in the folder."""
    from mlflow.models import Model

    said = Model.load(str(path))
    flavor = said.flavors["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    said.save(str(path))


def _copy_code(into: Path, *, flow: bool) -> None:
    package_root = Path(vidpred.__file__).parent
    for name in (*_ALWAYS, *(_FLOW if flow else ())):
        source, target = package_root / name, into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)


def _signature(task: Mapping[str, Any]) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

    frames = TensorSpec(np.dtype(np.uint8), (-1, -1, task["height"], task["width"], 3))
    if task.get("kind") == "classify":
        return ModelSignature(
            inputs=Schema([frames]),
            outputs=Schema([ColSpec("double", name) for name in task["classes"]]),
            params=ParamSchema([ParamSpec("windows", "long", WINDOWS)]),
        )
    return ModelSignature(
        inputs=Schema([frames]),
        outputs=Schema([frames]),
        params=ParamSchema([ParamSpec("frames", "long", task["horizon"])]),
    )
