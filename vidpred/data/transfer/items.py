"""What is asked for, what comes of it, and the codes of what may go wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vidpred.errors import UserError

CODES = {
    "timeout": "no connection within fetch.connect_seconds, no byte for fetch.timeout_seconds, or not whole within "
    "fetch.total_seconds",
    "connection": "refused, reset, without an address, or no HTTP",
    "length": "fewer or more bytes than announced",
    "disk": "no room for it: fetch.free_bytes are left free",
    "http N": "the server's answer, such as http 404",
    "web page": "HTML where a file should be",
    "empty": "no bytes",
    "encoding": "packed in a way that was not asked for and cannot be undone",
    "too large": "more than fetch.max_bytes, of an archive fetch.max_archive_bytes",
    "checksum": "not the sha256 that the list gives",
    "changed": "not the bytes that came the first time",
    "private address": "an address of this machine or a private network, and fetch.allow_private is false",
    "redirects": "too many, or to something that is no http or https URL",
    "no url": "cannot be read as a URL, or of a kind that is not fetched",
    "driver": "the Python package for this kind of URL is not installed",
    "yt-dlp": "what yt-dlp said of a site's video, or that it is not installed",
}
"""What went wrong, in one or two words that stay the same from version to version."""

_PASSING = frozenset({"timeout", "connection", "length", "disk", "driver"})
_PASSING_STATUS = frozenset({408, 425, 429})
_TRIED_ONCE = frozenset({"disk", "driver"})
"""Failures that pass with time, but not within a run."""


def _passes(code: str) -> bool:
    status = int(code[5:]) if re.fullmatch(r"http \d+", code) else 0
    return code in _PASSING or status in _PASSING_STATUS or 500 <= status <= 599


class DownloadError(UserError):
    """A download that gave no file. `str()` is `code` or `code: detail`, without the URL.

    Args:
        code: One of `CODES`.
        detail: In words.
        passing: Whether the next run may fare better; by default its code decides.
        again: Whether another try of this run may.
        decided_by: Parameters and their values without which it would not have failed.
        wait_seconds: How long the server asked to wait.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        passing: bool | None = None,
        again: bool | None = None,
        decided_by: Mapping[str, object] | None = None,
        wait_seconds: float = 0,
    ) -> None:
        # a server's words: no line breaks, and nothing that a terminal would obey
        detail = "".join(c if c.isprintable() else "?" for c in " ".join(detail.split()))
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail
        self.passing = _passes(code) if passing is None else passing
        self.again = self.passing and code not in _TRIED_ONCE if again is None else again
        self.decided_by = dict(decided_by or {})
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class Item:
    """A file to fetch."""

    url: str
    """http, https, or of an object store (s3, gs, az)."""
    sha256: str = ""
    """What it must have, in hex; empty: unknown."""
    max_bytes: int | None = None
    """None: `fetch.max_bytes`."""
    media: bool = True
    """False: any file is welcome but a web page, and the suffix of the URL is kept."""


@dataclass(frozen=True)
class Download:
    """A finished download."""

    path: Path
    sha256: str
    bytes: int
    suffix: str
    """By which its kind is told, such as `.gif`."""


@dataclass(frozen=True)
class Moved:
    """What is asked for is at another URL; or at the same, and must be asked for anew."""

    url: str


def retried(code: str, retry: Collection[str]) -> bool:
    """Whether `--retry` names a code: itself, a status alone, or all."""
    return "all" in retry or code in retry or (code.startswith("http ") and code[5:] in retry)


def check_retry(retry: Collection[str]) -> None:
    """Raises UserError for a reason that no download can have."""
    for word in retry:
        if word != "all" and word not in CODES and not re.fullmatch(r"(http )?\d{3}", word):
            near = difflib.get_close_matches(word, CODES, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise UserError(
                f"--retry {word}: no such reason{hint}: give all, a status such as 404, or {', '.join(CODES)}"
            )


def ending(path: str) -> str:
    """A path's suffix, of `.tar.gz` and its like both; empty where it is not a plain one."""
    name = PurePosixPath(path.lower())
    suffix = name.suffix
    if suffix in (".gz", ".bz2", ".xz") and PurePosixPath(name.stem).suffix == ".tar":
        suffix = f".tar{suffix}"
    return suffix if len(suffix) <= 12 and suffix.replace(".", "").isalnum() and suffix.isascii() else ""
