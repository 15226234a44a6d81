"""Which code a result depends on: a hash over the files of modules and of all that they import of this package.

In: names of modules. Out: a digest, part of the key of a training and of a score, so that a changed model is trained
again and the others are not.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import vidpred
from vidpred.workspace import digest, file_sha256

_PACKAGE = Path(vidpred.__file__).parent
_KNOWN_OTHERWISE = (
    "vidpred.config", "vidpred.data.progress", "vidpred.data.split", "vidpred.errors", "vidpred.problems",
    "vidpred.workspace",
)  # fmt: skip
"""Their values are in the key, or they decide nothing: parameters, the split's segments, what is said to people."""


def code_digest(*modules: str) -> str:
    """sha256 over the sources of `modules` and of all modules of vidpred that these import, directly or not."""
    todo, seen = list(modules), dict[str, str]()
    while todo:
        name = todo.pop()
        path = _path(name)
        if path is None or name in seen or name in _KNOWN_OTHERWISE:
            continue
        seen[name], imported = _read(path)
        todo += imported
    return digest(seen)


def _path(name: str) -> Path | None:
    """The file of a module; None where a name is none, such as that of a function."""
    place = _PACKAGE.joinpath(*name.split(".")[1:])
    found = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in found if path.is_file()), None)


@cache  # what a process has imported does not change when the file does
def _read(path: Path) -> tuple[str, list[str]]:
    """The sha256 of a source, and the names that it imports from this package."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.startswith("vidpred.")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vidpred":
            names += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return file_sha256(path), names
