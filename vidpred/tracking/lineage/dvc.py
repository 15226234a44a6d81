"""What DVC knows of a project: which stages agree with what lies here, hashes as dvc.lock has them, the cache.

In: a project. Out: hashes and paths. DVC's own command is asked where its state counts; files are hashed here where its
memory of unchanged files is not to be trusted.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

LOCK = "dvc.lock"
_STATUS_SECONDS = 300


def command(*arguments: str) -> list[str]:
    """The DVC of this environment."""
    return [sys.executable, "-m", "dvc", *arguments]


def environment() -> dict[str, str]:
    """For commands of DVC: the programs of this environment come first, as with `make repro`."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def experiment() -> tuple[str, str]:
    """Name and baseline commit of the experiment that `dvc exp run` is running this process for; empty: none."""
    return os.environ.get("DVC_EXP_NAME", ""), os.environ.get("DVC_EXP_BASELINE_REV", "")


def stages_of(root: Path) -> dict[str, Any]:
    """Stages of a dvc.lock, by name; empty where it is missing or damaged."""
    return read_stages((root / LOCK).read_bytes()) if (root / LOCK).is_file() else {}


def read_stages(content: bytes) -> dict[str, Any]:
    """Stages of the text of a dvc.lock or dvc.yaml; empty where it is damaged."""
    try:
        found = yaml.safe_load(content)["stages"]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def outputs(stage: Mapping[str, Any]) -> dict[str, str]:
    """Path to md5 of what a stage of dvc.lock has made."""
    return {str(out["path"]): str(out.get("md5", "")) for out in stage.get("outs", []) if "path" in out}


def dependencies(stage: Mapping[str, Any]) -> dict[str, str]:
    """Path to md5 of what a stage of dvc.lock has read."""
    return {str(dep["path"]): str(dep.get("md5", "")) for dep in stage.get("deps", []) if "path" in dep}


def before(stages: Mapping[str, Any], name: str) -> list[str]:
    """Stages of a dvc.yaml or dvc.lock that a stage depends on, directly or not, in the file's order."""
    made = {path: one for one, spec in stages.items() for path in _paths(spec, ("outs", "metrics", "plots"))}
    found, todo = set(), [name]
    while todo:
        for dep in _paths(stages.get(todo.pop(), {}), ("deps",)):
            maker = made.get(dep) or next((one for path, one in made.items() if dep.startswith(f"{path}/")), None)
            if maker and maker not in found:
                found.add(maker)
                todo.append(maker)
    return [one for one in stages if one in found and one != name]


def _paths(spec: Mapping[str, Any], kinds: Sequence[str]) -> Iterator[str]:
    for kind in kinds:
        for entry in spec.get(kind, []):
            if isinstance(entry, Mapping):  # in dvc.lock with its path, in dvc.yaml with its settings
                yield str(entry["path"]) if "path" in entry else str(next(iter(entry)))
            else:
                yield str(entry)


def stale(root: Path, stage: str) -> dict[str, list[str]] | None:
    """Which of the stages up to this one do not agree with dvc.lock, and why; None where DVC cannot tell."""
    try:
        done = subprocess.run(
            command("status", "--json", "--with-deps", stage), cwd=root, env=environment(), stdin=subprocess.DEVNULL,
            capture_output=True, timeout=_STATUS_SECONDS, check=True,
        )  # fmt: skip
        told: dict[str, list[Any]] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return {name: list(_reasons(entries)) for name, entries in told.items()}


def _reasons(entries: Sequence[Any]) -> Iterator[str]:
    for entry in entries:
        if not isinstance(entry, Mapping):
            yield str(entry)
            continue
        for kind, items in entry.items():
            flat: dict[str, str] = {}
            for path, how in items.items():  # of params.yaml: a field each
                flat |= (
                    {f"{path}: {field}": one for field, one in how.items()} if isinstance(how, Mapping) else {path: how}
                )
            yield f"{kind}: {', '.join(f'{path} ({how})' for path, how in flat.items())}"


def in_few(reasons: Sequence[str], most: int = 3) -> str:
    """What of the reasons of `stale` a person can take in: the first few changes, and how many more there are."""
    changes = [change for reason in reasons for change in (reason.partition(": ")[2] or reason).split(", ")]
    more = len(changes) - most
    return ", ".join(changes[:most]) + (f" and {more} more" if more > 0 else "")


def md5_of(path: Path) -> str:
    """The hash that dvc.lock has of a file or folder."""
    if path.is_file():
        return _md5(path)
    return tree_md5(
        {file.relative_to(path).as_posix(): _md5(file) for file in sorted(path.rglob("*")) if file.is_file()}
    )


def tree_md5(files: Mapping[str, str]) -> str:
    """The hash that dvc.lock has of a folder: over its files' own, as DVC writes them down."""
    rows = [{"md5": md5, "relpath": name} for name, md5 in sorted(files.items())]
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def cache_of(root: Path) -> Path | None:
    """The folder of DVC's cache; None where DVC cannot tell."""
    told = _asked(root, "cache", "dir")
    return (root / told).resolve() if told else None


def has_remote(root: Path) -> bool:
    """Whether `dvc pull` has a place to pull from."""
    return bool(_asked(root, "remote", "default"))


def _asked(root: Path, *arguments: str) -> str:
    """What a command of DVC prints; nothing where it fails."""
    try:
        done = subprocess.run(
            command(*arguments), cwd=root, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=_STATUS_SECONDS, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def cached(cache: Path, md5: str) -> Path:
    """Where the cache has, or would have, an object."""
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def files_in_cache(cache: Path, md5: str) -> dict[str, str] | None:
    """Name to md5 of the files of a folder that the cache knows; a file by an empty name; None: it does not know it."""
    if not md5.endswith(".dir"):
        return {"": md5} if cached(cache, md5).is_file() else None
    try:
        rows = json.loads(cached(cache, md5).read_bytes())
        return {str(row["relpath"]): str(row["md5"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return None
