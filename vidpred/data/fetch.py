"""Inputs from a folder, a list, an archive, a dataset or a recipe, brought under names of our own.

In: `fetch.source`, always a path. Out, in one folder: `files/<sha256>.<suffix>` and `sources.jsonl`, a row an input, in
a fixed order. One bad input stops none of the others. The way of an input:

1. lists.py, catalog.py, recipes.py   what the source names
2. remote.py, with download.py        brings what is elsewhere
3. bundles.py, with archives.py       takes apart what holds several clips
4. intake.py, with sequences.py       copies, and makes the rows
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Collection, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vidpred.config import FetchParams
from vidpred.data import recipes
from vidpred.data.archives import is_archive
from vidpred.data.bundles import rows_of, rows_of_folder
from vidpred.data.catalog import Pins, read_dataset
from vidpred.data.graphs import SUFFIXES
from vidpred.data.intake import Facts, Intake, told_by_folders
from vidpred.data.intake import Source as Source  # both are part of what this file offers
from vidpred.data.intake import grouped as grouped
from vidpred.data.lists import SUFFIXES as LIST_SUFFIXES
from vidpred.data.lists import read_list
from vidpred.data.mnist import recipe_of
from vidpred.data.progress import EXAMPLES, progress, tell_set_aside
from vidpred.data.remote import Remote, entry_facts
from vidpred.data.transfer.items import check_retry
from vidpred.errors import UserError
from vidpred.workspace import atomic, fresh_folder

log = logging.getLogger(__name__)

_WANTED = (
    "a folder, a GIF or video, an archive, an array (.npy), a list of URLs (.txt, .csv, .tsv), or a dataset or recipe"
    " (.yaml)"
)


def fetch(
    params: FetchParams, out: Path, downloads: Path, *, workers: int, retry: Collection[str] = ()
) -> dict[str, Any]:
    """Fills a folder, and gives the stage's figures.

    Args:
        params: Source and limits.
        out: Folder to write; what stood there goes.
        downloads: Folder of finished downloads, kept.
        workers: Files of a recipe that are made at once.
        retry: Reasons of earlier failed downloads that are tried again; empty: those that may pass.

    Returns:
        Inputs, fetched, failed, bytes (of the files fetched), reasons.

    Raises:
        UserError: there is no such source or reason, the source names nothing, or nothing could be fetched.
    """
    check_retry(retry)
    if not params.source.strip():
        raise UserError(f"fetch.source is empty: give {_WANTED}")
    source = Path(params.source).expanduser()
    if not source.exists():
        raise UserError(f"fetch.source: {params.source} not found: give {_WANTED}")
    intake = Intake(fresh_folder(out), params.source, params)
    remote = Remote(intake, source.parent, downloads, retry)
    tally = _Tally()
    with atomic(out / "sources.jsonl") as part:
        with part.open("w", encoding="utf-8") as sheet, closing(_rows(source, intake, remote, workers)) as rows:
            for row in rows:
                sheet.write(json.dumps(vars(row), sort_keys=True) + "\n")
                tally.add(row)
        intake.close()
        tally.tell(out / "sources.jsonl", remote.passing)
        if full := tally.reasons["disk"]:
            raise UserError(
                f"the disk is full: {full} of {tally.inputs} inputs could not be downloaded ({remote.full}): free some "
                "space, or lower fetch.free_bytes; then run it again, it goes on from here"
            )
        if tally.failed == tally.inputs:
            reason = f" ({tally.examples[0].reason})" if tally.examples else ""
            raise UserError(f"fetch.source: none of {tally.inputs} inputs of {params.source} could be fetched{reason}")
    return {
        "inputs": tally.inputs,
        "fetched": tally.inputs - tally.failed,
        "failed": tally.failed,
        "bytes": tally.bytes,
        "reasons": dict(sorted(tally.reasons.items())),
    }


@dataclass
class _Tally:
    """What is counted while rows are written."""

    inputs: int = 0
    failed: int = 0
    bytes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[Source] = field(default_factory=list)
    """A few of each reason."""

    def add(self, row: Source) -> None:
        self.inputs += 1
        self.bytes += row.bytes
        if row.status == "failed":
            self.failed += 1
            reason = row.reason.split(":")[0]
            self.reasons[reason] += 1
            if self.reasons[reason] <= EXAMPLES:
                self.examples.append(row)

    def tell(self, sheet: Path, passing: Collection[str]) -> None:
        """Says what failed, and what may be worth another try."""
        tell_set_aside([(row.name, row.reason) for row in self.examples], self.reasons, more=f"{sheet} lists them")
        if passing:
            again = " ".join(f"--retry {reason}" for reason in sorted(passing))
            log.warning("some of it may come another time: vidpred fetch %s", again)


def _rows(source: Path, intake: Intake, remote: Remote, workers: int) -> Generator[Source, None, None]:
    """The rows of a source.

    Raises:
        UserError: it is no source, or names nothing.
    """
    told, suffix, nothing = f"fetch.source: {intake.params.source}", source.suffix.lower(), True
    if source.is_dir() and (recipe := recipe_of(source)):
        log.info("%s holds MNIST's digits: Moving MNIST is made of them (docs/data.md)", intake.params.source)
        try:
            rows, nature = _made(recipes.planned(recipe, source, intake.params), intake, workers), ""
        except UserError as error:
            raise UserError(f"{told}: {error}") from None
    elif source.is_dir():
        rows, nature = (
            rows_of_folder(intake, source, "", told_by_folders),
            "is an empty folder: put GIFs or videos into it",
        )
    elif suffix in SUFFIXES or suffix == ".npy" or is_archive(source.name):
        rows, nature = rows_of(intake, source, source.name, told_by_folders), ""
    elif suffix in LIST_SUFFIXES:
        rows = remote.listed(list(read_list(source, told, suffix=suffix)), entry_facts)
        nature = "lists nothing: give a URL or path a line"
    elif suffix in (".yaml", ".yml"):
        rows, nature = _described(source, told, intake, remote, workers), "describes nothing"
    else:
        raise UserError(f"{told} is of no kind that can be read: give {_WANTED}")
    for row in rows:
        nothing = False
        yield row
    if nothing:
        raise UserError(f"{told} {nature}")


def _described(source: Path, told: str, intake: Intake, remote: Remote, workers: int) -> Iterator[Source]:
    """The rows of a YAML file; it says what it is by its key `dataset` or `recipe`."""
    try:
        raw = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{told} cannot be read as YAML: {' '.join(str(error).split())}") from None
    try:
        if isinstance(raw, dict) and "dataset" in raw:
            yield from remote.dataset(read_dataset(raw), Pins(source))
        elif isinstance(raw, dict) and "recipe" in raw:
            yield from _made(recipes.planned(raw, source.parent, intake.params), intake, workers)
        else:
            raise UserError("is no dataset and no recipe: it has neither of these keys")
    except UserError as error:
        raise UserError(f"{told}: {error}") from None


def _made(clips: list[recipes.Made], intake: Intake, workers: int) -> Iterator[Source]:
    """The rows of a recipe, whose clips are made now."""
    with (
        progress("fetch", len(clips)) as advance,
        closing(recipes.written(clips, intake.work(), workers)) as made,
    ):
        for clip, path in made:
            yield intake.file(path, clip.name, path.suffix, Facts(clip.group, clip.label, clip.licence))
            advance()
