"""Lists of URLs and paths: what each row names, and what it says of it.

In: a text file (a URL or path a line), or a CSV or TSV with a header; TGIF's TSV of URL and caption has none. Out: an
entry a row in the file's order, or what is wrong with the row: one bad row never stops the others.
"""

from __future__ import annotations

import csv
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from vidpred.config import Section
from vidpred.errors import UserError

log = logging.getLogger(__name__)

SUFFIXES = frozenset((".txt", ".csv", ".tsv"))
"""Names of lists."""
COLUMNS = ("url", "path", "group", "label", "sha256", "start_seconds", "end_seconds", "licence", "part")
"""What a column may be called; `url` and `path` mean the same."""
PARTS = ("train", "val", "test")

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_SLOT = re.compile(r"\{(\w+)\}")


class ListLayout(Section):
    """How a list is written that has no such header; for datasets of the catalog."""

    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Between two columns; null: by the name, a tab (.tsv), a comma (.csv)."""
    columns: tuple[str, ...] | None = None
    """Names of the columns, where the file does not begin with them."""
    fields: dict[str, str] = Field(default_factory=dict)
    """How ours are made of the file's: `{url: "https://www.youtube.com/watch?v={youtube_id}"}`."""


@dataclass(frozen=True)
class Entry:
    """A row of a list."""

    line: int
    """From 1; its last, where it has several."""
    name: str
    """URL or path, as written."""
    group: str = ""
    label: str = ""
    sha256: str = ""
    licence: str = ""
    part: str = ""
    start_seconds: float | None = None
    end_seconds: float | None = None


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used."""

    name: str
    """URL or path, or `line 7` where there is none."""
    reason: str


class _Wrong(Exception):
    """What is wrong with a row."""


def official_part(name: str) -> str | None:
    """The part that a name of a part means; None for no such name."""
    return name if name in PARTS else None


def read_list(
    path: Path,
    told: str,
    *,
    suffix: str,
    layout: ListLayout | None = None,
    part_of: Callable[[str], str | None] = official_part,
) -> Iterator[Entry | BadRow]:
    """The rows of a list.

    Args:
        path: The file.
        told: What messages call it.
        suffix: `.txt`, `.csv` or `.tsv`.
        layout: How it is written, where its header does not say so.
        part_of: Which part a name in the column `part` means, or None.

    Raises:
        UserError: it cannot be read, or has no column of URLs or paths.
    """
    layout = layout or ListLayout()
    plain = suffix not in (".csv", ".tsv") and layout.separator is None
    try:
        with path.open(encoding="utf-8-sig", newline=None if plain else "") as file:
            if plain:
                yield from _lines(file)
            else:
                yield from _table(file, told, layout.separator or ("\t" if suffix == ".tsv" else ","), layout, part_of)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{told} cannot be read as text ({error})") from None


def _lines(file: Iterator[str]) -> Iterator[Entry]:
    for line, text in enumerate(file, 1):
        name = text.strip()
        if name and not name.startswith("#"):
            yield Entry(line, name)


def _table(
    file: Iterator[str],
    told: str,
    separator: str,
    layout: ListLayout,
    part_of: Callable[[str], str | None],
) -> Iterator[Entry | BadRow]:
    # quotation marks have a meaning in CSV only: a caption of a TSV may begin with one
    quoted = separator == ","
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    header = list(layout.columns) if layout.columns else None
    for line, text in enumerate(file, 1):
        try:
            # a line is a row: else one quotation mark too few would swallow all that follow it
            (cells,) = csv.reader([text], delimiter=separator, strict=quoted, quoting=quoting)
        except csv.Error as error:
            if header is None:
                raise
            yield BadRow(f"line {line}", f"bad row: line {line}: {_WORDS.get(str(error), str(error))}")
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header, is_header = _header(cells, told, layout)
            if is_header:
                continue
        try:
            yield _entry(line, header, cells, layout.fields, part_of)
        except _Wrong as wrong:
            name = _named(header, cells, layout.fields) or f"line {line}"
            yield BadRow(name, f"bad row: line {line}: {wrong}")


_WORDS = {"unexpected end of data": "a quotation mark is not closed in it"}
"""What the csv module says, in words that help."""


def _header(cells: Sequence[str], told: str, layout: ListLayout) -> tuple[list[str], bool]:
    """Names of the columns, and whether these cells are they."""
    names = [cell.strip().lower() for cell in cells]
    used = {slot for template in layout.fields.values() for slot in _SLOT.findall(template)}
    if not {"url", "path"} & ({*names} | {*layout.fields}):
        if "://" in cells[0]:  # TGIF's: a URL and a caption
            return ["url", *[""] * (len(cells) - 1)], False
        raise UserError(f"{told} has no column url or path in its first line ({', '.join(cells)[:80]})")
    unknown = [name for name in names if name and name not in COLUMNS and name not in used]
    if unknown:
        log.warning("%s: columns that mean nothing here are passed over: %s", told, ", ".join(unknown))
    return names, True


def _values(header: Sequence[str], cells: Sequence[str], fields: Mapping[str, str]) -> dict[str, str]:
    """What the row says, by the names of our columns."""
    row = {name: cell.strip() for name, cell in zip(header, cells, strict=False)}
    made = {
        # one that is made of an empty cell is empty
        name: _SLOT.sub(lambda slot: row.get(slot[1], ""), template)
        if all(row.get(slot) for slot in _SLOT.findall(template))
        else ""
        for name, template in fields.items()
    }
    return row | made


def _named(header: Sequence[str], cells: Sequence[str], fields: Mapping[str, str]) -> str:
    values = _values(header, cells, fields)
    return values.get("url") or values.get("path") or ""


def _entry(
    line: int,
    header: Sequence[str],
    cells: Sequence[str],
    fields: Mapping[str, str],
    part_of: Callable[[str], str | None],
) -> Entry:
    values = _values(header, cells, fields)
    if len(cells) > len(header):
        raise _Wrong(f"{len(cells)} cells where there are {len(header)} columns")
    name = values.get("url") or values.get("path")
    if not name:
        raise _Wrong("no URL or path")
    sha256 = values.get("sha256", "")
    if sha256 and not _SHA256.fullmatch(sha256):
        raise _Wrong(f"sha256 {sha256[:80]!r} is not 64 hexadecimal digits")
    start, end = (_seconds(column, values.get(column, "")) for column in ("start_seconds", "end_seconds"))
    if end is not None and end <= (start or 0):
        raise _Wrong(f"end_seconds {end:g} is not after start_seconds {start or 0:g}")
    part = part_of(values["part"]) if values.get("part") else ""
    if part is None:
        raise _Wrong(f"part {values['part'][:80]!r} is none of {', '.join(PARTS)}")
    return Entry(
        line=line,
        name=name,
        group=values.get("group", ""),
        label=values.get("label", ""),
        sha256=sha256.lower(),
        licence=values.get("licence", ""),
        part=part,
        start_seconds=start,
        end_seconds=end,
    )


def _seconds(column: str, text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise _Wrong(f"{column} {text[:80]!r} is no number of seconds") from None
    if not math.isfinite(value) or value < 0:
        raise _Wrong(f"{column} {text[:80]!r} is not a number of seconds from 0 on")
    return value
