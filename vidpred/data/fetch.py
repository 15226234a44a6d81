"""Inputs from a folder, a list of URLs or a recipe, brought under names of our own.

In: `fetch.source`, always a path. Out, in one folder: `files/<sha256>.<suffix>` and `sources.jsonl`, a row an input, in
a fixed order: name, origin, file, sha256, bytes, group, label, licence, status (ok or failed) and reason. Files are
copied, never linked: DVC makes what it keeps read-only.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import httpx
import yaml
from pydantic import ValidationError

from vidpred.config import FetchParams
from vidpred.data.download import DownloadError, download
from vidpred.data.media import SUFFIXES
from vidpred.data.progress import progress
from vidpred.errors import UserError
from vidpred.workspace import atomic, fresh_folder, locked

log = logging.getLogger(__name__)
T = TypeVar("T")

_UCF = re.compile(r"^v_(?P<label>[^_]+)_g(?P<group>\d+)_c\d+$")
_DOWNLOADS_AT_ONCE = 8
_LISTED = 20


@dataclass(frozen=True)
class Source:
    """A row of `sources.jsonl`."""

    name: str
    """Path below the folder, line of the list, or name in the recipe."""
    origin: str
    """Where it came from, as the user wrote it."""
    file: str | None
    """Below `files/`; None where it failed."""
    sha256: str
    bytes: int
    group: str
    label: str
    licence: str
    status: str
    """`ok` or `failed`."""
    reason: str


def grouped(name: str) -> tuple[str, str]:
    """Group and label that a name tells: UCF-101's `v_<class>_g<group>_c<clip>`, else the name without its suffix."""
    host, path = "", PurePosixPath(name)
    if "://" in name:
        try:
            url = httpx.URL(name)
            host, path = url.host, PurePosixPath(url.path)
        except (httpx.InvalidURL, UnicodeError):  # fetched it cannot be, but it has its row
            return name, ""
    ucf = _UCF.match(path.stem)
    if ucf:
        return f"{ucf['label']}_g{ucf['group']}", ucf["label"]
    return host + (path.with_suffix("").as_posix() if path.name else ""), ""


def fetch(params: FetchParams, out: Path, downloads: Path, *, workers: int) -> dict[str, Any]:
    """Fills a folder, and gives the stage's figures.

    Args:
        params: Source and limits.
        out: Folder to write; what stood there goes.
        downloads: Folder of finished downloads, kept.
        workers: Files of a recipe that are made at once.

    Returns:
        Inputs, fetched, failed, bytes (of the files fetched), reasons.

    Raises:
        UserError: there is no such source, it names nothing, or nothing could be fetched.
    """
    source = Path(params.source).expanduser()
    if not source.exists():
        raise UserError(
            f"fetch.source: {params.source} not found: give a folder, a list of URLs (.txt) or a recipe (.yaml)"
        )
    files = fresh_folder(out) / "files"
    files.mkdir()
    suffix = source.suffix.lower()
    if source.is_dir() or suffix in SUFFIXES:
        rows = _from_folder(source, files, params)
    elif suffix == ".txt":
        rows = _from_list(source, files, params, downloads)
    elif suffix in (".yaml", ".yml"):
        rows = _from_recipe(source, files, params, workers)
    else:
        raise UserError(f"fetch.source: {params.source} is no folder, list of URLs (.txt) or recipe (.yaml)")
    failed = [row for row in rows if row.status == "failed"]
    for row in failed[:_LISTED]:
        log.warning("set aside %s: %s", row.name, row.reason)
    if len(failed) > _LISTED:
        log.warning("and %d more: %s lists them", len(failed) - _LISTED, out / "sources.jsonl")
    if len(failed) == len(rows):
        raise UserError(
            f"fetch.source: none of {len(rows)} inputs of {params.source} could be fetched ({failed[0].reason})"
        )
    with atomic(out / "sources.jsonl") as part:
        part.write_text("".join(json.dumps(asdict(row), sort_keys=True) + "\n" for row in rows))
    reasons = sorted({row.reason.split(":")[0] for row in failed})
    return {
        "inputs": len(rows),
        "fetched": len(rows) - len(failed),
        "failed": len(failed),
        "bytes": sum(row.bytes for row in rows if row.status == "ok"),
        "reasons": {reason: sum(row.reason.split(":")[0] == reason for row in failed) for reason in reasons},
    }


def _failed(name: str, origin: str, reason: str) -> Source:
    group, label = grouped(name)
    return Source(name, origin, None, "", 0, group, label, "", "failed", reason)


class _Intake:
    """The folder that files are copied into; the same bytes get one file."""

    def __init__(self, files: Path, max_bytes: int) -> None:
        self._files = files
        self._max_bytes = max_bytes
        self._known: dict[str, str] = {}

    def take(self, name: str, origin: str, path: Path, suffix: str) -> Source:
        """Copies a file under its hash; a row that says so, or why not."""
        part = self._files / f".{os.getpid()}.part"
        seen, size = hashlib.sha256(), 0
        try:
            if path.stat().st_size > self._max_bytes:
                return _failed(name, origin, f"larger than {self._max_bytes} bytes")
            with path.open("rb") as read, part.open("wb") as written:
                while block := read.read(1 << 20):
                    seen.update(block)
                    size += len(block)
                    written.write(block)
        except OSError as error:
            part.unlink(missing_ok=True)
            return _failed(name, origin, f"cannot be read: {error.strerror}")
        sha256 = seen.hexdigest()
        if sha256 in self._known:
            part.unlink()
        else:
            self._known[sha256] = f"{sha256}{suffix}"
            part.rename(self._files / self._known[sha256])
        group, label = grouped(name)
        return Source(name, origin, self._known[sha256], sha256, size, group, label, "", "ok", "")


