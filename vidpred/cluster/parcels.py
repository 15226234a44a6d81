"""Files that travel between this machine and a cluster, through a storage that both reach (vidpred.data.storage).

    remote/inputs/<name>-<content id>/      what a stage reads, sent once
    remote/results/<job>-<asked>/           what it wrote, and its record
        contents.json                       the files with their sizes, written last

Shards travel as they do elsewhere: `shards/<data_id>/`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from vidpred.data.storage import Storage
from vidpred.errors import UserError
from vidpred.workspace import write_json

_CONTENTS = "contents.json"


def files_below(path: Path) -> dict[str, Path]:
    """The files of a folder by their names in it."""
    return {found.relative_to(path).as_posix(): found for found in sorted(path.rglob("*")) if found.is_file()}


def is_there(place: Storage, folder: str) -> bool:
    """Whether a parcel lies in the storage."""
    return bool(place.sizes(folder, [_CONTENTS]))


def send(files: Mapping[str, Path], place: Storage, folder: str) -> None:
    """Sends a parcel.

    Args:
        files: By their names in it.
        place: The storage.
        folder: In the storage.
    """
    place.each(lambda name: place.put(files[name], f"{folder}/{name}"), files)
    with tempfile.TemporaryDirectory(prefix="vidpred-") as scratch:
        contents = Path(scratch) / _CONTENTS
        write_json(contents, {name: path.stat().st_size for name, path in files.items()})
        place.put(contents, f"{folder}/{_CONTENTS}")


def bring(place: Storage, folder: str, into: Path) -> list[str]:
    """Brings a parcel, each file whole or not at all; returns the names of the files.

    Raises:
        UserError: it is not there, or a file is not as long as it was when it was sent.
    """
    with tempfile.TemporaryDirectory(prefix="vidpred-") as scratch:
        place.get(f"{folder}/{_CONTENTS}", Path(scratch) / _CONTENTS)
        sizes: dict[str, int] = json.loads((Path(scratch) / _CONTENTS).read_text())

    def get(name: str) -> None:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:  # somebody else may write there
            raise UserError(f"{place.url}/{folder}/{_CONTENTS} names {name}, which is no file of a parcel")
        target = into / name
        place.get(f"{folder}/{name}", target)
        if target.stat().st_size != sizes[name]:
            raise UserError(f"{place.url}/{folder}/{name} is not as long as it was sent: delete {folder} there")

    place.each(get, sizes)
    return list(sizes)
