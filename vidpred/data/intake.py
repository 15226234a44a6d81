"""Copies under names of our own, and their rows in `sources.jsonl`.

In: a GIF or video, a stream of one, the images of a folder or an array, and what is known of it. Out:
`files/<sha256><suffix>`, written once for the same bytes and never linked (DVC makes what it keeps read-only), and a
row for each input, used or not. What holds several of them is taken apart in `vidpred.data.bundles`.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

from vidpred.config import FetchParams
from vidpred.data.archives import MemberError
from vidpred.data.graphs import SUFFIXES, UNTIMED
from vidpred.data.sequences import SequenceError, pack_images, split_npy, write_npy

_UCF = re.compile(r"^v_(?P<label>[^_]+)_g(?P<group>\d+)_c\d+$")
_STRIPPED = SUFFIXES | {".npy"}
_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Names of folders that are parts of an official split."""
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """A row of `sources.jsonl`."""

    name: str
    """Path below the folder or in the archive, URL or path of the list, or name in the recipe."""
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
    """Why it failed: `code` or `code: detail`."""
    part: str = ""
    """`train`, `val` or `test` of the dataset's official split, or an empty string."""
    start_seconds: float | None = None
    """Where in the file to begin; None: at its start."""
    end_seconds: float | None = None
    """Where in the file to end; None: at its end."""


@dataclass(frozen=True)
class Facts:
    """What is known of an input beside its bytes; what is empty its name must tell."""

    group: str = ""
    label: str = ""
    licence: str = ""
    part: str = ""
    start_seconds: float | None = None
    end_seconds: float | None = None


Tell = Callable[[str], Facts]
"""The facts of a clip by its path within an archive or folder; by its URL where it stands alone."""


def grouped(name: str, *, folder: bool = False) -> tuple[str, str]:
    """Group and label that a name tells: UCF-101's `v_<class>_g<group>_c<clip>`, else the name without its suffix.

    Args:
        name: A path or URL.
        folder: Whether it names a folder, which has no suffix.
    """
    host = ""
    if "://" in name:
        try:
            url = urlsplit(name)
            host, name = url.hostname or "", url.path
        except ValueError:  # fetched it cannot be, but it has its row
            return name, ""
        if url.query and PurePosixPath(name).suffix.lower() not in SUFFIXES:
            name = f"{name}?{url.query}"  # there it is what tells one video from another
    path = PurePosixPath(name)
    if not folder and path.suffix.lower() in _STRIPPED:
        path = path.with_suffix("")
    ucf = _UCF.match(path.name)
    if ucf:
        return f"{ucf['label']}_g{ucf['group']}", ucf["label"]
    return host + (path.as_posix() if path.name else ""), ""


def told_by_folders(name: str) -> Facts:
    """What the folders of a clip tell: the innermost is its class, and a first one called `train`, `val` or `test` (or
    `valid`, `validation`) the part that it is of.

    Args:
        name: Its path within the folder, or archive, that was given; a class that UCF-101's way of naming files tells
            is not overruled.
    """
    folders = PurePosixPath(name).parts[:-1]
    part = _PARTS.get(folders[0].lower(), "") if folders else ""
    classes = folders[1:] if part else folders
    return Facts(label="" if not classes or grouped(name)[1] else classes[-1], part=part)


def _printable(name: str) -> str:
    """A name that tables and terminals can take: line breaks and bytes that are no text become %XX."""
    if name.isprintable():
        return name
    # Python reads a byte that is no text as U+DC00 and the byte
    codes = (ord(c) - 0xDC00 if 0xDC80 <= ord(c) <= 0xDCFF else ord(c) for c in name)
    return "".join(c if c.isprintable() else f"%{code:02X}" for c, code in zip(name, codes, strict=True))


class Unusable(Exception):
    """Why an input cannot be used."""


def read_block(stream: BinaryIO) -> bytes:
    """The next bytes, or none at the end.

    Raises:
        Unusable: what goes wrong in reading concerns this input; in writing it would concern the disk.
        ArchiveError: the stream is a member, and the archive cannot be read any further.
    """
    try:
        return stream.read(_BLOCK_BYTES)
    except MemberError as error:
        raise Unusable(str(error)) from None
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror or error}") from None


