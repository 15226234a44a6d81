"""A place that many machines reach, a folder or an fsspec URL such as s3://bucket/prefix, and finished shards in it.

    files/<sha256><suffix>              sources
    clips/<plan key>/<key>.rgb, .json   their frames, and the note on them, written last (clip_cache.py)
    shards/<data_id>/                   finished shards, meta.json last (shards.py)

Credentials and endpoints are fsspec's business, from the environment or its own configuration. Nothing here believes in
half-written files: sizes are compared, and shards are hashed.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import fsspec
from fsspec.callbacks import Callback
from fsspec.implementations.local import LocalFileSystem

from vidpred.data.launch import Stopped
from vidpred.data.shards import FORMAT, Shards
from vidpred.errors import UserError
from vidpred.workspace import atomic, digest, file_sha256

log = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")

AT_ONCE = 16
"""Transfers; a request to an object store is nearly all waiting."""
_ASKED_ONE_BY_ONE = 256
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_SHARD = re.compile(r"frames-\d{4,9}\.npy")


class Storage:
    """Files by name, below a folder or URL."""

    def __init__(self, url: str) -> None:
        """Opens the place; nothing is sent yet.

        Raises:
            UserError: nothing installed can read such a URL.
        """
        self.url = url.rstrip("/") if "://" in url else str(Path(url).expanduser().resolve())
        """As every machine understands it."""
        try:
            # other machines write here too: what was listed once is old
            self._files, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            raise UserError(f"{self.url}: {error} (for s3://: `pip install 'vidpred[s3]'`)") from None
        except ValueError as error:
            raise UserError(f"{self.url}: {error}; give a folder, or a URL that fsspec knows") from None
        self._local = isinstance(self._files, LocalFileSystem)
        self._stop = threading.Event()

    def sizes(self, folder: str, names: Sequence[str]) -> dict[str, int]:
        """Bytes of those of the files in a folder that are there."""
        with self._told(f"looking into {folder}/"):
            if len(names) <= _ASKED_ONE_BY_ONE:
                found = zip(names, self.each(lambda name: self._size(f"{folder}/{name}"), names), strict=True)
                return {name: size for name, size in found if size is not None}
            wanted = set(names)
            listed = self._files.find(self._path(folder), maxdepth=1, detail=True)
            sizes = {PurePosixPath(path).name: int(info["size"]) for path, info in listed.items()}
            return {name: size for name, size in sizes.items() if name in wanted}

    def put(self, local: Path, name: str) -> None:
        """Sends a file; it appears whole or not at all where the place is a folder or an object store."""
        with self._told(f"writing {name}"):
            path = self._path(name)
            if not self._local:
                self._files.put_file(str(local), path, callback=self._callback())
                return
            target = Path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")  # machines may share the folder
            try:
                shutil.copyfile(local, part)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)

    def get(self, name: str, local: Path) -> None:
        """Brings a file; `local` appears whole or not at all."""
        with self._told(f"reading {name}"), atomic(local) as part:
            self._files.get_file(self._path(name), str(part), callback=self._callback())

    def each(self, transfer: Callable[[In], Out], items: Iterable[In]) -> list[Out]:
        """Does several transfers at once; results in the order of the items. Ctrl-C and errors end those that run."""
        listed = list(items)
        if len(listed) < 2:
            return [transfer(item) for item in listed]
        with ThreadPoolExecutor(min(AT_ONCE, len(listed)), thread_name_prefix="storage") as pool:
            try:
                return list(pool.map(transfer, listed))
            except BaseException:
                self.stop()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def stop(self) -> None:
        """Ends transfers that run in other threads, for good."""
        self._stop.set()

    def _callback(self) -> Callback:
        """Asked between two blocks of a transfer."""

        def look(*_: object) -> None:
            if self._stop.is_set():
                raise Stopped

        return Callback(hooks={"stop": look})

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _size(self, name: str) -> int | None:
        try:
            return int(self._files.info(self._path(name))["size"])
        except FileNotFoundError:
            return None

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Says in one line what could not be done."""
        if self._stop.is_set():
            raise Stopped
        try:
            yield
        except (UserError, Stopped):
            raise
        except Exception as error:  # each driver has its own
            if isinstance(error, OSError) and error.errno in _FULL:
                raise
            why = " ".join(str(error).split())[:200] or type(error).__name__
            hint = "check the folder"
            if not self._local:
                hint = "check the URL, and the credentials and endpoint in the environment"
            if self.url.startswith("s3://"):
                hint += " (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL)"
            raise UserError(f"{self.url}: {what} failed ({why}): {hint}") from error


def push_shards(folder: Path, url: str) -> str:
    """Copies finished shards to `<url>/shards/<data_id>`, but the frames that are there; gives that address.

    Raises:
        UserError: the folder holds no finished shards, or the place cannot be written.
    """
    shards, place = Shards(folder), Storage(url)
    there = f"shards/{shards.data_id}"
    frames = sorted(shards.meta["shards"])
    sizes = place.sizes(there, frames)
    missing = [name for name in frames if sizes.get(name) != (folder / name).stat().st_size]
    place.each(lambda name: place.put(folder / name, f"{there}/{name}"), [*missing, "index.parquet", "sources.parquet"])
    place.put(folder / "meta.json", f"{there}/meta.json")
    log.info("shards are at %s/%s", place.url, there)
    return f"{place.url}/{there}"


def fetch_shards(url: str, folder: Path) -> Shards:
    """Brings finished shards to a folder of this machine, verifies them and opens them.

    What is there already and right is not brought again.

    Args:
        url: Where they are: what `push_shards` gave.
        folder: Where to.

    Raises:
        UserError: they cannot be read, or are not what their meta.json says.
    """
    place = Storage(url)
    coming = folder / ".meta.json"
    place.get("meta.json", coming)
    meta = _meta(coming, place.url)
    (folder / "meta.json").unlink(missing_ok=True)  # until all is there

    def bring(name: str, sha256: str) -> None:
        path = folder / name
        if path.is_file() and file_sha256(path) == sha256:
            return
        place.get(name, path)
        if file_sha256(path) != sha256:
            path.unlink()
            raise UserError(f"{place.url}/{name} is not what meta.json says: delete it, then push the shards again")

    place.each(lambda item: bring(item[0], item[1]["sha256"]), meta["shards"].items())
    place.each(lambda name: place.get(name, folder / name), ["index.parquet", "sources.parquet"])
    coming.replace(folder / "meta.json")
    shards = Shards(folder)
    rows = [dataclasses.asdict(clip) for clip in shards.clips]
    if digest({"format": FORMAT, "shards": meta["shards"], "index": rows}) != shards.data_id:
        (folder / "meta.json").unlink()
        raise UserError(f"{place.url}/index.parquet does not belong to data_id {shards.data_id}: push the shards again")
    return shards


def _meta(path: Path, url: str) -> dict[str, Any]:
    """Reads a meta.json that another machine wrote; its names become names of files here."""
    try:
        meta: dict[str, Any] = json.loads(path.read_text())
        sound = meta["format"] == FORMAT and all(_SHARD.fullmatch(name) for name in meta["shards"])
    except (ValueError, KeyError, TypeError, AttributeError):
        sound, meta = False, {}
    if not sound:
        path.unlink()
        raise UserError(f"{url}/meta.json is none of this vidpred's (format {FORMAT}): push the shards again")
    return meta