def _from_path(path: Path, name: str, origin: str, intake: _Intake) -> Source:
    suffix = path.suffix.lower()
    if not path.exists():
        return _failed(name, origin, "cannot be read: it leads nowhere" if path.is_symlink() else "no such file")
    if not path.is_file():
        return _failed(name, origin, "not a file")
    if suffix not in SUFFIXES:
        return _failed(name, origin, f"no GIF or video by its name: {suffix or 'no suffix'}")
    return intake.take(name, origin, path, suffix)


def _from_folder(source: Path, files: Path, params: FetchParams) -> list[Source]:
    """All files of a folder and those below, sorted by path, without hidden ones. A single file is a folder of one."""
    paths = [source]
    if source.is_dir():
        found = (p for p in source.rglob("*") if not p.is_dir())
        named = {p.relative_to(source).as_posix(): p for p in found}
        paths = [named[n] for n in sorted(named) if not any(piece.startswith(".") for piece in n.split("/"))]
    if not paths:
        raise UserError(f"fetch.source: {params.source} is an empty folder: put GIFs or videos into it")
    intake = _Intake(files, params.max_bytes)
    rows = []
    with progress("fetch", len(paths)) as advance:
        for path in paths:
            name = path.relative_to(source).as_posix() if path != source else path.name
            rows.append(_from_path(path, name, params.source, intake))
            advance()
    return rows


def _from_list(source: Path, files: Path, params: FetchParams, downloads: Path) -> list[Source]:
    """URLs and paths, one a line; `#` begins a comment, a relative path starts at the list."""
    try:
        lines = [line.strip() for line in source.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"fetch.source: {params.source} cannot be read as text ({error})") from None
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise UserError(f"fetch.source: {params.source} lists nothing: give a URL or path a line")
    urls = list(dict.fromkeys(name for name in names if "://" in name))
    jobs = [partial(_downloaded, url, downloads, params) for url in urls]
    with locked(downloads) if jobs else nullcontext():
        results = _together("download", jobs, _DOWNLOADS_AT_ONCE)
    fetched = dict(zip(urls, results, strict=True))
    intake = _Intake(files, params.max_bytes)
    rows = []
    for name in names:
        result = fetched.get(name)
        if result is None:
            rows.append(_from_path(source.parent / Path(name).expanduser(), name, params.source, intake))
        elif isinstance(result, str):
            rows.append(_failed(name, params.source, result))
        else:
            rows.append(intake.take(name, params.source, *result))
    return rows


def _downloaded(url: str, downloads: Path, params: FetchParams) -> tuple[Path, str] | str:
    """File and suffix, or the reason why there is none."""
    try:
        done = download(url, downloads, params)
    except DownloadError as error:
        return str(error)
    return done.path, done.suffix


def _from_recipe(source: Path, files: Path, params: FetchParams, workers: int) -> list[Source]:
    """The clips of a recipe, made now."""
    from sklearn.datasets import load_digits

    from vidpred.data import digits

    try:
        raw = yaml.safe_load(source.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"fetch.source: {params.source} is no recipe: {' '.join(str(error).split())}") from None
    kind = raw.get("recipe") if isinstance(raw, dict) else None
    if kind != "moving_digits":
        raise UserError(f"fetch.source: {params.source} has recipe: {kind}; there is one: moving_digits")
    try:
        recipe = digits.Recipe.model_validate(raw)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}" for e in error.errors())
        raise UserError(f"fetch.source: {params.source}: {'; '.join(problems)}") from None
    images, targets = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8)
    clips = digits.planned(recipe, targets)
    intake = _Intake(files, params.max_bytes)
    made = files.parent / ".made"
    made.mkdir()

    def make(clip: digits.DigitClip) -> Path:
        digits.write_clip(made / clip.name, digits.rendered(recipe, clip, images), recipe.fps)
        return made / clip.name

    paths = _together("fetch", [partial(make, clip) for clip in clips], workers)
    rows = []
    for clip, path in zip(clips, paths, strict=True):
        row = intake.take(clip.name, params.source, path, path.suffix)
        rows.append(replace(row, group=clip.group, label=clip.label, licence=digits.LICENCE))
    shutil.rmtree(made)
    return rows


def _together(text: str, jobs: Sequence[Callable[[], T]], workers: int) -> list[T]:
    """Results of the jobs, in their order; several run at once, and none begins after Ctrl-C."""
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="fetch") as pool:
        futures: list[Future[T]] = [pool.submit(job) for job in jobs]
        try:
            with progress(text, len(jobs)) as advance:
                for future in as_completed(futures):
                    future.result()
                    advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]
