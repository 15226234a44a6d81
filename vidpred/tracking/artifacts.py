"""Files of a model from where a registry keeps them: a folder, a server, a bucket. What is there is a stranger's.

In: the URI that MLflow calls a version's source, and names of our own. Out: these files, each no larger than it may be.
No name that a registry gives becomes a path here, nothing is followed out of a folder, and nothing else is fetched.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final
from urllib.parse import urlparse

from vidpred.data.progress import transfer
from vidpred.errors import UserError
from vidpred.models.files import INFO, MOST_INFO_BYTES, WEIGHTS
from vidpred.tracking import own, store
from vidpred.tracking.card import MOST_BYTES as OF_CARDS
from vidpred.tracking.package import ARTIFACTS, SEEN

LOCAL = ("", "file")
SERVERS = ("http", "https", "mlflow-artifacts")
SCHEMES: Final = (*LOCAL, *SERVERS, "s3", "r2", "b2", "gs", "wasbs", "abfss", "hdfs", "viewfs")
"""Places that MLflow itself keeps the files of runs in."""

MOST_BYTES: Final = {INFO: MOST_INFO_BYTES, SEEN: 100_000_000, WEIGHTS: 64_000_000_000} | OF_CARDS
"""Of each file; a larger one is refused."""

_AT_ONCE = 1 << 20
_LOOK_SECONDS = 0.2


class Place:
    """A folder of a model's files, wherever it is.

    Attributes:
        uri: Of the folder.
        sizes: The files of `MOST_BYTES` that are there; None where the size is not told.
    """

    def __init__(self, uri: str, sizes: Mapping[str, int | None], repository: Any) -> None:
        self.uri = uri
        self.sizes = dict(sizes)
        self._repository = repository

    def bring(self, name: str, into: Path, advance: Callable[[int], None] = lambda _: None) -> None:
        """Copies one of `sizes` into a folder, under its own name.

        Args:
            name: Of the file.
            into: Exists.
            advance: Told of bytes as they come.

        Raises:
            UserError: it cannot be fetched, is no plain file, or larger than it may be.
        """
        most, size = MOST_BYTES[name], self.sizes[name]
        if size is not None and size > most:
            raise _too_large(self.uri, name)
        target = into / name
        with _answered(f"{name} of {store.display(self.uri)} cannot be fetched"):
            if self._repository is None:
                with _plain(Path(_path(self.uri)), name) as file, target.open("wb") as out:
                    _copy(iter(lambda: file.read(_AT_ONCE), b""), out, most, self.uri, name, advance)
            elif _scheme(self._repository.artifact_uri) in SERVERS:
                self._stream(name, target, most, advance)
            else:
                with _watched(into, advance):
                    self._repository._download_file(name, str(target))
                if target.stat().st_size > most:
                    raise _too_large(self.uri, name)

    def _stream(self, name: str, target: Path, most: int, advance: Callable[[int], None]) -> None:
        """As MLflow does it itself, but that it would write whatever comes, without an end."""
        from mlflow.utils.request_utils import augmented_raise_for_status
        from mlflow.utils.rest_utils import http_request

        ask: Callable[..., Any] = http_request
        answer = ask(self._repository._host_creds, posixpath.join("/", name), "GET", stream=True)
        with answer, target.open("wb") as out:
            augmented_raise_for_status(answer)
            _copy(answer.iter_content(chunk_size=_AT_ONCE), out, most, self.uri, name, advance)


def find_place(source: str) -> Place:
    """The folder behind a version's source that holds a model's two files.

    Raises:
        UserError: there is none, or it is of a kind that this version does not read.
    """
    if _scheme(source) not in SCHEMES:
        raise UserError(f"{store.display(source)} is not a place that models are fetched from")
    for base in (f"{source.rstrip('/')}/{ARTIFACTS}", source):
        with _answered(f"the files of {store.display(source)} cannot be listed"):
            place = _local(base) if _scheme(base) in LOCAL else _elsewhere(base)
        if {WEIGHTS, INFO} <= place.sizes.keys():
            return place
    folder = own.local(source)
    if folder is not None and not folder.is_dir():
        raise UserError(
            f"{folder} is no longer there: bring it back, or let `vidpred register` put the files back in the project "
            "that made the model"
        )
    raise UserError(
        f"{store.display(source)} has no {WEIGHTS} and {INFO}: it is no model of vidpred, or its files were deleted"
    )


def fetch(source: str, into: Path, names: Mapping[str, bool]) -> None:
    """Copies files of a model from where a registry keeps them, with a bar where that takes a while.

    Args:
        source: URI of the folder that MLflow calls the model's source.
        into: Made if missing.
        names: Those to copy, and whether each must be there; one that need not be is left out where it is not.

    Raises:
        UserError: the model's two files are not there, or one cannot be fetched.
    """
    place = find_place(source)
    into.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in names if name in place.sizes]
    if missing := [name for name, needed in names.items() if needed and name not in place.sizes]:
        raise UserError(f"{store.display(source)} has no {', '.join(missing)}")
    with transfer("fetching the model", sum(place.sizes[name] or 0 for name in wanted)) as advance:
        for name in wanted:
            place.bring(name, into, advance)


def _local(base: str) -> Place:
    folder = Path(_path(base))
    sizes = {}
    for name in MOST_BYTES:
        try:
            found = (folder / name).lstat()
        except (OSError, ValueError):
            continue
        if stat.S_ISLNK(found.st_mode) or folder.is_symlink():
            raise UserError(f"{name} of {store.display(base)} is a link: models are not read through links")
        if stat.S_ISREG(found.st_mode):
            sizes[name] = found.st_size
    return Place(base, sizes, None)


def _elsewhere(base: str) -> Place:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(base, tracking_uri=store.tracking_uri())
    listed = repository.list_artifacts() or []
    sizes = {
        name: None if entry.file_size is None else int(entry.file_size)
        for entry in listed
        if not entry.is_dir and (name := PurePosixPath(str(entry.path)).name) in MOST_BYTES
    }
    return Place(base, sizes, repository)


@contextmanager
def _plain(folder: Path, name: str) -> Iterator[BinaryIO]:
    """A file that is no link, pipe or device, opened."""
    # a link may have taken its place since the folder was listed; a pipe would never answer
    number = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UserError(f"{folder / name} is no plain file")
        yield file


def _copy(
    chunks: Iterator[bytes], out: BinaryIO, most: int, uri: str, name: str, advance: Callable[[int], None]
) -> None:
    written = 0
    for chunk in chunks:
        written += len(chunk)
        if written > most:
            raise _too_large(uri, name)
        out.write(chunk)
        advance(len(chunk))


@contextmanager
def _watched(folder: Path, advance: Callable[[int], None]) -> Iterator[None]:
    """Tells of bytes that another's code writes into a folder, under whatever names."""
    done = threading.Event()

    def look() -> None:
        told = _bytes_in(folder)
        over = False
        while not over:
            over = done.wait(_LOOK_SECONDS)
            now = _bytes_in(folder)
            advance(max(0, now - told))
            told = max(now, told)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        try:
            total += path.lstat().st_size
        except OSError:  # renamed meanwhile
            continue
    return total


@contextmanager
def _answered(what: str) -> Iterator[None]:
    """`store.explained`, also where an answer has another form than MLflow's own."""
    with store.explained(what):
        try:
            yield
        except UserError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            from requests import RequestException

            if isinstance(error, RequestException):  # also a ValueError where it is about JSON
                raise
            raise UserError(f"{what}: the answer is not one of MLflow's") from None


def _too_large(uri: str, name: str) -> UserError:
    return UserError(f"{name} of {store.display(uri)} is larger than the {MOST_BYTES[name]:,} bytes that it may have")


def _scheme(uri: str) -> str:
    return urlparse(uri).scheme


def _path(uri: str) -> str:
    from mlflow.utils.file_utils import local_file_uri_to_path

    return str(local_file_uri_to_path(uri))


def free_room(folder: Path, needed: int) -> None:
    """Whether a file system has room for so many bytes.

    Raises:
        UserError: it has not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(f"{folder} has {free:,} bytes free, {needed:,} are needed: free some space")
