"""rar archives, through rarfile's list of members and a tool that unpacks them: unrar, unar, 7z or bsdtar.

The tool runs once and writes all members to a pipe, one after the other, which is cut by the list's sizes and checked
by its checksums: so a solid archive is read once, and no name of a member is on a command line. bsdtar writes a tar,
since alone it goes wrong on empty members. The tool has limits on memory and on how long it is silent.
"""

from __future__ import annotations

import os
import select
import struct
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from vidpred.data.archive_rules import ArchiveError, Kind, Member, MemberStream, Refused, Rules, printable

if TYPE_CHECKING:
    import rarfile

_MEMORY_KIB = 4 << 20
"""A rar may ask for a dictionary of 4 GiB; most have 4 MiB."""
# sh sets the limit and becomes the tool; macOS has no such limit, and the tool goes on without
_LAUNCHER = 'ulimit -v "$1" 2>/dev/null; shift; exec "$@"'
_BLOCK = 1 << 16
_TAR_END = 1 << 16
"""What a tar has after its last member."""


def read_rar(path: Path, rules: Rules) -> Iterator[Member | Refused]:
    """The members of a rar.

    Raises:
        ArchiveError: it is damaged, encrypted, in several volumes, over a limit, or there is no tool.
    """
    infos = _listed(path, rules)
    if not infos:
        return
    command = _command(path, rules)
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _LAUNCHER, "sh", str(_MEMORY_KIB), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=told,
            env={**os.environ, "LC_ALL": "C.UTF-8"},  # bsdtar's tar has names in UTF-8
        )
        assert process.stdout is not None
        pipe = _Pipe(process.stdout, command[0], rules)
        try:
            for info in infos:
                kind, problem = _kind(info, rules)
                name = rules.judge(info.filename, kind, problem)
                pipe.next_member(info, kind)
                if isinstance(name, Refused):
                    yield name
                elif name is not None:
                    yield Member(name, info.file_size, pipe.opener())
            pipe.finish()
            if any(info.CRC is None for info in infos if info.file_size) and process.wait():
                told.seek(0)
                says = printable(told.read(200).decode(errors="replace").strip())
                raise ArchiveError(f"damaged: {rules.archive}: {command[0]} says: {says}, and there are no checksums")
        finally:
            pipe.end()
            process.kill()
            process.stdout.close()
            process.wait()


def _listed(path: Path, rules: Rules) -> list[rarfile.RarInfo]:
    import rarfile

    kinds, blocks = set(), 0

    def seen(block: rarfile.RarInfo) -> None:
        nonlocal blocks
        kinds.add(block.type)
        blocks += 1
        # a member may have blocks for its rights and streams
        if blocks > 4 * rules.params.max_members + 100:
            raise ArchiveError(f"too many members: {rules.archive}: {blocks} blocks (fetch.max_members)")

    try:
        archive = rarfile.RarFile(path.resolve(), info_callback=seen)
    except rarfile.NeedFirstVolume:
        problem = f"volumes: {rules.archive}: a later one of several: unpack them and give the folder"
    except (rarfile.Error, struct.error, OSError, ValueError, LookupError, ArithmeticError) as error:
        problem = f"damaged: {rules.archive}: {' '.join(str(error).split()) or type(error).__name__}"
    else:
        if archive.needs_password():
            problem = f"encrypted: {rules.archive}: unpack it and give the folder"
        elif len(archive.volumelist()) > 1 or "next volume" in (archive.strerror() or ""):
            problem = f"volumes: {rules.archive}: one of several: unpack them and give the folder"
        elif archive.strerror():
            problem = f"damaged: {rules.archive}: {archive.strerror()}"
        elif rarfile.RAR_BLOCK_ENDARC not in kinds:
            problem = f"damaged: {rules.archive}: it is cut short: there is no end mark"
        else:
            return list(archive.infolist())
    raise ArchiveError(problem)


def _command(path: Path, rules: Rules) -> list[str]:
    import rarfile

    try:
        command = rarfile.tool_setup().open_cmdline(None, str(path.resolve()))
    except rarfile.RarCannotExec:
        raise ArchiveError(
            f"no tool: {rules.archive}: a rar needs unrar, unar, 7z or bsdtar: install one, or unpack it and give"
            " the folder"
        ) from None
    # rarfile's command for bsdtar reads a file named `--`
    return [command[0], "-cf", "-", "--format=pax", f"@{path.resolve()}"] if command[0] == "bsdtar" else command


