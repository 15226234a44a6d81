"""Archives, read once and in their own order, without a name of theirs ever becoming a path.

In: a zip, a tar (plain or packed with gzip, bzip2 or xz) or a rar; its first bytes say which. Out: regular members,
each with a stream that the caller writes under a name of its own, and for each member that cannot be had why. What
costs one member is `Refused` or, found while it is read, `MemberError`. What makes all the rest doubtful (a bomb, a
broken tar, more than the limits allow) is `ArchiveError`. Limits count bytes that come out, not what headers tell.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, cast

from vidpred.config import FetchParams
from vidpred.data.archive_rar import read_rar
from vidpred.data.archive_rules import ARCHIVE_SUFFIXES as ARCHIVE_SUFFIXES  # these are part of what this file offers
from vidpred.data.archive_rules import ArchiveError as ArchiveError
from vidpred.data.archive_rules import Kind, MemberStream, Rules, printable
from vidpred.data.archive_rules import Member as Member
from vidpred.data.archive_rules import MemberError as MemberError
from vidpred.data.archive_rules import Refused as Refused
from vidpred.data.archive_rules import is_archive as is_archive

_BLOCK = 1 << 20
_HEADER_BYTES = 1 << 18
"""What a tar may say of one member, long names and extended headers included."""
_LISTING_BYTES = 256
"""What a zip's list of members may hold for each that is allowed."""
_XZ_MEMORY = 1 << 28
"""`xz -9` needs a quarter of it."""

_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError,
    LookupError, ArithmeticError, RuntimeError,
)  # fmt: skip
"""All that zipfile, tarfile and the unpackers raise for damaged files; deep nesting is a RuntimeError too."""


def members(path: Path, params: FetchParams, wanted: Callable[[str], bool]) -> Iterator[Member | Refused]:
    """What an archive holds, in its own order.

    A caller does with each Member what it wants to before it takes the next. Folders are passed over, and files that
    are not wanted. What reaches outside (links, devices, absolute names, names with `..`) and archives within the
    archive are told of whether wanted or not.

    Args:
        path: The archive; its name plays no part.
        params: Limits: `max_archive_bytes`, `max_members`, `max_bytes` (of a member), `max_ratio`; and
            `timeout_seconds`, for the tool that unpacks a rar.
        wanted: Asked once for each other regular file, by its `Member.name`.

    Raises:
        ArchiveError: it is no archive, damaged, over a limit, a bomb, or a rar for which there is no tool.
    """
    rules = Rules(path.name, params, wanted)
    try:
        file = _Source(io.FileIO(path))
    except OSError as error:
        raise ArchiveError(f"cannot be read: {path.name}: {error.strerror}") from None
    with file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        if size > params.max_archive_bytes:
            raise ArchiveError(f"too large: {path.name}: {size} bytes (fetch.max_archive_bytes)")
        start = file.peek(8)
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            yield from _zip(file, rules)
        elif start.startswith(b"Rar!\x1a\x07"):
            yield from read_rar(path, rules)
        else:
            yield from _tar(file, rules)


class _Source(io.BufferedReader):
    """A file; while `most_listed` is set, a zip's list of members is counted before it is taken apart in memory."""

    most_listed: int | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self.most_listed is None:
            return super().read(size)
        # a list may say that it is as long as the file
        most = _BLOCK + _LISTING_BYTES * self.most_listed
        data = super().read(size if size is None or size < most else most)
        if len(data) == most or data.count(b"PK\x01\x02") > self.most_listed:
            raise ArchiveError(
                f"too many members: {Path(self.name).name}: more than {self.most_listed} (fetch.max_members)"
            )
        return data


def _zip(file: _Source, rules: Rules) -> Iterator[Member | Refused]:
    file.most_listed = rules.params.max_members
    try:
        archive = zipfile.ZipFile(file)
    except _DAMAGE as error:
        raise _damaged(rules, error) from None
    file.most_listed = None
    with archive:
        infos = archive.infolist()
        # members that share packed bytes: a small file that unpacks to a huge one, member by member
        for one, other in pairwise(sorted(infos, key=lambda info: info.header_offset)):
            if one.header_offset + 30 + one.compress_size > other.header_offset:
                names = f"{printable(one.filename)} and {printable(other.filename)}"
                raise ArchiveError(f"bomb: {rules.archive}: {names} overlap")
        for info in infos:
            kind, problem = _zip_kind(info, rules)
            name = rules.judge(info.orig_filename, kind, problem)
            if isinstance(name, Refused):
                yield name
            elif name is not None:
                yield Member(name, info.file_size, _zip_opener(archive, info, file, rules, name))


def _zip_kind(info: zipfile.ZipInfo, rules: Rules) -> tuple[Kind, str]:
    mode = stat.S_IFMT(info.external_attr >> 16)
    if mode == stat.S_IFLNK:
        return "link", "link"
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "special", "device"
    if mode == stat.S_IFDIR or info.orig_filename.endswith(("/", "\\")):
        return "folder", ""
    if info.flag_bits & 0x2041:
        return "file", "encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile unpacks the others without a limit on memory
        return "file", f"packed by method {info.compress_type}: pack it again with deflate"
    if info.file_size > rules.params.max_bytes:
        return "file", rules.too_large
    return "file", ""


def _zip_opener(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: _Source, rules: Rules, name: str
) -> Callable[[], BinaryIO]:
    def opened() -> BinaryIO:
        try:
            packed = archive.open(info)
        except _DAMAGE as error:
            raise MemberError(f"damaged: {_told(error)}") from None
        start, out = file.tell(), 0

        def pull(size: int) -> bytes:
            nonlocal out
            try:
                data = packed.read(min(size, _BLOCK))
            except _DAMAGE as error:
                raise MemberError(f"damaged: {_told(error)}") from None
            out += len(data)
            rules.count(len(data), member=name, out=out, packed=file.tell() - start)
            return data

        return MemberStream.opened(pull, packed.close)

    return opened


