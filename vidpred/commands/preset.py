"""`vidpred preset`: a data protocol of `presets/` into params.yaml, whose comments and other values stay.

A preset is a part of a params.yaml. Its first comment says what it is for, with the command, the hardware, the time and
the figure to expect.
"""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vidpred.commands.check import check_source
from vidpred.config import Params, Section, load_params
from vidpred.errors import UserError
from vidpred.workspace import atomic, find_root


def list_presets() -> list[str]:
    """A line for each: its name and the first line of what it says."""
    return [f"{path.stem:16s} {told(path)[0]}" for path in sorted((find_root() / "presets").glob("*.yaml"))]


def told(path: Path) -> list[str]:
    """What a preset says of itself: its first comment, line by line."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return lines or [""]


def apply_preset(name: str, source: str | None = None) -> list[str]:
    """Writes a preset's values into params.yaml.

    Args:
        name: Of a file in `presets/`, without its ending.
        source: For `fetch.source`, in place of the preset's.

    Returns:
        What changed, a line each: `train.steps: 1500 -> 6000`.

    Raises:
        UserError: not in a project, no such preset or source, or params.yaml would not be sound with it; it stays as it
            was then.
    """
    from ruamel.yaml import YAML

    root = find_root()
    known = {path.stem: path for path in sorted((root / "presets").glob("*.yaml"))}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        meant = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"no preset is called '{name}': {meant}presets/ has {', '.join(known) or 'none'}")
    path = known[name]
    if source is not None:
        check_source(root, source, where="--source")
    yaml = YAML()
    yaml.width = 120
    yaml.preserve_quotes = True
    yaml.representer.add_representer(type(None), lambda to, _: to.represent_scalar("tag:yaml.org,2002:null", "null"))
    target = root / "params.yaml"
    params, preset = yaml.load(target.read_text()), yaml.load(path.read_text())
    if source is not None:
        preset.setdefault("fetch", {})["source"] = source
    changes = list(_merge(params, preset))
    text = io.StringIO()
    yaml.dump(params, text)
    with atomic(target) as part:
        part.write_text(text.getvalue())
        try:
            load_params(part)
        except UserError as error:
            raise UserError(f"preset {name}: {str(error).replace(str(part), 'params.yaml')}") from None
    return changes


def _merge(
    params: dict[str, Any], preset: dict[str, Any], section: type[Section] = Params, at: str = ""
) -> Iterator[str]:
    """Sections value by value, any other mapping as a whole: a `train.loss` that names one loss wants no other."""
    for key, value in preset.items():
        place = f"{at}{key}"
        inner = _section(section, key)
        if inner and isinstance(value, dict) and isinstance(params.get(key), dict):
            yield from _merge(params[key], value, inner, f"{place}.")
        elif key not in params or params[key] != value:
            yield f"{place}: {_shown(params.get(key, 'not there'))} -> {_shown(value)}"
            params[key] = value


def _section(section: type[Section], key: str) -> type[Section] | None:
    """The section that stands under a key, if it is one."""
    for name, field in section.model_fields.items():
        if key == (field.alias or name) and isinstance(field.annotation, type):
            return field.annotation if issubclass(field.annotation, Section) else None
    return None


def _shown(value: Any) -> str:
    """As a line of YAML has it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
