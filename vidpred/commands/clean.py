"""`vidpred clean`: frees what no output of this project needs any more in `VIDPRED_HOME`.

What goes: frames, sweeps and checkpoints under keys that are no longer the current ones, downloads of URLs that are no
longer asked for, flow of a run that was broken off, copies of registered models, and what jobs of other machines were
brought or left. All of it can be made or brought again. Never the MLflow store, nor a folder that a process is using.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import typer
import yaml
from rich.console import Console

from vidpred.config import load_params
from vidpred.errors import UserError
from vidpred.workspace import find_root, home, in_use, stage_key

if TYPE_CHECKING:
    from vidpred.data.lists import ListLayout

FRESH_SECONDS = 3600
"""A download touched since then may be under way."""


_STAGES_AS_JOBS = ("tune",)
"""Stages that may run as a job on a cluster."""


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
    freed = 0
    for one in found:
        if any(map(in_use, one.paths)):  # since it was looked at
            console.print(f"{one.paths[0]} is in use now: left alone", markup=False, soft_wrap=True)
            continue
        for path in one.paths:
            try:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            except OSError as error:
                raise UserError(f"{path} cannot be deleted ({error.strerror}): check whose it is") from None
        freed += one.size
    console.print(f"freed {readable(freed)}")


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
    yield from _leaderboard(folder / "leaderboard", console)
    for path in sorted(folder.glob("leave_one_out/*"), key=lambda path: path.stat().st_mtime)[:-1]:
        if not any(in_use(inner) for inner in path.iterdir() if inner.is_dir()):
            what = f"leave_one_out/{path.name}: not of the last vidpred leave-one-out"
            yield Removable([path], what, size_of(path))
    for path in sorted(folder.glob("flow/*")):  # emptied where a run ends well
        if path.is_dir() and time.time() - path.stat().st_mtime > FRESH_SECONDS and not in_use(path):
            yield Removable([path], f"flow/{path.name}: optical flow of a run that was broken off", size_of(path))
    for path in sorted(folder.glob("reproduce/*")):  # removed where a run ends; git forgets one that is gone
        if path.is_dir() and not in_use(path):
            yield Removable([path], f"reproduce/{path.name}: a worktree of vidpred reproduce --keep", size_of(path))
    yield from _downloads(root, folder / "downloads", console)
    yield from _jobs(root, folder)


def _jobs(root: Path, folder: Path) -> Iterator[Removable]:
    """What jobs on a cluster were brought (`inputs/`, on the cluster), and what is left of asking for them."""
    for path in sorted(folder.glob("inputs/*")):
        if not in_use(path) and time.time() - _used(path) > FRESH_SECONDS:
            yield Removable([path], f"inputs/{path.name}: data that a job was brought", size_of(path))
    marks = [path for path in sorted(folder.glob("remote/*")) if path.is_dir()]
    stages = {path.name.rpartition("-")[0] for path in marks}
    current = {f"{stage}-{current_key(root, stage)}" for stage in stages if stage in _STAGES_AS_JOBS}
    for path in marks:
        if path.name not in current and not in_use(path):
            yield Removable([path], f"remote/{path.name}: the lock of a job with other inputs", size_of(path))
    for path in sorted(folder.glob("results-*")):
        if path.is_dir() and time.time() - path.stat().st_mtime > FRESH_SECONDS:
            yield Removable([path], f"{path.name}: results of a job that were being brought", size_of(path))


def _used(path: Path) -> float:
    """When data was brought for a job, or last taken by one."""
    note = path / "whole"
    return (note if note.is_file() else path).stat().st_mtime


def _leaderboard(folder: Path, console: Console) -> Iterator[Removable]:
    """Trainings and scores that no leaderboard shows, such as those of a model that has been edited since."""
    shown: set[str] = set()
    for path in [*folder.glob("lists/*/board.json"), *folder.glob("lists/*/submitted/*.json")]:
        try:
            state = json.loads(path.read_text())
            for entry in state.get("entries", [state]):
                shown |= {member["score"] for member in entry["members"]} | set(entry["runs"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            console.print(f"leaderboard/ is left alone: {path} is damaged", markup=False, soft_wrap=True)
            return
    for path in [*sorted(folder.glob("runs/*")), *sorted(folder.glob("scores/*"))]:
        fresh = time.time() - path.stat().st_mtime < FRESH_SECONDS
        if path.name not in shown and not fresh and not in_use(path):
            what = f"leaderboard/{path.parent.name}/{path.name}: of no leaderboard any more"
            yield Removable([path], what, size_of(path))


def current_key(root: Path, stage: str) -> str | None:
    """The key under which the stage would work now; None where something that it goes by is missing."""
    params = load_params(root / "params.yaml")
    if stage == "transcode":
        from vidpred.data.clip_cache import Plan
        from vidpred.data.launch import ffmpeg_version

        return Plan.of(params.transcode, ffmpeg_version(params.transcode.ffmpeg)).key
    spec = yaml.safe_load((root / "dvc.yaml").read_text())["stages"][stage]
    if not all((root / dep).exists() for dep in spec["deps"]):
        return None
    return stage_key(stage, root=root)


def _downloads(root: Path, folder: Path, console: Console) -> Iterator[Removable]:
    notes = {path: str(_url_of(path)) for path in sorted(folder.glob("*.json"))}
    try:
        asked_for: set[str] | None = _asked_for(root, notes) if notes else set()
    except UserError as error:
        console.print(f"downloads/ is left alone: which are asked for cannot be told ({error})", markup=False)
        asked_for = None
    for path in sorted(folder.glob("*")):
        old = time.time() - path.stat().st_mtime > FRESH_SECONDS
        if path in notes:
            if asked_for is not None and notes[path] not in asked_for:
                content, part = path.with_suffix(""), path.with_name(f".{path.stem}.part")
                size = sum(map(size_of, (path, content, part)))
                yield Removable([path, content, part], f"downloads/{content.name}: {notes[path]}", size)
        elif path.is_dir() and old:
            yield Removable([path], f"downloads/{path.name}: a copy of a registered model", size_of(path))
        elif path.suffix == ".part" and old and path.with_name(f"{path.stem[1:]}.json") not in notes:
            yield Removable([path], f"downloads/{path.name}: a download that was broken off", size_of(path))


def _url_of(note: Path) -> object:
    try:
        return json.loads(note.read_text())["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return "a note that cannot be read"


def _asked_for(root: Path, notes: Mapping[Path, str]) -> set[str]:
    """URLs that `fetch.source` names: itself, or in a list that was downloaded.

    Raises:
        UserError: it cannot be read.
    """
    from vidpred.data.catalog import read_dataset
    from vidpred.data.lists import SUFFIXES

    source = root / Path(load_params(root / "params.yaml").fetch.source).expanduser()
    if source.suffix.lower() in SUFFIXES and source.is_file():
        return _listed(source, source.suffix)
    if source.suffix.lower() not in (".yaml", ".yml") or not source.is_file():
        return set()
    try:
        raw = yaml.safe_load(source.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{source} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict) or "dataset" not in raw:
        return set()
    files = {note.with_suffix(""): url for note, url in notes.items()}
    urls = set()
    for file in read_dataset(raw).files:
        urls.add(file.url)
        if file.use == "list":
            came = [path for path, url in files.items() if url == file.url] or [source.parent / file.url]
            for path in (path for path in came if path.is_file()):
                urls |= _listed(path, PurePosixPath(file.url).suffix, file.layout)
    return urls


def _listed(path: Path, suffix: str, layout: ListLayout | None = None) -> set[str]:
    from vidpred.data.lists import read_list

    return {entry.name for entry in read_list(path, str(path), suffix=suffix.lower(), layout=layout)}


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
