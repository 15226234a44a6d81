"""What a model would take, before it is built: a stranger's config may ask for more than any machine has.

In: name, config and task of a model.json, and how large the weights beside it are. Out: the shapes of its tensors, made
on torch's `meta` device, which computes shapes only; so nothing is allocated, and a config that asks for far more than
its own weights hold is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.types import Model, Task

MOST_CALLS = 20_000
"""Of torch's functions while a model is built; the zoo's need a few hundred."""
SPARE_BYTES = 1 << 30
"""For what a model holds besides its weights, such as grids."""
TIMES = 32
"""How often its weights may be touched while it is built."""


def shapes_of(name: str, config: Mapping[str, object], task: Task, *, weights_bytes: int) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in the model's state, without building it.

    Args:
        name: Of the zoo.
        config: Fields that differ from the model's defaults, or all.
        task: What it was trained for.
        weights_bytes: Size of the weights that it is to get.

    Raises:
        UserError: no model of the zoo can be built so, or it would take far more than its weights hold.
    """
    try:
        with torch.device("meta"), _Meter(SPARE_BYTES + TIMES * weights_bytes):
            model: Model = zoo.build(name, config, task, Model)
    except UserError:
        raise
    except (RuntimeError, ValueError, TypeError, OverflowError, MemoryError, ZeroDivisionError, IndexError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"no {name} can be built with this config: {why:.200}") from None
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


class _Meter(TorchFunctionMode):
    """Ends the building of a model that takes too much."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._bytes_left = most_bytes
        self._calls_left = MOST_CALLS

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._calls_left -= 1
        if isinstance(out, torch.Tensor):
            self._bytes_left -= out.numel() * out.element_size()
        if self._calls_left < 0 or self._bytes_left < 0:
            raise UserError("its config asks for a model that is far larger than its weights: it is not built")
        return out
