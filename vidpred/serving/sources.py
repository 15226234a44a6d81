"""What a command line names, as clips to read: files, folders, globs, lists of paths, and standard input.

In: paths as they were typed. Out: the files, each with the name that people know it by, and a line for all that gives
none.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidpred.data import media
from vidpred.errors import UserError

STDIN = Path("-")
STDIN_BYTES = 1 << 30
"""That are taken from standard input at the most."""
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """A clip to read."""

    path: Path
    name: str
    """In messages."""
    stem: str
    """Of the result's name."""


@dataclass
class Sources:
    """What was named, and what came of it."""

    files: list[Source] = field(default_factory=list)
    """Each once, in the order in which they were named."""
    problems: list[str] = field(default_factory=list)
    """A line for each name that gives no file."""
    several: bool = False
    """Whether more than one clip may come out."""


def collect(
    inputs: Sequence[Path], *, listed: Path | None, folder: Path, command: str = "vidpred predict MODEL"
) -> Sources:
    """The clips behind what was typed.

    Args:
        inputs: Files, folders (all GIFs and videos below them), globs, or `-`: the bytes of one clip on standard
            input.
        listed: A file of paths, one a line or with NUL between them, or `-`: standard input.
        folder: An empty one, where the bytes of standard input are put.
        command: That was typed, for what is said of an address in the net.

    Raises:
        UserError: nothing is named, standard input is asked for twice or is a terminal, or `listed` cannot be read.
    """
    if not inputs and listed is None:
        raise UserError("no clips: name GIFs, videos or folders of them, or give --files-from")
    if [*inputs, listed].count(STDIN) > 1:
        raise UserError("standard input (-) can be read once only: it is the bytes of a clip or a list of paths")
    found: dict[Path, Source] = {}
    sources = Sources(several=len(inputs) > 1 or listed is not None)
    for path in [*inputs, *(_listed(listed) if listed is not None else ())]:
        if path == STDIN:
            found[STDIN] = Source(_from_stdin(folder), "standard input", "stdin")
            continue
        matches = _matching(path)
        files = [file for match in matches for file in _files(match)]
        for file in files:
            found.setdefault(file, Source(file, str(file), file.stem))
        sources.several |= len(files) > 1 or any(_kind(match) == "folder" for match in matches)
        if not files:
            sources.problems.append(_problem(path, command))
    sources.files = list(found.values())
    return sources


def is_url(typed: str) -> bool:
    """Whether it is an address in the net, also where a path has lost a slash of it."""
    return re.match("(https?|ftps?|s3|gs|file):/", typed, re.IGNORECASE) is not None


def _kind(path: Path) -> str:
    """`file`, `folder`, or why it is neither."""
    try:
        if path.is_dir():
            return "folder"
        return "file" if path.exists() else "no such file or folder"
    except OSError as error:  # such as a name that is too long
        return f"cannot be read: {error.strerror}"


def _matching(path: Path) -> list[Path]:
    """The path itself where there is one; else all that it stands for as a glob."""
    if _kind(path) in ("file", "folder") or not glob.has_magic(str(path)):
        return [path]
    return [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 - Path's has no absolute patterns


def _files(path: Path) -> list[Path]:
    """A file itself; of a folder every GIF and video below it."""
    kind = _kind(path)
    if kind == "folder":
        return sorted(p for p in path.rglob("*") if p.suffix.lower() in media.SUFFIXES and p.is_file())
    return [path] if kind == "file" else []


def _problem(path: Path, command: str) -> str:
    """Why a path gives no clip."""
    if is_url(str(path)):
        url = re.sub("^([a-zA-Z0-9]+:)/+", r"\1//", str(path))  # a path has lost a slash of it
        if url.startswith("http"):
            piped = f"curl -sL {shlex.quote(url)} | {command} -"
            return f"{url} is an address, and only files are read: `{piped}`"
        return f"{url} is an address, and only files are read: download it first, or pipe it into `-`"
    kind = _kind(path)
    if kind == "folder":
        return f"{path} holds no GIF or video: put some there, or name a file"
    if glob.has_magic(str(path)):
        return f"{path}: no file matches it"
    return f"{path}: {kind}"


def _listed(path: Path) -> list[Path]:
    if path == STDIN:
        _refuse_terminal("a list of paths")
        content = sys.stdin.buffer.read()
    else:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"--files-from {path} cannot be read: {error.strerror}") from None
    lines = content.split(b"\0") if b"\0" in content else content.splitlines()
    named = [Path(os.fsdecode(line)) for line in lines if line.strip()]
    if STDIN in named:
        raise UserError(f"--files-from {path} names -, standard input: only the command line can")
    return named


def _from_stdin(folder: Path) -> Path:
    """A file of all that standard input gives."""
    _refuse_terminal("a GIF or video")
    path, taken = folder / "stdin", 0
    try:
        with path.open("wb") as file:
            while piece := sys.stdin.buffer.read(_PIECE_BYTES):
                taken += len(piece)
                if taken > STDIN_BYTES:
                    raise UserError(f"standard input gives more than {STDIN_BYTES >> 30} GiB: name a file instead")
                file.write(piece)
    except OSError as error:
        raise UserError(f"what standard input gives cannot be kept: {error.strerror}") from None
    return path


def _refuse_terminal(what: str) -> None:
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError(f"standard input (-) is a terminal: pipe {what} into it")
