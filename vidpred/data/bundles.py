"""From any file or folder to rows: what holds several clips is taken apart.

In: a path, whatever it is, and what is known of it. Out: rows of `sources.jsonl`, in a fixed order. A GIF or video
gives one, an archive one a member, a folder one a file, an array (.npy) one a video; the JPEG or PNG images of a folder
are the frames of one clip, in their natural order, also within an archive. Nothing but the names of images grows with
the number of members.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vidpred.data.archives import ArchiveError, Member, MemberError, Refused, is_archive, members
from vidpred.data.graphs import SUFFIXES
from vidpred.data.intake import Facts, Intake, Source, Tell, Unusable, read_block
from vidpred.data.progress import progress
from vidpred.data.sequences import IMAGE_SUFFIXES, grouped_by_folder

log = logging.getLogger(__name__)

_TOLD_BYTES = 100_000_000
"""An archive that is larger is worth a line to those who wait for it."""


def rows_of(
    intake: Intake, path: Path, name: str, tell: Tell, *, kind: str = "", keep: str | None = None
) -> Iterator[Source]:
    """The rows of a file.

    Args:
        intake: Takes the copies.
        path: The file.
        name: What the rows call it.
        tell: What is known of a clip: by its path within the archive, else by `name`.
        kind: A name whose suffix says what it is, where the file's own does not.
        keep: A regular expression; of an archive only members whose path it matches are looked at.
    """
    kind = kind or path.name
    if not path.exists():
        reason = "cannot be read: it leads nowhere" if path.is_symlink() else "no such file"
    elif not path.is_file():
        reason = "not a file"
    elif is_archive(kind):
        yield from _archive(intake, path, name, tell, keep)
        return
    elif _suffix(kind) == ".npy":
        yield from intake.array(path, name, tell(name))
        return
    elif _suffix(kind) in SUFFIXES:
        yield intake.file(path, name, _suffix(kind), tell(name))
        return
    else:
        reason = _no_media(kind)
    yield intake.failed(name, reason, tell(name))


def rows_of_folder(intake: Intake, folder: Path, name: str, tell: Tell) -> Iterator[Source]:
    """The rows of all files of a folder and those below, sorted by path, without hidden ones.

    Args:
        intake: Takes the copies.
        folder: The folder.
        name: What the rows call it, before the paths of its files; may be empty.
        tell: What is known of a clip by its path in the folder, or in an archive of it.
    """
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    shown = [name for name in names if not _hidden(name)]
    if not shown and name:
        yield intake.failed(name, "empty folder", tell(""), folder=True)
    sequences = grouped_by_folder(shown)
    images = {name for frames in sequences.values() for name in frames}
    with progress("fetch", len(shown)) as advance:
        for inner in sorted({name for name in shown if name not in images} | sequences.keys()):
            whole = "/".join(filter(None, (name, inner))) or folder.resolve().name
            if inner in sequences:
                yield intake.sequence((folder / frame for frame in sequences[inner]), whole, tell(inner))
            else:
                yield from rows_of(intake, folder / inner, whole, tell)
            for _ in sequences.get(inner, (inner,)):
                advance()


def _archive(intake: Intake, path: Path, name: str, tell: Tell, keep: str | None) -> Iterator[Source]:
    """A row a member, in the archive's order, and then one for each folder of images.

    Images may come in any order: they wait on the disk, under numbers, until all are there.
    """
    if path.stat().st_size > _TOLD_BYTES:
        log.info("unpacking %s (%.1f GB)", name, path.stat().st_size / 1e9)
    waiting: dict[str, Path] = {}
    holes: dict[str, str] = {}
    seen = 0

    def wanted(member: str) -> bool:
        return not _hidden(member) and (keep is None or re.search(keep, member) is not None)

    try:
        for seen, member in enumerate(members(path, intake.params, wanted), 1):
            shown, facts, suffix = f"{name}/{member.name}", tell(member.name), _suffix(member.name)
            if isinstance(member, Refused):
                yield intake.failed(shown, member.reason, facts)
                if suffix in IMAGE_SUFFIXES:
                    holes[_folder(member.name)] = f"{PurePosixPath(member.name).name}: {member.reason}"
            elif suffix in IMAGE_SUFFIXES:
                waiting[member.name] = intake.work() / f"image-{seen}"
                if reason := _put_down(member, waiting[member.name]):
                    holes[_folder(member.name)] = f"{PurePosixPath(member.name).name}: {reason}"
            elif suffix == ".npy":
                yield from _array(intake, member, shown, facts)
            elif suffix in SUFFIXES:
                yield _media(intake, member, shown, facts)
            else:
                yield intake.failed(shown, _no_media(member.name), facts)
    except ArchiveError as error:
        # it names the file, which may be called by the number of its download
        reason = str(error).replace(f" {path.name}:", "", 1)
        yield intake.failed(name, reason, tell(name))
        holes |= dict.fromkeys(map(_folder, waiting), f"the archive ends early: {reason}")
    else:
        if not seen:
            yield intake.failed(name, f"no member: none matches {keep}" if keep else "no member", tell(name))
    for folder, frames in grouped_by_folder(waiting).items():
        shown, facts = (f"{name}/{folder}" if folder else name), tell(folder)
        if folder in holes:
            yield intake.failed(shown, f"images are missing: {holes[folder]}", facts, folder=True)
        else:
            yield intake.sequence((waiting[frame] for frame in frames), shown, facts)
        for frame in frames:
            waiting[frame].unlink()


def _media(intake: Intake, member: Member, name: str, facts: Facts) -> Source:
    try:
        stream = member.open()
    except MemberError as error:
        return intake.failed(name, str(error), facts)
    with stream:
        return intake.stream(stream, name, _suffix(member.name), facts)


def _array(intake: Intake, member: Member, name: str, facts: Facts) -> Iterator[Source]:
    array = intake.work() / "array.npy"
    if reason := _put_down(member, array):
        yield intake.failed(name, reason, facts)
    else:
        yield from intake.array(array, name, facts)
    array.unlink()


def _put_down(member: Member, out: Path) -> str:
    """Writes a member to the disk; why not, or an empty string."""
    with out.open("wb") as file:
        try:
            with member.open() as stream:
                while block := read_block(stream):
                    file.write(block)
        except (MemberError, Unusable) as error:
            return str(error)
    return ""


def _hidden(name: str) -> bool:
    """Whether a path, or a folder of it, is one that file managers do not show."""
    return any(piece.startswith(".") or piece == "__MACOSX" for piece in name.split("/"))


def _no_media(name: str) -> str:
    return f"no GIF or video by its name: {_suffix(name) or 'no suffix'}"


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
