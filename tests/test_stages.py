"""dvc.yaml names the code that decides a stage's results: a change to it makes the stage stale."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

TELLS_ONLY = (
    "vidpred/__init__.py",
    "vidpred/config/",  # checks values; DVC watches the values themselves
    "vidpred/errors.py",
    "vidpred/problems.py",
    "vidpred/workspace.py",
    "vidpred/data/__init__.py",
    "vidpred/data/progress.py",
)
"""Code that decides no result."""
STAGES = ("fetch", "transcode", "split", "flow", "tune", "sweep", "train", "evaluate", "register", "report")


def imported(path: Path, root: Path) -> set[Path]:
    """Files of the package that a file imports, at its top or inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] == "vidpred":
                base = root.joinpath(*name.split("."))
                found |= {p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()}
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_it_calls(stage: str, root: Path) -> None:
    deps = [str(dep) for dep in yaml.safe_load((root / "dvc.yaml").read_text())["stages"][stage]["deps"]]
    tells_only = TELLS_ONLY + (("vidpred/tracking/",) if stage in ("tune", "train") else ())
    if stage == "tune":  # who runs it, and the table in the terminal
        tells_only += ("vidpred/tuning/lease.py", "vidpred/tuning/live.py")
        tells_only += tuple(f"vidpred/cluster/{name}.py" for name in ("guard", "job", "jobs", "parcels", "remote"))
        tells_only += ("vidpred/data/storage.py",)  # how it gets there and back
    if stage == "transcode":  # where it runs changes no byte
        tells_only += ("vidpred/cluster/", "vidpred/data/storage.py")
    todo, seen = [root / "stages" / f"{stage}.py"], set()
    while todo:
        path = todo.pop()
        name = path.relative_to(root).as_posix()
        if path in seen or name.startswith(tells_only):
            continue
        seen.add(path)
        assert any(name == dep or name.startswith(f"{dep}/") for dep in deps), f"{stage} does not depend on {name}"
        todo += imported(path, root)
