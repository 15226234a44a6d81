"""Every model by name: which there are, their configs, and how to build and measure one.

A model is a file in `predict/` or `classify/`, and some names are in both; in goes the name, a mapping of config fields
and the task, out comes a `Predictor` or, where the task's kind is `classify`, a `Classifier`.
"""

from __future__ import annotations

import difflib
import importlib
import math
import pkgutil
from collections.abc import Iterable, Mapping
from types import ModuleType, NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, overload

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from vidpred.errors import UserError
from vidpred.models import classify, predict
from vidpred.types import Model, Predictor, Task

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PACKAGES = {"predict": predict, "interpolate": predict, "classify": classify}
"""Where the models for each kind of task are."""
PLAIN_TASKS = {
    "predict": Task(context=5, horizon=1, height=64, width=64),
    "interpolate": Task(context=2, horizon=1, height=64, width=64, kind="interpolate"),
    "classify": Task(context=8, horizon=0, height=64, width=64, kind="classify", classes=("yes", "no")),
}
"""A task of each kind, where none is given."""
M = TypeVar("M", bound=Model)


def names(kind: str = "predict") -> list[str]:
    """The models there are for a kind of task, sorted: the files in its folder."""
    folder = _package(kind).__path__
    return sorted(found.name for found in pkgutil.iter_modules(folder) if not found.name.startswith("_"))


def module(name: str, kind: str = "predict") -> ModuleType:
    """The file of a model.

    Raises:
        UserError: no model for that kind of task has that name; says the nearest one.
    """
    known = names(kind)
    if name not in known:
        others = {"predict": "predicts", "classify": "classifies clips"}
        does = [what for other, what in others.items() if name in names(other)]
        said = f"{name} {does[0]} and does nothing else" if does else f"no model is called {name!r}"
        raise UserError(f"{said}: {_instead(name, known)}")
    return importlib.import_module(f"{_package(kind).__name__}.{name}")


def config_of(name: str, fields: Mapping[str, object], kind: str = "predict") -> DataclassInstance:
    """The complete, checked config of a model: defaults where `fields` says nothing.

    Raises:
        UserError: unknown model or field (says the nearest one), or a value that the field cannot take.
    """
    config_type = module(name, kind).Config
    hints = get_type_hints(config_type)
    values = {}
    for field, value in fields.items():
        if field not in hints:
            raise UserError(f"{name} has no config field {field!r}: {_instead(field, hints)}")
        values[field] = _convert(f"{name}: {field}", value, hints[field])
    config: DataclassInstance = config_type(**values)
    return config


@overload
def build(name: str, config: Mapping[str, object], task: Task) -> Predictor: ...


@overload
def build(name: str, config: Mapping[str, object], task: Task, of: type[M]) -> M: ...


def build(name: str, config: Mapping[str, object], task: Task, of: type[Model] = Model) -> Model:
    """A new model in training mode, on the CPU; weights drawn from torch's global generator.

    Args:
        name: One of `names(task.kind)`.
        config: Fields of the model's own config; the others keep their defaults.
        task: What is asked of it.
        of: `Predictor`, `Classifier`, or `Model` for either. Left out, types promise a Predictor, which most callers
            want, and what comes is what the task asks for.

    Raises:
        UserError: see `config_of`; or the model cannot do the task.
        TypeError: the task's models are not `of` this kind.
    """
    if task.kind == "classify" and len(set(task.classes)) < 2:
        raise UserError(f"to classify takes two classes or more, and the task has {len(set(task.classes))}: name them")
    if task.between and (task.context, task.horizon) != (2, 1):
        raise UserError(
            f"to interpolate is to give the middle one of three frames, not {task.horizon} from {task.context}: "
            "set task.context to 2 and task.horizon to 1"
        )
    model: Model = module(name, task.kind).build(config_of(name, config, task.kind), task)
    if not isinstance(model, of):
        raise TypeError(f"{name} for task {task.kind!r} is no {of.__name__}")
    if isinstance(model, Predictor):
        model.between = task.between
    for weight in model.parameters():
        if weight.dim() == 4:  # channels-last is what CPUs and GPUs convolve fastest, on a CPU by a factor
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        if weight.dim() == 5:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last_3d)
    return model


def search(name: str, kind: str = "predict") -> dict[str, Any]:
    """What a sweep may try of a model: its file's `SEARCH`, laid out as under `tune.models`; {}: it names nothing.

    Raises:
        UserError: no model has that name.
    """
    return dict(getattr(module(name, kind), "SEARCH", {}))


def variants(name: str, kind: str = "predict") -> list[str]:
    """What `variant` of a model's config may be, its default first; []: it has none.

    Raises:
        UserError: no model has that name.
    """
    return [str(value) for value in get_args(get_type_hints(module(name, kind).Config).get("variant"))]


def is_trained(name: str, kind: str = "predict") -> bool:
    """Whether a model has parameters to train.

    Raises:
        UserError: no model has that name.
    """
    with torch.random.fork_rng(devices=[]):  # asking must not change what is drawn next
        return parameters(build(name, {}, PLAIN_TASKS[kind], Model)) > 0


def parameters(model: torch.nn.Module) -> int:
    """Trainable numbers of a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def operations(model: Model, task: Task) -> int:
    """Multiply-adds of one predicted frame, for one window; of a classifier, of one clip.

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
    return round(total / 2 / (model.steps if isinstance(model, Predictor) else 1))


def _package(kind: str) -> ModuleType:
    if kind not in PACKAGES:
        raise UserError(f"the task is {kind!r}: {_instead(kind, PACKAGES)}")
    return PACKAGES[kind]


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
    if hint == tuple[str, ...] and isinstance(value, str | list | tuple):
        each = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else list(value)
        return tuple(str(part) for part in each)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int and number and float(value) == int(value):  # type: ignore[arg-type,call-overload]
        return int(value)  # type: ignore[call-overload]
    if hint is float and number:
        return float(value)  # type: ignore[arg-type]
    if hint in (bool, str) and isinstance(value, hint):
        return value
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    raise UserError(f"{where} is {value!r}: give {wanted.get(hint, hint)}")