class Intake:
    """The folder of copies."""

    def __init__(self, out: Path, origin: str, params: FetchParams) -> None:
        """Begins with an empty folder.

        Args:
            out: It has no `files` yet.
            origin: What rows say of where they came from.
            params: Limits.
        """
        self.params = params
        self._files, self._work = out / "files", out / ".work"
        self._origin = origin
        self._known: dict[str, str] = {}
        self._files.mkdir()

    def work(self) -> Path:
        """A folder for what is put down in between, on the disk of the copies."""
        self._work.mkdir(exist_ok=True)
        return self._work

    def close(self) -> None:
        """Takes away what was put down in between."""
        shutil.rmtree(self._work, ignore_errors=True)

    def failed(self, name: str, reason: str, facts: Facts, *, folder: bool = False) -> Source:
        """The row of an input that cannot be used.

        Args:
            name: What the row calls it.
            reason: `code` or `code: detail`.
            facts: What is known of it.
            folder: Whether the name is that of a folder.
        """
        return self._row(name, facts, None, "", 0, reason, folder=folder)

    def file(self, path: Path, name: str, suffix: str, facts: Facts, *, folder: bool = False) -> Source:
        """Copies a file under its hash; a row that says so, or why not.

        Args:
            path: The file.
            name: What the row calls it.
            suffix: By which its kind is told, such as `.gif`.
            facts: What is known of it.
            folder: Whether the name is that of a folder.
        """
        try:
            stream = path.open("rb")
        except OSError as error:
            return self.failed(name, f"cannot be read: {error.strerror}", facts, folder=folder)
        with stream:
            return self.stream(stream, name, suffix, facts, folder=folder)

    def again(self, row: Source, facts: Facts) -> Source:
        """The row of a file that has one already, with other facts."""
        return self._row(row.name, facts, row.file, row.sha256, row.bytes, row.reason, folder=False)

    def stream(self, stream: BinaryIO, name: str, suffix: str, facts: Facts, *, folder: bool = False) -> Source:
        """`file` for what is no file yet.

        Raises:
            ArchiveError: the stream is a member, and the archive cannot be read any further.
        """
        part = self._files / ".part"
        try:
            sha256, size = self._copied(stream, part)
        except Unusable as error:
            return self.failed(name, str(error), facts, folder=folder)
        else:
            # the same bytes may be an array to one and a broken video to another
            key = f"{sha256}{suffix}" if suffix in UNTIMED else sha256
            if key not in self._known:
                self._known[key] = f"{sha256}{suffix}"
                part.rename(self._files / self._known[key])
            return self._row(name, facts, self._known[key], sha256, size, "", folder=folder)
        finally:
            part.unlink(missing_ok=True)

    def sequence(self, images: Iterable[Path], name: str, facts: Facts) -> Source:
        """Packs the images of a folder into one file; its row.

        Args:
            images: In the order of the frames.
            name: Of the folder.
            facts: What is known of it.
        """
        packed = self.work() / "sequence"
        try:
            suffix = pack_images(images, packed, max_bytes=self.params.max_bytes)
        except SequenceError as error:
            return self.failed(name, str(error), facts, folder=True)
        row = self.file(packed, name, suffix, facts, folder=True)
        packed.unlink()
        return row

    def array(self, path: Path, name: str, facts: Facts) -> Iterator[Source]:
        """The rows of an .npy, one a video.

        Args:
            path: The file.
            name: What the rows call it, and their video by its number behind it.
            facts: What is known of all of them.
        """
        video = self.work() / "video.npy"
        try:
            for number, frames in split_npy(path, params=self.params):
                write_npy(video, frames)
                yield self.file(video, f"{name}/{number}" if number else name, ".npy", facts)
        except SequenceError as error:
            yield self.failed(name, str(error), facts)
        video.unlink(missing_ok=True)

    def _copied(self, stream: BinaryIO, out: Path) -> tuple[str, int]:
        """sha256 and size of what was copied."""
        seen, size = hashlib.sha256(), 0
        with out.open("wb") as file:
            while block := read_block(stream):
                size += len(block)
                if size > self.params.max_bytes:
                    raise Unusable(f"too large: more than {self.params.max_bytes} bytes (fetch.max_bytes)")
                seen.update(block)
                file.write(block)
        return seen.hexdigest(), size

    def _row(
        self, name: str, facts: Facts, file: str | None, sha256: str, size: int, reason: str, *, folder: bool
    ) -> Source:
        name = _printable(name)
        group, label = grouped(name, folder=folder)
        return Source(
            name=name,
            origin=self._origin,
            file=file,
            sha256=sha256,
            bytes=size,
            group=_printable(facts.group) or group,
            label=_printable(facts.label) or label,
            licence=facts.licence,
            status="failed" if file is None else "ok",
            reason=reason,
            part=facts.part,
            start_seconds=facts.start_seconds,
            end_seconds=facts.end_seconds,
        )
