"""What is listed elsewhere: the URLs of a list, and the files of a dataset of the catalog.

In: the rows of a list, or a dataset. Out: rows of `sources.jsonl`. All that is missing is downloaded first, many at
once; rows then come in the order of the list, whatever came first.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vidpred.data.archives import is_archive
from vidpred.data.bundles import rows_of, rows_of_folder
from vidpred.data.catalog import DataFile, Dataset, Official, Pins
from vidpred.data.download import Download, DownloadError, Item, download_all
from vidpred.data.graphs import SUFFIXES
from vidpred.data.intake import Facts, Intake, Source, Tell
from vidpred.data.lists import BadRow, Entry, read_list
from vidpred.data.progress import progress
from vidpred.errors import UserError
from vidpred.workspace import file_sha256, locked

log = logging.getLogger(__name__)

EntryFacts = Callable[[Entry, str], Facts]
"""The facts of a clip by its row of the list and, within an archive, its path there; else its URL."""


class Remote:
    """Brings in what is listed."""

    def __init__(self, intake: Intake, folder: Path, downloads: Path, retry: Collection[str]) -> None:
        """Says where.

        Args:
            intake: Takes the copies.
            folder: Where relative paths begin.
            downloads: Folder of finished downloads, kept.
            retry: Reasons of earlier failures that are tried again; empty: those that may pass.
        """
        self.passing: set[str] = set()
        """Reasons of failures that may pass, as `retry` takes them."""
        self.full = ""
        """Why a download found no room on the disk, where one did not."""
        self._intake, self._params = intake, intake.params
        self._folder, self._downloads, self._retry = folder, downloads, retry

    def listed(
        self, entries: Sequence[Entry | BadRow], facts: EntryFacts, *, downloaded: bool = False
    ) -> Iterator[Source]:
        """The rows of a list; what it names more than once is downloaded once.

        Args:
            entries: Of the list.
            facts: What is known of a clip.
            downloaded: Whether the list came from elsewhere: then it must not name files of this machine.
        """
        items: dict[str, Item] = {}
        for entry in entries:
            if isinstance(entry, Entry) and "://" in entry.name:
                known = items.get(entry.name)
                if known is None or (entry.sha256 and not known.sha256):
                    items[entry.name] = self._item(entry.name, entry.sha256)
                elif entry.sha256 and entry.sha256 != known.sha256:  # only one can be right: each row is checked later
                    items[entry.name] = self._item(entry.name, "")
        came = dict(zip(items, self._downloaded(list(items.values())), strict=True))
        times = Counter(entry.name for entry in entries)
        taken: dict[str, Source] = {}
        with progress("fetch", len(entries)) as advance:
            for entry in entries:
                if isinstance(entry, BadRow):
                    yield self._intake.failed(entry.name, entry.reason, Facts())
                elif downloaded and entry.name not in came:
                    yield self._intake.failed(entry.name, "no url: a list that was downloaded has none else", Facts())
                elif (row := taken.get(entry.name)) and entry.sha256 in ("", row.sha256):
                    yield self._intake.again(row, facts(entry, entry.name))
                else:
                    for row in self._entry(entry, came.get(entry.name), facts):
                        if times[row.name] > 1 and row.file and Path(row.file).suffix in SUFFIXES:
                            taken[row.name] = row  # its other ranges need no copy of their own
                        yield row
                advance()

    def dataset(self, data: Dataset, pins: Pins) -> Iterator[Source]:
        """The rows of a dataset; its files that only tell of others are read first.

        Args:
            data: The dataset.
            pins: What its files were the first time.

        Raises:
            UserError: a list of its official split or of its labels is not to be had.
        """
        log.info("%s: %s", data.title, data.licence)
        came = self._files(data, pins)
        official, labels = Official(), list[str]()
        for file in data.files:
            if file.use in ("splits", "labels"):
                path = came[file.url]
                if isinstance(path, str):
                    raise UserError(f"{file.url}: {path}")
                if file.use == "splits":
                    official.read(file, path, data.split, self._params)
                else:
                    labels = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for file in data.files:
            path, tell = came[file.url], _told(data, file, official)
            if file.use in ("splits", "labels"):
                continue
            if isinstance(path, str):
                yield self._intake.failed(file.url, path, tell(file.url))
            elif file.use == "list":
                entries = read_list(path, file.url, suffix=_suffix(file.url), layout=file.layout, part_of=data.part_of)
                yield from self.listed(list(entries), _listed_facts(tell, labels), downloaded="://" in file.url)
            elif path.is_dir():
                yield from rows_of_folder(self._intake, path, file.url.rstrip("/"), tell)
            else:
                name = unquote(_path(file.url)).rpartition("/")[2]
                yield from rows_of(self._intake, path, name, tell, kind=name, keep=file.keep)

    def _entry(self, entry: Entry, came: Download | DownloadError | None, facts: EntryFacts) -> Iterator[Source]:
        def tell(name: str) -> Facts:
            return facts(entry, name)

        if isinstance(came, DownloadError):
            yield self._intake.failed(entry.name, str(came), tell(entry.name))
            return
        path = came.path if came else self._folder / Path(entry.name).expanduser()
        if entry.sha256 and path.is_file():
            sha256 = came.sha256 if came else file_sha256(path)
            if sha256 != entry.sha256:
                reason = f"checksum: {sha256}, not {entry.sha256}"
                yield self._intake.failed(entry.name, reason, tell(entry.name))
                return
        if path.is_dir():
            yield from rows_of_folder(self._intake, path, entry.name.rstrip("/"), tell)
        else:
            yield from rows_of(self._intake, path, entry.name, tell, kind=_kind(entry.name, came))

    def _files(self, data: Dataset, pins: Pins) -> dict[str, Path | str]:
        """Where each file of a dataset is, or why there is none."""
        remote = [file for file in data.files if "://" in file.url]
        items = [
            replace(self._item(file.url, pins.sha256(file)), max_bytes=self._params.max_archive_bytes, media=False)
            for file in remote
        ]
        came: dict[str, Path | str] = {}
        for file, result in zip(remote, self._downloaded(items), strict=True):
            if isinstance(result, Download):
                came[file.url] = pins.problem(file, result.path, result.sha256) or result.path
            else:
                came[file.url] = f"{result}{pins.advice(file) if result.code == 'checksum' else ''}"
        pins.save()
        for file in data.files:
            if file.url not in came:
                came[file.url] = _local(file, self._folder / Path(file.url).expanduser())
        return came

    def _item(self, url: str, sha256: str) -> Item:
        whole = _holds_many(url)
        return Item(url, sha256, max_bytes=self._params.max_archive_bytes if whole else None, media=not whole)

    def _downloaded(self, items: Sequence[Item]) -> list[Download | DownloadError]:
        if not items:
            return []
        with locked(self._downloads):
            results = download_all(items, self._downloads, self._params, retry=self._retry)
        self.full = next((r.detail for r in results if isinstance(r, DownloadError) and r.code == "disk"), self.full)
        self.passing |= {
            result.code.removeprefix("http ")
            for result in results
            if isinstance(result, DownloadError) and result.passing
        }
        return results


def entry_facts(entry: Entry, _: str) -> Facts:
    """What a list of the user's says of a clip."""
    return Facts(entry.group, entry.label, entry.licence, entry.part, entry.start_seconds, entry.end_seconds)


