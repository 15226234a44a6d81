"""Named datasets: where their files are, what those must be, and how a name tells group, label and official part.

In: `datasets/<name>.yaml`, ours or a user's own, anywhere. Out: a checked `Dataset`. A file for which nobody publishes
a checksum is pinned by its first download, in `<name>.pins.json` beside it: from then on other bytes are a failure. The
pins are for git: they hold for everyone who works with the project.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from vidpred.config import Count, FetchParams, Section
from vidpred.data.archives import ArchiveError, Refused, is_archive, members
from vidpred.data.graphs import SUFFIXES
from vidpred.data.lists import ListLayout
from vidpred.errors import UserError
from vidpred.problems import problems
from vidpred.workspace import write_json

log = logging.getLogger(__name__)

Part = Literal["train", "val", "test"]


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]


class DataFile(Section):
    """One file of a dataset."""

    url: Annotated[str, Field(min_length=1)]
    """http, https, s3, or a path that begins at the yaml."""
    bytes: Count | None = None
    """Its size, where that is known."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Its checksum; null: nobody publishes one, and the first download pins it."""
    sha1: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    """Where only this one is published: what the first download must have."""
    use: Literal["data", "list", "splits", "labels"] = "data"
    """What it holds: `data` clips (a GIF or video, an archive, an array); `list` URLs of clips; `splits` names of clips
    that belong to a part; `labels` the names of the classes, a line each, from number 0 on."""
    keep: Pattern | None = None
    """Only members of the archive whose path it matches are looked at."""
    part: Part | None = None
    """The part of all that it holds or names, where nothing else tells one."""
    layout: ListLayout = ListLayout()
    """How a list is written."""
    lists: dict[Part, tuple[str, ...]] = Field(default_factory=dict)
    """Of an archive of `splits`: which of its members name the clips of which part; `{split}` is the dataset's."""


def _own_names() -> dict[Part, tuple[str, ...]]:
    return {"train": ("train",), "val": ("val",), "test": ("test",)}


class Dataset(Section):
    """A file of the catalog."""

    dataset: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    """Its name here."""
    title: str
    """Its name in print."""
    homepage: str
    """Where its authors tell of it."""
    licence: str
    """Under which it may be used, as far as its authors say."""
    citation: str
    """What to cite."""
    note: str = ""
    """For people: how large it is, what to do by hand, what is not published."""
    members: Pattern | None = None
    """Searched for in each clip's path or URL; its named groups tell `group`, `label` and `part`."""
    parts: dict[Part, tuple[str, ...]] = Field(default_factory=_own_names)
    """Which texts of the named group `part`, or of a list's column `part`, mean which part; `*`: all others."""
    split: Count | None = None
    """Which of several official splits is taken."""
    files: Annotated[tuple[DataFile, ...], Field(min_length=1)]
    """What to fetch, in this order."""

    @model_validator(mode="after")
    def _whole(self) -> Dataset:
        urls = [file.url for file in self.files]
        if len(set(urls)) < len(urls):
            raise ValueError(f"files name {next(url for url in urls if urls.count(url) > 1)} twice")
        if not any(file.use in ("data", "list") for file in self.files):
            raise ValueError("files hold no clips: one must be of use: data or list")
        for file in self.files:
            if file.use == "splits" and bool(file.lists) != is_archive(file.url):
                raise ValueError(f"files: {file.url}: an archive of splits needs `lists`, a text of them has none")
            if file.use == "splits" and not file.lists and not file.part:
                raise ValueError(f"files: {file.url}: `part` is missing: which part it lists")
            if self.split is None and any("{split}" in name for names in file.lists.values() for name in names):
                raise ValueError(f"files: {file.url}: `split` is missing: which of the splits to take")
        return self

    @cached_property
    def _texts(self) -> dict[str, str]:
        return {text: part for part, texts in self.parts.items() for text in texts}

    def part_of(self, text: str) -> str | None:
        """The part that a text means, or None."""
        return self._texts.get(text, self._texts.get("*"))

    def told_by(self, name: str) -> dict[str, str]:
        """What a path or URL tells: `group`, `label` and `part`, those that it does."""
        match = re.search(self.members, name) if self.members else None
        told = {key: text for key, text in match.groupdict().items() if text} if match else {}
        if "part" in told:
            told["part"] = self.part_of(told["part"]) or ""
        return told