def _kind(info: rarfile.RarInfo, rules: Rules) -> tuple[Kind, str]:
    if info.is_symlink() or info.file_redir:
        return "link", "link" if info.is_symlink() else "hard link"
    if info.is_dir():
        return "folder", ""
    if not info.is_file():
        return "special", "device"
    if info.file_size > rules.params.max_bytes:
        return "file", rules.too_large
    return "file", ""


class _Pipe:
    """What the tool writes, cut into members."""

    def __init__(self, pipe: IO[bytes], tool: str, rules: Rules) -> None:
        self._descriptor = pipe.fileno()
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)
        self._tool = tool
        self._rules = rules
        self._tar: tarfile.TarFile | None = None
        self._read: Callable[[int], bytes] = self.read
        self._number = 0
        self._name = "its first member"
        self._size = self._left = self._packed = self._crc = 0
        self._expected: int | None = None

    def read(self, size: int) -> bytes:
        """The next bytes of the pipe; tarfile reads here too.

        Raises:
            ArchiveError: the tool says nothing for too long.
        """
        if not self._poll.poll(1000 * self._rules.params.timeout_seconds):
            raise self._broken(f"{self._tool} is silent for {self._rules.params.timeout_seconds:g} s")
        return os.read(self._descriptor, min(size, _BLOCK))

    def next_member(self, info: rarfile.RarInfo, kind: Kind) -> None:
        """Passes over what is left of the last one."""
        self._skip()
        self._number += 1
        self._name = printable(info.filename)
        # the tools write nothing for what is no file; where one does, the next checksum tells
        self._size = self._left = info.file_size if kind == "file" else 0
        self._packed, self._expected, self._crc = info.compress_size, info.CRC, 0
        if self._tool == "bsdtar" and kind == "file":
            self._read = self._next_in_tar()

    def _next_in_tar(self) -> Callable[[int], bytes]:
        try:
            if self._tar is None:
                self._tar = tarfile.TarFile.open(fileobj=cast(BinaryIO, self), mode="r|", encoding="utf-8")
            while entry := self._tar.next():
                self._tar.members = []  # type: ignore[attr-defined]
                if entry.isreg():
                    stream = self._tar.extractfile(entry)
                    if stream is None or entry.size != self._size:
                        raise self._broken(f"{self._tool} finds {entry.size} bytes there, and not {self._size}")
                    return stream.read
        except tarfile.TarError as error:
            raise self._broken(f"{self._tool} does not unpack it ({error})") from None
        raise self._broken(f"{self._tool} does not unpack it")

    def opener(self) -> Callable[[], BinaryIO]:
        """Of the member that is next in the pipe."""
        number = self._number

        def pull(size: int) -> bytes:
            if number != self._number:
                raise RuntimeError("a member is read after the next was taken")
            return self._pull(size) if self._left else b""

        return lambda: MemberStream.opened(pull)

    def finish(self) -> None:
        """Passes over what is left.

        Raises:
            ArchiveError: that is more than the list says.
        """
        self._skip()
        most = 0 if self._tar is None else _TAR_END
        while data := self.read(_BLOCK):
            most -= len(data)
            if most < 0:
                raise self._broken(f"{self._tool} unpacks more than the list of members has")

    def end(self) -> None:
        """Nothing is read from here on."""
        self._number = -1

    def _skip(self) -> None:
        while self._left:
            self._pull(_BLOCK)

    def _pull(self, size: int) -> bytes:
        try:
            data = self._read(min(size, self._left))
        except tarfile.TarError:
            data = b""
        if not data:
            raise self._broken(f"{self._tool} does not unpack all of it")
        self._left -= len(data)
        self._crc = zlib.crc32(data, self._crc)
        self._rules.count(len(data), member=self._name, out=self._size - self._left, packed=self._packed)
        if not self._left and self._expected is not None and self._crc != self._expected:
            raise self._broken("wrong checksum")
        return data

    def _broken(self, why: str) -> ArchiveError:
        return ArchiveError(f"damaged: {self._rules.archive}: {self._name}: {why}")