def _told(data: Dataset, file: DataFile, official: Official) -> Tell:
    """What a dataset says of a clip."""

    def tell(name: str) -> Facts:
        told = data.told_by(name)
        part = official.part(name) or told.get("part", "") or file.part or ""
        return Facts(told.get("group", ""), told.get("label", ""), data.licence, part)

    return tell


def _listed_facts(tell: Tell, labels: Sequence[str]) -> EntryFacts:
    """What a dataset's list, and then the dataset itself, say of a clip."""

    def facts(entry: Entry, name: str) -> Facts:
        more = tell(name)
        number = entry.label.split(",")[0].strip()
        label = labels[int(number)] if number.isdecimal() and int(number) < len(labels) else entry.label
        return Facts(
            group=entry.group or more.group,
            label=label or more.label,
            licence=entry.licence or more.licence,
            part=entry.part or more.part,
            start_seconds=entry.start_seconds,
            end_seconds=entry.end_seconds,
        )

    return facts


def _local(file: DataFile, path: Path) -> Path | str:
    """A file of a dataset that is on this machine, or what is wrong with it."""
    if not path.exists():
        return "no such file"
    if file.sha256 and path.is_file() and (sha256 := file_sha256(path)) != file.sha256:
        return f"checksum: {sha256}, not {file.sha256}"
    return path


def _kind(name: str, came: Download | None) -> str:
    """A name whose suffix says what an entry is: what holds many by its URL, all else by what came."""
    if came is None:
        return name
    return _path(name) if _holds_many(name) else f"x{came.suffix}"


def _holds_many(url: str) -> bool:
    return is_archive(_path(url)) or _suffix(url) == ".npy"


def _suffix(url: str) -> str:
    return Path(unquote(_path(url))).suffix.lower()


def _path(url: str) -> str:
    """The path of a URL, or a path as it is."""
    try:
        return urlsplit(url).path if "://" in url else url
    except ValueError:
        return ""
