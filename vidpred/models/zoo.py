"""Every model by name: which there are, their configs, and how to build and measure one.

A model is a file in `predict/`; in goes its name, a mapping of config fields and the task, out comes a `Predictor`.
"""

from __future__ import annotations

import difflib
import importlib
import math
import pkgutil
from collections.abc import Iterable, Mapping
from types import ModuleType, NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from vidpred.errors import UserError
from vidpred.models import predict
from vidpred.types import Predictor, Task

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def names() -> list[str]:
    """The models there are, sorted: the files in `predict/`."""
    return sorted(found.name for found in pkgutil.iter_modules(predict.__path__) if not found.name.startswith("_"))


def module(name: str) -> ModuleType:
    """The file of a model.

    Raises:
        UserError: no model has that name; says the nearest one.
    """
    if name not in names():
        raise UserError(f"no model is called {name!r}: {_instead(name, names())}")
    return importlib.import_module(f"{predict.__name__}.{name}")


def config_of(name: str, fields: Mapping[str, object]) -> DataclassInstance:
    """The complete, checked config of a model: defaults where `fields` says nothing.

    Raises:
        UserError: unknown model or field (says the nearest one), or a value that the field cannot take.
    """
    config_type = module(name).Config
    hints = get_type_hints(config_type)
    values = {}
    for field, value in fields.items():
        if field not in hints:
            raise UserError(f"{name} has no config field {field!r}: {_instead(field, hints)}")
        values[field] = _convert(f"{name}: {field}", value, hints[field])
    config: DataclassInstance = config_type(**values)
    return config


def build(name: str, config: Mapping[str, object], task: Task) -> Predictor:
    """A new model in training mode, on the CPU; weights drawn from torch's global generator.

    Args:
        name: One of `names()`.
        config: Fields of the model's own config; the others keep their defaults.
        task: What is asked of it.

    Raises:
        UserError: see `config_of`; or the model cannot do the task.
    """
    if task.kind not in ("predict", "interpolate"):
        raise UserError(f"the task is {task.kind!r}: this version knows predict and interpolate")
    if task.between and (task.context, task.horizon) != (2, 1):
        raise UserError(
            f"to interpolate is to give the middle one of three frames, not {task.horizon} from {task.context}: "
            "set task.context to 2 and task.horizon to 1"
        )
    model: Predictor = module(name).build(config_of(name, config), task)
    model.between = task.between
    for weight in model.parameters():
        if weight.dim() == 4:  # channels-last is what CPUs and GPUs convolve fastest, on a CPU by a factor
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return model


def search(name: str) -> dict[str, Any]:
    """What a sweep may try of a model: its file's `SEARCH`, laid out as under `tune.models`; {}: it names nothing.

    Raises:
        UserError: no model has that name.
    """
    return dict(getattr(module(name), "SEARCH", {}))


def is_trained(name: str) -> bool:
    """Whether a model has parameters to train.

    Raises:
        UserError: no model has that name.
    """
    with torch.random.fork_rng(devices=[]):  # asking must not change what is drawn next
        return parameters(build(name, {}, Task(context=5, horizon=1, height=64, width=64))) > 0


def parameters(model: torch.nn.Module) -> int:
    """Trainable numbers of a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def operations(model: Predictor, task: Task) -> int:
    """Multiply-adds of one predicted frame, for one window.

    Counts convolutions and matrix products, as torch's own counter does; sampling, blending and pooling are left out,
    so a baseline without weights counts 0.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    context = torch.zeros(1, task.context, task.channels, task.height, task.width, device=device)
    flow = torch.zeros(1, task.context - 1, 2, task.height, task.width, device=device) if model.needs_flow else None
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_ON_CPUS) as counter:
            model(context, flow)
    finally:
        model.train(was_training)
    total: int = counter.get_total_flops()
    return round(total / 2 / model.steps)


def _attention(query: Any, key: Any, value: Any, *_: object, **__: object) -> int:
    """Of the shapes."""
    count: int = sdpa_flop_count(query, key, value)
    return count


def _recurrent(sequence: Any, of_input: Any, of_state: Any, *_: object, **__: object) -> int:
    """Of the shapes: a sequence (T, B, C) and both matrices of an LSTM's layer, each applied at every moment."""
    moments, batch, _ = sequence
    count: int = 2 * moments * batch * (math.prod(of_input) + math.prod(of_state))
    return count


_ON_CPUS: dict[Any, Any] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten.mkldnn_rnn_layer: _recurrent,
}
"""What torch's counter leaves out where a CPU computes it."""


def _instead(wrong: str, right: Iterable[str]) -> str:
    known = sorted(right)
    nearest = difflib.get_close_matches(wrong.lower(), known, n=1, cutoff=0.5)
    listed = f"there {'is' if len(known) == 1 else 'are'} {', '.join(known) or 'none'}"
    return f"did you mean {nearest[0]!r}? ({listed})" if nearest else listed


def _convert(where: str, value: object, hint: Any) -> object:
    """`value` as the type `hint`; whole floats pass as int, ints as float."""
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        choices = ", ".join(str(choice) for choice in get_args(hint))
        raise UserError(f"{where} is {value!r}: give one of {choices}")
    if get_origin(hint) in (Union, UnionType):
        if value is None and NoneType in get_args(hint):
            return None
        return _convert(where, value, next(arg for arg in get_args(hint) if arg is not NoneType))
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int and number and float(value) == int(value):  # type: ignore[arg-type,call-overload]
        return int(value)  # type: ignore[call-overload]
    if hint is float and number:
        return float(value)  # type: ignore[arg-type]
    if hint in (bool, str) and isinstance(value, hint):
        return value
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    raise UserError(f"{where} is {value!r}: give {wanted.get(hint, hint)}")