def _tar(file: _Source, rules: Rules) -> Iterator[Member | Refused]:
    stream = _Forward(file, rules)
    try:
        archive = tarfile.TarFile(fileobj=cast(BinaryIO, stream), encoding="utf-8")
    except _DAMAGE as error:
        raise ArchiveError(f"no archive: {rules.archive}: no zip, tar or rar ({_told(error)})") from None
    while True:
        stream.header_bytes = 0
        try:
            info = archive.next()
        except _DAMAGE as error:
            raise _damaged(rules, error) from None
        if info is None:
            break
        # neither is needed, and both grow
        archive.members = []  # type: ignore[attr-defined]
        archive.pax_headers = {}
        kind, problem = _tar_kind(info, rules)
        name = rules.judge(info.name, kind, problem)
        stream.member = name if isinstance(name, str) else info.name
        if isinstance(name, Refused):
            yield name
        elif name is not None:
            yield Member(name, info.size, _tar_opener(stream, info, rules, name))
    stream.finish()


def _tar_kind(info: tarfile.TarInfo, rules: Rules) -> tuple[Kind, str]:
    if info.issym() or info.islnk():
        return "link", "link" if info.issym() else "hard link"
    if info.isdir():
        return "folder", ""
    if not info.isreg():
        return "special", "device" if info.isdev() else f"entry of type {info.type!r}"
    if info.issparse():
        return "file", "sparse file"
    if not 0 <= info.size <= rules.params.max_bytes:
        return "file", rules.too_large
    return "file", ""


def _tar_opener(stream: _Forward, info: tarfile.TarInfo, rules: Rules, name: str) -> Callable[[], BinaryIO]:
    def opened() -> BinaryIO:
        at, end = info.offset_data, info.offset_data + info.size
        stream.seek(at)

        def pull(size: int) -> bytes:
            nonlocal at
            if stream.tell() != at:
                raise RuntimeError(f"{name} is read after the next member was taken")
            data = stream.pull(min(size, end - at))
            at += len(data)
            if not data and at < end:
                raise ArchiveError(f"damaged: {rules.archive}: it is cut short within {name}")
            return data

        return MemberStream.opened(pull)

    return opened


class _Forward:
    """The unpacked bytes of a tar, for tarfile, which reads its headers here: never back, and never without end."""

    member = "the first member"

    def __init__(self, file: _Source, rules: Rules) -> None:
        self.header_bytes = 0
        self._file = file
        self._rules = rules
        self._stream = _unpacked(file)
        self._at = 0
        self._last = b""

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> int:
        if position < self._at:
            raise ArchiveError(f"damaged: {self._rules.archive}: it goes back from byte {self._at} to {position}")
        while self._at < position:
            if not self.pull(min(_BLOCK, position - self._at)):
                raise ArchiveError(f"damaged: {self._rules.archive}: it is cut short at byte {self._at}")
        return self._at

    def read(self, size: int) -> bytes:
        """Headers: only so much a member, and no long row of digits, which takes tarfile for ever."""
        self.header_bytes += size
        if self.header_bytes > _HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.header_bytes} bytes")
        self._last = self.pull(size)
        if re.search(rb"\d{200}", self._last):
            raise tarfile.ReadError("a header of digits")
        return self._last

    def pull(self, size: int) -> bytes:
        """The next bytes, at most so many; none at the end."""
        try:
            data = self._stream.read(min(size, _BLOCK))
        except _DAMAGE as error:
            raise _damaged(self._rules, error) from None
        self._at += len(data)
        self._rules.count(len(data), member=self.member, out=self._at, packed=self._file.tell())
        return data

    def finish(self) -> None:
        """Reads to the end, where gzip has its checksum.

        Raises:
            ArchiveError: the last block is no end mark, or more than zeros follow it; tarfile says nothing there.
        """
        where = f"{self._rules.archive}: at byte {self._at}"
        if len(self._last) < tarfile.BLOCKSIZE:
            raise ArchiveError(f"damaged: {where} it is cut short: there is no end mark")
        rest = self._last
        while rest:
            if rest.strip(b"\0"):
                raise ArchiveError(f"damaged: {where} there is neither a member nor the end")
            rest = self.pull(_BLOCK)


def _unpacked(file: _Source) -> BinaryIO:
    start = file.peek(6)
    if start.startswith(b"\x1f\x8b"):
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if start.startswith(b"BZh"):
        return cast(BinaryIO, bz2.BZ2File(file))
    if start.startswith(b"\xfd7zXZ\0"):
        return _unxz(file)
    return file


def _unxz(file: _Source) -> BinaryIO:
    """lzma.open() has no limit on memory, its decompressor has."""
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def pull(size: int) -> bytes:
        nonlocal unpacker
        while True:
            if unpacker.eof:
                rest = (unpacker.unused_data or file.read(_BLOCK >> 4)).lstrip(b"\0")
                if not rest and not file.peek(1):
                    return b""
                unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
            else:
                rest = file.read(_BLOCK >> 4) if unpacker.needs_input else b""
                if unpacker.needs_input and not rest:
                    raise EOFError("cut short")
            if data := unpacker.decompress(rest, size):
                return data

    return MemberStream.opened(pull)


def _damaged(rules: Rules, error: BaseException) -> ArchiveError:
    return ArchiveError(f"damaged: {rules.archive}: {_told(error)}")


def _told(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