def read_dataset(raw: dict[str, Any]) -> Dataset:
    """A dataset of the catalog, checked.

    Args:
        raw: What its file holds.

    Raises:
        UserError: with what is wrong and where.
    """
    try:
        return Dataset.model_validate(raw)
    except ValidationError as error:
        raise UserError(problems(error, Dataset, raw)) from None


class Pins:
    """`<name>.pins.json`: what each file was at its first download, where nobody else says what it must be."""

    def __init__(self, dataset: Path) -> None:
        """Reads the pins of a dataset's file.

        Raises:
            UserError: they cannot be read.
        """
        self.path = dataset.with_suffix(".pins.json")
        self._changed = False
        try:
            self._pins: dict[str, dict[str, Any]] = json.loads(self.path.read_text()) if self.path.exists() else {}
            self._sha256 = {url: str(pin["sha256"]) for url, pin in self._pins.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{self.path} cannot be read ({type(error).__name__}): restore it (git checkout), or delete it and the"
                " files are pinned again"
            ) from None

    def sha256(self, file: DataFile) -> str:
        """The checksum that a file must have, or an empty string."""
        return file.sha256 or self._sha256.get(file.url, "")

    def problem(self, file: DataFile, path: Path, sha256: str) -> str:
        """What is wrong with a downloaded file, as a reason, or an empty string; what is right and new is pinned."""
        size, wanted = path.stat().st_size, self.sha256(file)
        if wanted and sha256 != wanted:
            return f"checksum: {sha256}, not {wanted}{self.advice(file)}"
        if file.bytes is not None and size != file.bytes:
            return f"checksum: {size} bytes, not the {file.bytes} that the dataset's file says"
        if not wanted:
            if file.sha1 is not None and (sha1 := _sha1(path)) != file.sha1:
                return f"checksum: sha1 {sha1}, not the published {file.sha1}"
            self._pins[file.url] = {"bytes": size, "sha256": sha256}
            self._sha256[file.url] = sha256
            self._changed = True
        return ""

    def advice(self, file: DataFile) -> str:
        """What to do about a file that is not as pinned."""
        if file.sha256:
            return ""
        return f"; if its publisher changed it and you want it so, delete its lines in {self.path}"

    def save(self) -> None:
        """Writes what was pinned."""
        if not self._changed:
            return
        try:
            write_json(self.path, self._pins)
            log.info("%s: checksums of what was downloaded first; commit it", self.path)
        except OSError as error:
            log.warning("%s cannot be written (%s): a later change will not be noticed", self.path, error.strerror)


def _sha1(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


class Official:
    """The official split: which part each clip is in, by its file name without suffix, or by its URL."""

    def __init__(self) -> None:
        self._parts: dict[str, str] = {}

    def read(self, file: DataFile, path: Path, split: int | None, params: FetchParams) -> None:
        """Takes in a file of `splits`.

        Raises:
            UserError: it cannot be read, or does not hold the lists that it should, or puts a clip into two parts.
        """
        if not file.lists:
            try:
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError as error:
                raise UserError(f"{file.url} cannot be read: {error.strerror}") from None
            self._add(lines, str(file.part), file.url)
            return
        wanted = {name.replace("{split}", str(split)): part for part, names in file.lists.items() for name in names}
        found = set()
        try:
            for member in members(path, params, wanted.__contains__):
                if not isinstance(member, Refused):
                    with member.open() as text:
                        lines = text.read().decode("utf-8", "replace").splitlines()
                    self._add(lines, wanted[member.name], f"{file.url}: {member.name}")
                    found.add(member.name)
        except ArchiveError as error:
            raise UserError(f"{file.url}: {error}") from None
        if missing := sorted(wanted.keys() - found):
            raise UserError(f"{file.url} does not hold {', '.join(missing)}")

    def _add(self, lines: Iterable[str], part: str, told: str) -> None:
        for name in _first_words(lines):
            if self._parts.setdefault(_key(name), part) != part:
                raise UserError(f"{told} lists {name} as {part}, and another list as {self._parts[_key(name)]}")

    def part(self, name: str) -> str:
        """The part of a clip, or an empty string."""
        return self._parts.get(_key(name), "") if self._parts else ""


def _first_words(lines: Iterable[str]) -> Iterator[str]:
    """The names of a list; UCF-101's has the number of the class behind each."""
    return (line.split()[0] for line in lines if line.strip())


def _key(name: str) -> str:
    """By what a clip is found in the lists: UCF-101's say HandStandPushups, copies of its videos HandstandPushups."""
    if "://" in name:
        return name
    path = PurePosixPath(name)
    return (path.stem if path.suffix.lower() in SUFFIXES else path.name).casefold()
