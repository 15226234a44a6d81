"""`vidpred data`: what a folder of shards holds, whether it is whole, and which datasets there are by name."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidpred.data import card_figures as figures
from vidpred.data.card import duration, write_card
from vidpred.data.card_pictures import write_contact_sheet
from vidpred.data.catalog import Dataset, read_dataset
from vidpred.data.progress import progress
from vidpred.data.shards import FORMAT, Shards
from vidpred.errors import UserError, restore
from vidpred.workspace import digest, find_root

REASONS = 8
"""Reasons and other counts shown in the terminal, at the most."""

Rows = list[dict[str, Any]]


def folder_of(folder: Path | None) -> Path:
    """The folder of shards that is meant: by default the project's.

    Raises:
        UserError: none is named, and this is not inside a project.
    """
    if folder is not None:
        return folder
    found, here = find_root() / "data/shards", Path.cwd()
    return found.relative_to(here) if found.is_relative_to(here) else found


def opened(folder: Path) -> tuple[Shards, Rows]:
    """A folder of shards and its rows of sources.parquet.

    Raises:
        UserError: something is missing or damaged; names the file.
    """
    again = restore(folder, "transcode")
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name one of shards, or make one with `dvc repro transcode`")
    try:
        shards = Shards(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{_damaged(folder, error)}: {again}") from None
    try:
        sources: Rows = pq.read_table(folder / "sources.parquet").to_pylist()
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'sources.parquet'} cannot be read ({_line(error)}): {again}") from None
    return shards, sources


def _damaged(folder: Path, error: Exception) -> str:
    """Which of the files cannot be read."""
    index = folder / "index.parquet"
    try:
        pq.read_table(index)
    except (OSError, ValueError) as its:
        return f"{index} cannot be read ({_line(its)})"
    return f"{folder / 'meta.json'} is damaged ({_line(error)})"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def verify(folder: Path | None) -> None:
    """Checks every byte of a folder of shards against what was written, and that all counts add up.

    Raises:
        UserError: something differs; names the file.
    """
    folder = folder_of(folder)
    again = restore(folder, "transcode")
    shards, sources = opened(folder)
    told: dict[str, Mapping[str, Any]] = shards.meta["shards"]
    strange = sorted({path.name for path in folder.glob("frames-*.npy")} - told.keys())
    if strange:
        raise UserError(f"{folder / strange[0]} is not in meta.json: {again}")
    with progress("verify", len(told)) as advance:
        for name, shard in told.items():
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != shard["sha256"]:
                    raise UserError(f"{folder / name} has changed since it was written: {again}")
            _covered(folder / name, shards, int(shard["frames"]))
            advance()
    rows = [dataclasses.asdict(clip) for clip in shards.clips]
    if digest({"format": FORMAT, "shards": told, "index": rows}) != shards.data_id:
        raise UserError(f"{folder / 'index.parquet'} is not the one that meta.json tells of: {again}")
    counted = {"clips": len(rows), "frames": sum(clip.length for clip in shards.clips)}
    for name, count in counted.items():
        if shards.meta[name] != count:
            raise UserError(f"{folder / 'meta.json'} tells of {shards.meta[name]} {name}, there are {count}: {again}")
        of_sources = sum(row[name] or 0 for row in sources)
        if of_sources != count:
            raise UserError(f"{folder / 'sources.parquet'} tells of {of_sources} {name}, there are {count}: {again}")
    tally = figures.counts(sources)
    if sum(tally[status] for status in figures.STATUSES) != tally["inputs"]:
        raise UserError(f"{folder / 'sources.parquet'} has rows that are neither kept, dropped nor failed: {again}")
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{folder}: whole. {_plural(len(told), 'shard')}, {_plural(counted['clips'], 'clip')}, "
        f"{_plural(counted['frames'], 'frame')}; {_sum(tally)}; data_id {shards.data_id}",
        markup=False,
    )


def _covered(path: Path, shards: Shards, frames: int) -> None:
    """Whether each frame of a shard belongs to one clip."""
    again = restore(path.parent, "transcode")
    ends = 0
    for clip in sorted((c for c in shards.clips if c.shard == path.name), key=lambda clip: clip.offset):
        if clip.offset != ends:
            raise UserError(
                f"{path}: clip {clip.id} begins at frame {clip.offset}, the one before ends at {ends}: {again}"
            )
        ends += clip.length
    if ends != frames:
        raise UserError(f"{path} has {frames} frames, its clips {ends}: {again}")


def show(folder: Path | None, *, html: Path | None, contact_sheet: Path | None) -> None:
    """Prints what a folder of shards holds; writes its card and a contact sheet where asked.

    Raises:
        UserError: something is missing or damaged, or a page cannot be written there.
    """
    folder = folder_of(folder)
    for option, path in (("--html", html), ("--contact-sheet", contact_sheet)):
        if path is not None and not path.parent.is_dir():
            raise UserError(f"{option} {path}: there is no folder {path.parent}: make it first")
    shards, sources = opened(folder)
    console = Console(highlight=False)
    console.print(_table(folder, shards, sources))
    tally = figures.counts(sources)
    if html is not None:
        write_card(html, sources=sources, shards=shards, summary=tally, throughput=None)
        console.print(f"card: {html}", markup=False, soft_wrap=True)
    if contact_sheet is not None:
        write_contact_sheet(contact_sheet, shards)
        console.print(f"contact sheet: {contact_sheet}", markup=False, soft_wrap=True)


def _table(folder: Path, shards: Shards, sources: Rows) -> Table:
    """Two columns: what, and its figures."""
    clips = shards.clips
    seconds = figures.seconds_of_clips(clips)
    rate = f", {shards.meta['fps']:g} a second" if shards.meta["fps"] else ""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()

    def add(what: str, told: str) -> None:
        if told:
            table.add_row(what, Text(told))  # Text: names may hold what looks like rich's markup

    add("shards", f"{folder}, data_id {shards.data_id[:16]}, ffmpeg {shards.meta['ffmpeg']}")
    add("inputs", _sum(figures.counts(sources)))
    add("clips", f"{len(clips):,} of {_plural(len({clip.group for clip in clips}), 'group')}")
    add("frames", f"{shards.meta['frames']:,} of {shards.width}×{shards.height}{rate}")
    add("video", duration(sum(seconds)) + _spread(seconds, "; clips of", "s"))
    add("motion", _spread([clip.motion for clip in clips], "", "grey levels a frame").strip())
    add("labels", _listed(clip.label for clip in clips if clip.label))
    add("parts", _listed(clip.part for clip in clips if clip.part))
    add("sizes", _listed(figures.sizes(sources)))
    add("rates", _listed(figures.rates(sources)))
    add("licences", _listed(figures.licences(sources)))
    add("set aside", ", ".join(f"{count:,} {reason}" for _, reason, count in figures.reasons(sources)))
    add("found", ", ".join(f"{count:,} {words}" for words, count, _ in figures.found_in(sources)))
    return table


def _sum(tally: Mapping[str, int]) -> str:
    parts = " + ".join(f"{tally[status]:,} {status}" for status in figures.STATUSES)
    return f"{tally['inputs']:,} inputs = {parts}"


def _spread(values: list[float], before: str, unit: str) -> str:
    if not values:
        return ""
    low, median, high = np.percentile(values, [5, 50, 95])
    return f"{before} {low:.3g} to {high:.3g} {unit} (nine in ten; median {median:.3g})"


def _listed(values: Iterable[str]) -> str:
    rows, (kinds, rest) = figures.counted(values, most=REASONS)
    told = [f"{name} ({count:,})" for name, count in rows]
    return ", ".join([*told, f"{kinds:,} others ({rest:,})"] if kinds else told)


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def catalog() -> None:
    """Lists the datasets of the project by name.

    Raises:
        UserError: not in a project.
    """
    root = find_root()
    table = Table(
        box=box.SIMPLE_HEAD, caption="as fetch.source in params.yaml; what is known of each stands in its file"
    )
    table.add_column("source", style="bold", no_wrap=True)
    table.add_column("what")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("parts")
    table.add_column("licence")
    for path in sorted(root.glob("datasets/*.yaml")):
        name = path.relative_to(root).as_posix()
        try:
            table.add_row(name, *(Text(told) for told in _told(path)))
        except UserError as error:  # the others are there all the same
            table.add_row(name, Text(f"cannot be used: {error}", style="red"))
    Console().print(table)


def _told(path: Path) -> tuple[str, str, str, str]:
    """What a dataset is, its size, its official parts and its licence."""
    try:
        raw = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"no YAML, {_line(error)}") from None
    if isinstance(raw, dict) and "recipe" in raw:
        return f"{str(raw['recipe']).replace('_', ' ')}, made here", "", "", ""
    dataset = read_dataset(raw)
    return dataset.title, size_of(dataset), ", ".join(parts_of(dataset)) or "–", dataset.licence


def size_of(dataset: Dataset) -> str:
    """What a dataset's files are to download, as far as that is known."""
    sizes = [file.bytes for file in dataset.files if file.use == "data"]
    known = sum(size for size in sizes if size is not None)
    if not known or not sizes:
        return "unknown"
    text = f"{known / 1e9:.1f} GB" if known >= 1e9 else f"{known / 1e6:.1f} MB"
    return text if None not in sizes else f"> {text}"


def parts_of(dataset: Dataset) -> list[str]:
    """The parts of a dataset's official split."""
    told: set[str] = {file.part for file in dataset.files if file.part}
    told |= {part for file in dataset.files for part in file.lists}
    if dataset.members and "(?P<part>" in dataset.members:
        told |= {part for part, texts in dataset.parts.items() if any(t == "*" or t in dataset.members for t in texts)}
    return [part for part in ("train", "val", "test") if part in told]
