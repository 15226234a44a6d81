"""`vidpred <stage>`: one stage of dvc.yaml, run now, whatever its state."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from vidpred.commands.check import check_params, check_source
from vidpred.errors import UserError
from vidpred.workspace import find_root


def run(name: str, arguments: Sequence[str] = (), *, keep: bool = False) -> NoReturn:
    """Removes the stage's old outputs, as `dvc repro` does, and becomes `python -m stages.<name>` in the root.

    Args:
        name: Of the stage.
        arguments: Of its command line.
        keep: Leave the old outputs: the stage puts new ones in their place, and may find that it is not its turn.

    Raises:
        UserError: not in a project, params.yaml is not sound, or what the stage reads is not there yet. Nothing is
            removed then.
    """
    root = find_root()
    params = check_params(root / "params.yaml")
    if name == "fetch":
        check_source(root, params.fetch.source)
    stages: dict[str, dict[str, Any]] = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    makers = {path: stage for stage, spec in stages.items() for path in _outputs(spec)}
    for path in stages[name].get("deps", []):
        if "${" in path or (root / path).exists():
            continue
        maker = makers.get(path) or next((m for p, m in makers.items() if path.startswith(f"{p}/")), None)
        remedy = f"`dvc repro {maker}` makes it" if maker else "it belongs to the project: get it back with git"
        raise UserError(f"{name} reads {path}, which is not there: {remedy}")
    for path in () if keep else _outputs(stages[name]):
        _remove(root / path)
    os.chdir(root)
    sys.stdout.flush()
    # in this process: signals and the exit code are the stage's own
    os.execv(sys.executable, [sys.executable, "-m", f"stages.{name}", *arguments])


def _outputs(spec: dict[str, Any]) -> list[str]:
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in spec.get(kind, [])]
    return [path for entry in entries for path in (entry if isinstance(entry, dict) else [entry])]


def _remove(path: Path) -> None:
    # a file may be a link into DVC's cache: writing over it in place would spoil the cache
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
