"""The whole state of a run on disk: enough to go on as if nothing had happened, and no pickle.

A checkpoint is a folder `step-00000100/` with `state.safetensors` (weights, their average, the optimiser's moments)
and `state.json` (numbers). It is written under another name and renamed, so one that is there is whole; the newest
two are kept.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

_NAME = re.compile(r"step-(\d+)")


def save(folder: Path, step: int, tensors: dict[str, Tensor], numbers: dict[str, Any], *, keep: int = 2) -> Path:
    """Writes the checkpoint of a step and removes all but the newest `keep`."""
    target = folder / f"step-{step:08d}"
    part = folder / f".part-{target.name}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file(
        {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, part / "state.safetensors"
    )
    (part / "state.json").write_text(json.dumps(numbers | {"step": step}, indent=2))
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    for old in _all(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if _NAME.fullmatch(path.name))


def latest(folder: Path) -> Path | None:
    """The newest checkpoint of a folder, if any."""
    found = _all(folder)
    return found[-1] if found else None


def load(checkpoint: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and numbers of a checkpoint."""
    return load_file(checkpoint / "state.safetensors"), json.loads((checkpoint / "state.json").read_text())
