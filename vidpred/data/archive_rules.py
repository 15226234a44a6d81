"""What may come out of an archive: which names, how many, how much.

In: an entry of an archive, as it calls itself. Out: the name to show for it, or why it is not to be had. Used by
`vidpred.data.archives`, where all of it is offered.
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, BinaryIO, Literal

from vidpred.config import FetchParams
from vidpred.errors import UserError

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".rar")
"""Names that may be an archive."""

_BUFFER = 1 << 16
_LONGEST_NAME = 1024
_RATIO_FROM = 1 << 20
"""Bytes that come out before a ratio means anything: a few black frames are well packed too."""

Kind = Literal["file", "folder", "link", "special"]


class ArchiveError(UserError):
    """The archive cannot be used, or not any further. The text is `code: archive: what happened`."""


class MemberError(ArchiveError):
    """Raised by a member's stream: this one cannot be used, the next one can. The text is `code: detail`."""


@dataclass(frozen=True)
class Member:
    """A regular file of an archive."""

    name: str
    """As the archive calls it, made printable, with `/` between its parts: for people and for grouping, no path."""
    bytes: int
    """Its size, as the archive says: it may lie."""
    open: Callable[[], BinaryIO]
    """Gives its bytes, once, and before the next member is asked for. Read it to its end: only there is its checksum
    known. Reading raises MemberError or ArchiveError."""


@dataclass(frozen=True)
class Refused:
    """A member that is not to be had."""

    name: str
    reason: str
    """`code` or `code: detail`, as in sources.jsonl."""


def is_archive(name: str) -> bool:
    """Whether a file is an archive by its name."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


class MemberStream(io.RawIOBase):
    """Bytes that a function gives, as a file."""

    def __init__(self, pull: Callable[[int], bytes], release: Callable[[], object] | None) -> None:
        self._pull = pull
        self._release = release

    @classmethod
    def opened(cls, pull: Callable[[int], bytes], release: Callable[[], object] | None = None) -> BinaryIO:
        """A buffered file.

        Args:
            pull: Gives the next bytes, at most so many; none at the end.
            release: Called when the file is closed.
        """
        return io.BufferedReader(cls(pull, release), _BUFFER)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._pull(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if self._release is not None and not self.closed:
            self._release()
        super().close()


class Rules:
    """What may come out of one archive, and how much of it."""

    def __init__(self, archive: str, params: FetchParams, wanted: Callable[[str], bool]) -> None:
        self.archive = archive
        self.params = params
        self._wanted = wanted
        self._entries = 0
        self._unpacked = 0
        self._seen: set[bytes] = set()
        self._links: set[bytes] = set()
        self.too_large = f"too large: more than {params.max_bytes} bytes (fetch.max_bytes)"
        """Why a larger member is refused."""

    def judge(self, name: str, kind: Kind, problem: str = "") -> str | Refused | None:
        """The name to show of a member that is to be had, why it is not, or None: it is passed over.

        Args:
            name: As the archive has it.
            kind: What it is.
            problem: Why it cannot be had, if it is wanted; of a link or special entry: what it is.

        Raises:
            ArchiveError: it is one too many.
        """
        self._entries += 1
        if self._entries > self.params.max_members:
            raise ArchiveError(
                f"too many members: {self.archive}: more than {self.params.max_members} (fetch.max_members)"
            )
        posix = name.replace("\\", "/")
        parts = [part for part in posix.split("/") if part not in ("", ".")]
        shown = printable("/".join(parts)) or "(no name)"
        if posix.startswith("/") or re.match("[A-Za-z]:", posix):
            return Refused(printable(posix), "absolute name")
        if ".." in parts:
            return Refused(shown, "climbs out: ../")
        if kind == "folder":
            return None
        if not parts or "\0" in name or len(name) > _LONGEST_NAME:
            return Refused(shown, f"unusable name: {len(name)} characters")
        key = _key(parts)
        if kind != "file":
            self._links.add(key)
            self._seen.add(key)
            return Refused(shown, problem)
        if self._links and any(_key(parts[:n]) in self._links for n in range(1, len(parts))):
            return Refused(shown, "through a link")
        if is_archive(shown):
            return Refused(shown, "archive within an archive")
        if not self._wanted(shown):
            return None
        if key in self._seen:
            return Refused(shown, "duplicate name")
        self._seen.add(key)
        return Refused(shown, problem) if problem else shown

    def count(self, more: int, *, member: str, out: int, packed: int) -> None:
        """Counts bytes that came out.

        Args:
            more: So many now.
            member: Of which, for people.
            out: So many in all, from `packed` bytes of the archive.
            packed: Bytes of the archive that they came from.

        Raises:
            ArchiveError: too many, or too many from so few.
        """
        self._unpacked += more
        if self._unpacked > self.params.max_archive_bytes:
            raise ArchiveError(
                f"too large: {self.archive}: {member}: with it more than {self.params.max_archive_bytes} bytes"
                " come out (fetch.max_archive_bytes)"
            )
        if out > _RATIO_FROM and out > self.params.max_ratio * packed:
            raise ArchiveError(
                f"bomb: {self.archive}: {member} unpacks to more than {self.params.max_ratio:g} times its packed size"
                " (fetch.max_ratio)"
            )


def printable(name: str) -> str:
    """A name without control characters, line breaks and bytes that are no text: those become %XX."""
    short = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
    return "".join(c if c.isprintable() else f"%{_byte(c):02X}" for c in short)


def _byte(character: str) -> int:
    code = ord(character)
    # Python reads a byte that is no text as U+DC00 and the byte
    return code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code


def _key(parts: list[str]) -> bytes:
    """The same for names that a file system may take for one: by case, or composed differently."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", "/".join(parts)).casefold())
    return blake2b(folded.encode("utf-8", "surrogatepass"), digest_size=16).digest()
