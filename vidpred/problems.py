"""What pydantic found wrong with a user's file, in words: the place, the value, and what it must be.

In: pydantic's error, the model that was asked for, and what was given. Out: one line.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    Loc = tuple[int | str, ...]


_WANTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a section of `key: value` lines",
    "model_type": "a section of `key: value` lines",
    "literal_error": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_pattern_mismatch": "of the form {pattern}",
    "too_short": "a list of {min_length} or more",
    "too_long": "a list of {max_length} at the most",
    "tuple_type": "a list",
}
"""What each of pydantic's errors asks for."""
_OTHER_KIND = {"list_type", "dict_type", "model_type"}
"""Of a value that may be of several kinds, it is the other kinds that say so."""


def problems(error: ValidationError, model: type[BaseModel], raw: object) -> str:
    """What pydantic found wrong, in words: each place with its value, and what it must be.

    Args:
        error: What validation raised.
        model: What was asked for; its fields are what an unknown key may have meant.
        raw: What was given.
    """
    found = [(_place(details["loc"], raw, missing=details["type"] == "missing"), details) for details in error.errors()]
    sentences: dict[str, list[str]] = {}
    for place, details in found:
        below = (f"{place}.", f"{place}[")
        if details["type"] in _OTHER_KIND and any(
            (other == place and its["type"] not in _OTHER_KIND) or other.startswith(below) for other, its in found
        ):
            continue
        opening, wanted = _sentence(place, details, model)
        told = sentences.setdefault(opening, [])
        if wanted and wanted not in told:
            told.append(wanted)
    return "; ".join(opening + _or(wanted) for opening, wanted in sentences.items())


def _sentence(place: str, details: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    """How a problem's sentence opens, and what is wanted; several that open alike are one sentence."""
    kind, context = details["type"], details.get("ctx", {})
    if kind == "missing":
        return f"{place} is missing", ""
    if kind == "extra_forbidden":
        return f"{place} is unknown: ", _instead(details["loc"][-1], _keys(model, details["loc"][:-1]))
    if kind == "literal_error" and details["loc"][-1] == "[key]":
        return f"{place} is unknown: ", _instead(details["input"], re.findall(r"'([^']*)'", context["expected"]))
    if kind == "value_error":
        return f"{place}: " if place else "", str(context["error"])
    limits = {name: _plain(limit) for name, limit in context.items()}
    wanted = _WANTED.get(kind, details["msg"].removeprefix("Input should be ")).format(**limits)
    return f"{place or 'it'} is {_shown(details['input'])}: it must be ", wanted


def _or(wanted: list[str]) -> str:
    return " or ".join([", ".join(wanted[:-1]), wanted[-1]] if len(wanted) > 1 else wanted)


def _place(loc: Loc, raw: object, *, missing: bool) -> str:
    """Where a problem is, as a person would say it: without pydantic's names for the kinds that were tried."""
    parts = ""
    for i, part in enumerate(loc):
        if isinstance(raw, dict) and part in raw:
            raw, parts = raw[part], f"{parts}.{part}"
        elif isinstance(raw, list) and isinstance(part, int):
            raw, parts = raw[part] if part < len(raw) else None, f"{parts}[{part}]"
        elif missing and i == len(loc) - 1:
            parts = f"{parts}.{part}"
    return parts.removeprefix(".")


def _plain(limit: object) -> object:
    """Without what only a program needs: 0 for 0.0, a pattern without its anchors."""
    if isinstance(limit, str):
        return limit.removeprefix("^").removesuffix("$")
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _shown(value: object) -> str:
    """A value as it stands in YAML, cut short."""
    if value is None:
        return "empty"
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _instead(wrong: object, known: list[str]) -> str:
    near = difflib.get_close_matches(str(wrong), known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"there {'is' if len(known) == 1 else 'are'} {', '.join(known)}"


def _keys(model: type[BaseModel], loc: Loc) -> list[str]:
    """The fields that there are at a place of a model."""
    kinds: list[Any] = [model]
    for part in loc:
        kinds = [kind for above in kinds for kind in _below(above, part)] or kinds
    return [name for kind in kinds for name in _fields(kind)]


def _below(kind: Any, part: int | str) -> Iterator[Any]:
    """What types a part of this type may have."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from _below(arguments[0], part)
    elif origin in (Union, UnionType):
        for argument in arguments:
            yield from _below(argument, part)
    elif origin is dict or (origin is list and isinstance(part, int)):
        yield from _flat(arguments[-1])
    elif part in (fields := _fields(kind)):
        yield from _flat(fields[str(part)])


def _flat(kind: Any) -> Iterator[Any]:
    """The types of a union, one by one."""
    if get_origin(kind) in (Union, UnionType):
        yield from get_args(kind)
    else:
        yield kind


def _fields(kind: Any) -> dict[str, Any]:
    fields = getattr(kind, "model_fields", {})
    return {field.alias or name: field.annotation for name, field in fields.items()}
