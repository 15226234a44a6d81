"""A file that grows: counted, hashed, limited in bytes and by the room on the disk, and refused where it is a web page.

What has come stays when the download breaks off, with the server's mark of that version (its `validator`), so that the
next try can ask for the rest. Without such a mark it begins anew.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import shutil
from pathlib import Path
from typing import BinaryIO, Literal

from vidpred.data.transfer.items import DownloadError
from vidpred.data.transfer.notes import Note, too_large
from vidpred.data.transfer.threads import in_thread

log = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
"""Errors of a disk, a file system's limit or a quota that is reached."""

_HEAD_BYTES = 64
_PAGE_STARTS = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")
_BETWEEN_LOOKS = 1 << 24
"""Bytes that are written between two looks at the room on the disk."""


class Part:
    """The unfinished file of a note."""

    def __init__(self, note: Note, *, max_bytes: int, free_bytes: int) -> None:
        self._note = note
        self._max_bytes = max_bytes
        self._free_bytes = free_bytes
        self._file: BinaryIO | None = None
        self._start_over()

    def _start_over(self) -> None:
        self.size = 0
        """Bytes that are there and hashed."""
        self.resumed = False
        """Whether it was made by more than one answer."""
        self._hash = hashlib.sha256()
        self._head = b""
        self._looked = 0

    @property
    def path(self) -> Path:
        """Where it grows."""
        return self._note.part

    @property
    def sha256(self) -> str:
        """Of what is there, in hex."""
        return self._hash.hexdigest()

    @property
    def validator(self) -> str | None:
        """The mark of the version of which this is the beginning; None: of none that could be gone on with."""
        return self._note.partial["validator"] if self._note.partial and self.size else None

    @property
    def total(self) -> int | None:
        """Bytes of that version, where known."""
        return self._note.partial["total"] if self._note.partial else None

    async def prepare(self) -> None:
        """Takes up what an earlier try left, if that can be gone on with."""
        try:
            size = self.path.stat().st_size
        except OSError:
            size = 0
        if not size or self._note.partial is None:
            self._start_over()
        elif size != self.size:
            self._start_over()
            await in_thread(self._read)

    def _read(self) -> None:
        with self.path.open("rb") as file:
            while block := file.read(1 << 20):
                self._taken(block)

    def _taken(self, block: bytes) -> None:
        self._hash.update(block)
        self.size += len(block)
        if len(self._head) < _HEAD_BYTES:
            self._head += block[:_HEAD_BYTES]

    def begin(self, validator: str | None, total: int | None) -> None:
        """An empty file.

        Args:
            validator: The server's mark of this version; None: it has none that can be relied on.
            total: Bytes to come, where known.

        Raises:
            DownloadError: too large, or no room.
        """
        self.close()
        self._start_over()
        self._check(total)
        self._open("wb")
        # only now, when nothing of another version is left: a kill in between must not join the two
        self._note.partial = None if validator is None else {"validator": validator, "total": total}
        self._note.write()

    def go_on(self) -> None:
        """Further bytes of the same version follow.

        Raises:
            DownloadError: no room.
        """
        self._check(self.total)
        self._open("ab")
        self.resumed = True

    def write(self, block: bytes) -> None:
        """Appends.

        Raises:
            DownloadError: too large, no room, or a web page.
        """
        assert self._file is not None
        if self.size + len(block) > self._max_bytes:
            raise too_large(self._max_bytes)
        try:
            self._file.write(block)
        except OSError as error:
            raise self._disk(error) from None
        early = len(self._head) < _HEAD_BYTES
        self._taken(block)
        if early and self._head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_PAGE_STARTS):
            raise web_page()
        if self.size - self._looked > _BETWEEN_LOOKS:
            self._check(None)

    def close(self) -> None:
        """Writes out what is still in memory; what is there stays."""
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except OSError as error:
            raise self._disk(error) from None

    def drop(self) -> None:
        """Removes it: what comes next begins anew."""
        try:
            self.close()
        finally:
            self.path.unlink(missing_ok=True)
            self._start_over()
            self._note.partial = None

    def _open(self, mode: Literal["wb", "ab"]) -> None:
        try:
            self._file = self.path.open(mode)
        except OSError as error:
            raise self._disk(error) from None

    def _check(self, total: int | None) -> None:
        """Whether the rest may come, as far as that is known."""
        if total is not None and total > self._max_bytes:
            raise too_large(self._max_bytes)
        self._looked = self.size
        check_room(self.path.parent, self._free_bytes, 0 if total is None else total - self.size)

    def _disk(self, error: OSError) -> DownloadError:
        advice = ": make room and run again" if error.errno in FULL else ""
        return DownloadError("disk", f"{error.strerror} at {self.path.parent}{advice}")


def check_room(folder: Path, free_bytes: int, coming: int) -> None:
    """Raises DownloadError where so many bytes more would leave less free than asked for."""
    free = shutil.disk_usage(folder).free
    if free - coming < free_bytes:
        raise DownloadError(
            "disk",
            f"{coming} bytes to come, {free} free at {folder}, fetch.free_bytes keeps {free_bytes}: make room and run "
            "again",
        )


def web_page() -> DownloadError:
    """The failure of a file that is HTML."""
    return DownloadError("web page", "HTML, not a file")
