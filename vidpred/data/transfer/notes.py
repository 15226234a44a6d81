"""A JSON file a URL: what a run leaves for the next.

A note says what the file was that came (`done`: bytes, sha256, suffix; kept when the file itself goes, so that a change
is seen), why none came (`failed`: code, detail, whether it may pass, which parameters decided it), and by which mark of
the server an unfinished file can be gone on with (`partial`: validator, total).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vidpred.config import FetchParams
from vidpred.data.transfer.items import Download, DownloadError, Item, retried
from vidpred.workspace import digest, write_json

log = logging.getLogger(__name__)


@dataclass
class Note:
    """What is known of a URL, and the names of its files."""

    folder: Path
    url: str
    key: str
    done: dict[str, Any] | None = None
    failed: dict[str, Any] | None = None
    partial: dict[str, Any] | None = None

    @property
    def path(self) -> Path:
        """The finished file."""
        return self.folder / self.key

    @property
    def part(self) -> Path:
        """The unfinished file."""
        return self.folder / f".{self.key}.part"

    @property
    def _json(self) -> Path:
        return self.folder / f"{self.key}.json"

    @classmethod
    def read(cls, folder: Path, item: Item) -> Note:
        """The note of an item; an empty one where there is none, or none that can be read."""
        note = cls(folder, item.url, key_of(item))
        try:
            told = json.loads(note._json.read_text())
            note.done, note.failed, note.partial = (_section(told, name) for name in ("done", "failed", "partial"))
        except (OSError, ValueError):
            pass
        return note

    def write(self) -> None:
        """Atomic. A full disk costs the note, not the run."""
        sections = {"done": self.done, "failed": self.failed, "partial": self.partial}
        try:
            write_json(self._json, {"url": self.url} | {name: told for name, told in sections.items() if told})
        except OSError as error:
            log.debug("%s: no note of it: %s", self.url, error)

    def fail(self, error: DownloadError) -> None:
        """Remembers a failure, and what it depended on."""
        self.failed = {
            "code": error.code,
            "detail": error.detail,
            "passing": error.passing,
            "decided_by": error.decided_by,
        }
        self.write()

    def finish(self, *, size: int, sha256: str, suffix: str) -> Download:
        """Remembers a file that has come."""
        self.done, self.failed, self.partial = {"bytes": size, "sha256": sha256, "suffix": suffix}, None, None
        self.write()
        return Download(self.path, sha256, size, suffix)

    def known(self, item: Item, params: FetchParams, retry: Collection[str]) -> Download | DownloadError | None:
        """The answer that needs no request, if there is one."""
        if self.failed:
            error = DownloadError(self.failed["code"], self.failed["detail"], passing=self.failed["passing"])
            if retry:
                if not retried(error.code, retry):
                    return error
                if error.code == "changed" and "changed" in retry:  # not by `all`: a change is accepted by name
                    self.done = None
            elif not error.passing and self._stands(item, params):
                return error
        return self._present(item, params)

    def _stands(self, item: Item, params: FetchParams) -> bool:
        """Whether what decided the failure is still so."""
        assert self.failed is not None
        return all(_current(name, item, params) == value for name, value in self.failed["decided_by"].items())

    def _present(self, item: Item, params: FetchParams) -> Download | DownloadError | None:
        if self.done is None or (item.sha256 and item.sha256.lower() != self.done["sha256"]):
            return None
        try:
            if self.path.stat().st_size != self.done["bytes"]:
                return None
        except OSError:
            return None
        if self.done["bytes"] > limit_of(item, params):
            return too_large(limit_of(item, params))
        return Download(self.path, self.done["sha256"], self.done["bytes"], self.done["suffix"])


_FIELDS: dict[str, dict[str, Any]] = {
    "done": {"bytes": int, "sha256": str, "suffix": str},
    "failed": {"code": str, "detail": str, "passing": bool, "decided_by": dict},
    "partial": {"validator": str, "total": int | None},
}


def _section(told: Any, name: str) -> dict[str, Any] | None:
    """A section of a note as we write it, or None for any other."""
    section = told.get(name) if isinstance(told, dict) else None
    if not isinstance(section, dict):
        return None
    return section if all(isinstance(section.get(key), kind) for key, kind in _FIELDS[name].items()) else None


def key_of(item: Item) -> str:
    """The name of an item's files: a hash of its URL, and of its kind where that is not media."""
    return digest(item.url if item.media else [item.url, "any"])[:32]


def limit_of(item: Item, params: FetchParams) -> int:
    """Bytes that an item may have."""
    return params.max_bytes if item.max_bytes is None else item.max_bytes


def too_large(limit: int) -> DownloadError:
    """The failure of a file with more bytes."""
    return DownloadError("too large", f"more than {limit} bytes", decided_by={"max_bytes": limit})


def _current(name: str, item: Item, params: FetchParams) -> object:
    """The present value of what decided a failure."""
    match name:
        case "allow_private":
            return params.allow_private
        case "max_bytes":
            return limit_of(item, params)
        case "sha256":
            return item.sha256.lower()
        case "yt-dlp":
            return ytdlp_version()
    return None


def ytdlp_version() -> str:
    """The installed one's, or an empty string."""
    try:
        return version("yt-dlp")
    except PackageNotFoundError:
        return ""
