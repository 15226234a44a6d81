"""How a model wants clips to be read: as those were that it was trained on.

In: model.json. Out: fields of `media.Look`. What an older model.json does not tell is what `transcode` does by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidpred.types import Task

DEFAULTS = {"fit": "crop", "background": "white", "crop_bars": False}
"""Fields of model.json that `transcode` decided: how another shape is brought to the model's, what shows through where
a source is transparent, and whether black bars are cut off first."""


def told(info: Mapping[str, Any]) -> dict[str, Any]:
    """Each of `DEFAULTS`, as model.json has it."""
    return {name: info.get(name, default) for name, default in DEFAULTS.items()}


def fields(info: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Of `media.Look`, all that the model decides."""
    return {"height": task.height, "width": task.width, **told(info)}
