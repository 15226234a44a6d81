"""`vidpred clean`: frees what no output of this project needs any more in `VIDPRED_HOME`.

What goes: frames, sweeps and checkpoints under keys that are no longer the current ones, downloads of URLs that are no
longer asked for, and copies of registered models. All of it can be made again. Never the MLflow store, nor a folder
that a process is using.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import typer
import yaml
from rich.console import Console

from vidpred.config import load_params
from vidpred.errors import UserError
from vidpred.workspace import find_root, home, stage_key

FRESH_SECONDS = 3600
"""A download touched since then may be under way."""


class Removable(NamedTuple):
    """Something that can go."""

    paths: list[Path]
    what: str
    size: int
    """Bytes on disk."""


def clean_home(*, dry_run: bool, yes: bool) -> None:
    """Shows what can go, asks, and deletes it.

    Raises:
        UserError: not in a project, or something cannot be deleted.
    """
    root = find_root()
    folder = home(root)
    console = Console(highlight=False)
    found = list(removables(root, folder, console))
    if not found:
        console.print(f"nothing to free in {folder}", markup=False, soft_wrap=True)
        return
    for one in found:
        console.print(f"{readable(one.size):>9}  {one.what}", markup=False, soft_wrap=True)
    total = readable(sum(one.size for one in found))
    if dry_run:
        console.print(f"{total:>9}  in all; nothing is deleted by a dry run")
        return
    if not yes and not typer.confirm(f"Delete these {total}?"):
        console.print("nothing is deleted")
        return
    for path in (path for one in found for path in one.paths):
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{path} cannot be deleted ({error.strerror}): check whose it is") from None
    console.print(f"freed {total}")


def removables(root: Path, folder: Path, console: Console) -> Iterator[Removable]:
    """All that can go, with its size."""
    for stage, below, what in (
        ("transcode", "clips", "frames of sources, made with other parameters"),
        ("tune", "tune", "a sweep with other inputs or parameters"),
        ("train", "train", "checkpoints of a training with other inputs or parameters"),
    ):
        entries = [path for path in sorted(folder.joinpath(below).glob("*")) if path.is_dir()]
        current = current_key(root, stage) if entries else None
        if entries and current is None:
            console.print(
                f"{below}/ is left alone: which part of it is current cannot be told before `{stage}` can run",
                markup=False,
                soft_wrap=True,
            )
            continue
        for path in entries:
            if path.name != current and not in_use(path):
                yield Removable([path], f"{below}/{path.name}: {what}", size_of(path))
    yield from _downloads(root, folder / "downloads")


def current_key(root: Path, stage: str) -> str | None:
    """The key under which the stage would work now; None where something that it goes by is missing."""
    params = load_params(root / "params.yaml")
    if stage == "transcode":
        from vidpred.data.media import ffmpeg_version
        from vidpred.data.transcode import cache_key

        return cache_key(params.transcode, ffmpeg_version(params.transcode.ffmpeg))
    spec = yaml.safe_load((root / "dvc.yaml").read_text())["stages"][stage]
    if not all((root / dep).exists() for dep in spec["deps"]):
        return None
    return stage_key(stage, root=root)


def in_use(folder: Path) -> bool:
    """Whether a process holds the folder's lock, as `workspace.locked` takes it."""
    lock = folder / ".lock"
    if not lock.is_file():
        return False
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _downloads(root: Path, folder: Path) -> Iterator[Removable]:
    asked_for = _asked_for(root)
    for path in sorted(folder.glob("*")):
        old = time.time() - path.stat().st_mtime > FRESH_SECONDS
        if path.suffix == ".json":
            url = json.loads(path.read_text()).get("url", "")
            if url not in asked_for:
                content = path.with_suffix("")
                yield Removable([path, content], f"downloads/{content.name}: {url}", size_of(path) + size_of(content))
        elif path.is_dir() and old:
            yield Removable([path], f"downloads/{path.name}: a copy of a registered model", size_of(path))
        elif path.suffix == ".part" and old:
            yield Removable([path], f"downloads/{path.name}: a download that was broken off", size_of(path))


def _asked_for(root: Path) -> set[str]:
    source = root / Path(load_params(root / "params.yaml").fetch.source).expanduser()
    if not source.is_file():
        return set()
    return {line.strip() for line in source.read_text(encoding="utf-8-sig", errors="replace").splitlines()}


def size_of(path: Path) -> int:
    """Bytes that a file, or all files of a folder, take on disk; 0 where there is nothing."""
    if path.is_dir():
        return sum(size_of(inside) for inside in path.iterdir() if not inside.is_symlink())
    return path.stat().st_blocks * 512 if path.exists() else 0


def readable(count: float) -> str:
    """Bytes as people read them: 1.4 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in ("B", "kB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
