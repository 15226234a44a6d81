"""How sources get to the nodes of a Ray cluster and frames back, and what the nodes run.

    ThroughRay       file bytes go with the task, frames come back through Ray's object store
    ThroughStorage   a place that every node reaches (vidpred.data.storage). Sources are sent there once; nodes read
                     them there and leave frames and notes there, where the next machine finds them

vidpred is imported on the nodes, so it is installed there; nothing of the working folder is shipped.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import shutil
import socket
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import ray

from vidpred import __version__
from vidpred.data.clip_cache import Plan, Unit, make_frames, read_note
from vidpred.data.storage import AT_ONCE, Storage
from vidpred.errors import UserError
from vidpred.workspace import atomic, file_sha256

Notes = dict[str, dict[str, Any]]
"""By key of the source."""
Made = dict[str, tuple[dict[str, Any], str | None]]
"""Notes by key, each with the text of its file; None: it has none, since a file that took too long is tried again."""

_RETRIES = 10
"""Times that a batch is done again because a node or worker died."""
_STORE_SHARE = 4
"""One part in so many of a node's object store may be taken by sources on their way."""
_SMALL_BYTES = 1 << 20
"""Sources up to here travel with their task; larger ones are put into the object store, once."""
_PREFIX = "vidpred-task-"
_LEFT_SECONDS = 60
_LOOKED_FOR = 512
"""Sources whose frames are brought before they are told of."""


class Carrier(Protocol):
    """A way to the nodes and back."""

    def ready(self, batches: Iterable[Sequence[Unit]]) -> Iterator[Sequence[Unit]]:
        """The batches, each when its task can be started."""

    def fits(self, batch: Sequence[Unit]) -> bool:
        """Whether there is room for it beside those on their way."""

    def send(self, batch: Sequence[Unit]) -> list[Any]:
        """Starts a task; gives references to what will come out, first the one to wait for."""

    def take(self, batch: Sequence[Unit], results: list[Any]) -> Notes:
        """Writes frames and notes of a task that is done to the local store."""

    def stop(self) -> None:
        """Ends transfers that run."""


class ThroughRay:
    """Sources and frames go through Ray's object store."""

    def __init__(self, files: Path, store: Path, plan: Plan) -> None:
        self._files, self._store, self._plan = files, store, plan
        self._task = _task(made_through_ray)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._room = min(float(node.get("object_store_memory", 0)) for node in nodes) / _STORE_SHARE
        self._shared: dict[str, Any] = {}
        """File → its bytes in the object store."""
        self._sizes: dict[str, int] = {}
        self._users: Counter[str] = Counter()

    def ready(self, batches: Iterable[Sequence[Unit]]) -> Iterator[Sequence[Unit]]:
        return iter(batches)

    def fits(self, batch: Sequence[Unit]) -> bool:
        new = sum((self._files / name).stat().st_size for name in _names(batch) if name not in self._shared)
        return new + sum(self._sizes.values()) <= self._room

    def send(self, batch: Sequence[Unit]) -> list[Any]:
        names = _names(batch)
        task = self._task.options(num_returns=1 + len(batch))
        started: list[Any] = task.remote(Work(batch, self._plan), names, *map(self._content, names))
        return started

    def _content(self, name: str) -> Any:
        path = self._files / name
        size = path.stat().st_size
        if size <= _SMALL_BYTES:
            return np.fromfile(path, np.uint8)
        self._users[name] += 1
        if name not in self._shared:  # several parts of a long video read one copy, and so does a task done again
            self._shared[name] = ray.put(np.asarray(np.memmap(path, np.uint8, "r")))
            self._sizes[name] = size
        return self._shared[name]

    def take(self, batch: Sequence[Unit], results: list[Any]) -> Notes:
        made: Made = ray.get(results[0])
        for unit, result in zip(batch, results[1:], strict=True):
            frames = ray.get(result)  # one at a time: they may be large
            if frames is not None:
                with atomic(self._store / f"{unit.key}.rgb") as part:
                    part.write_bytes(frames.data)  # not tofile: its error does not tell a full disk
            text = made[unit.key][1]
            if text is not None:
                _write_text(self._store / f"{unit.key}.json", text)
        for name in _names(batch):
            self._users[name] -= 1
            if self._users[name] <= 0:
                self._shared.pop(name, None)
                self._sizes.pop(name, None)
        return {key: note for key, (note, _) in made.items()}

    def stop(self) -> None:
        """Nothing runs beside the tasks."""


class ThroughStorage:
    """Sources and frames go through a place that every node reaches.

    Attributes:
        url: Where it is.
    """

    def __init__(self, url: str, files: Path, store: Path, plan: Plan) -> None:
        self._place = Storage(url)
        self.url = self._place.url
        self._files, self._store, self._plan = files, store, plan
        self._folder = f"clips/{plan.key}"
        self._task = _task(made_through_storage)

    def found(self, units: Sequence[Unit]) -> Iterator[Notes]:
        """Brings frames and notes that lie there already, and whole; gives the notes."""
        names = [f"{unit.key}{suffix}" for unit in units for suffix in (".json", ".rgb")]
        there = self._place.sizes(self._folder, names)

        def bring(unit: Unit) -> Notes:
            names = [name for name in (f"{unit.key}.rgb", f"{unit.key}.json") if name in there]  # the note last
            for name in names:
                self._place.get(f"{self._folder}/{name}", self._store / name)
            note = read_note(self._store, unit.key, self._plan)
            if note is None:  # half of it
                (self._store / f"{unit.key}.json").unlink()
                return {}
            return {unit.key: note}

        noted = [unit for unit in units if f"{unit.key}.json" in there]
        for at in range(0, len(noted), _LOOKED_FOR):
            yield {
                key: note for one in self._place.each(bring, noted[at : at + _LOOKED_FOR]) for key, note in one.items()
            }

    def ready(self, batches: Iterable[Sequence[Unit]]) -> Iterator[Sequence[Unit]]:
        """Sends sources that are not there, ahead of the tasks that read them."""
        listed = list(batches)
        there = self._place.sizes("files", sorted({name for batch in listed for name in _names(batch)}))
        coming: dict[str, Future[None]] = {}
        ahead: deque[Sequence[Unit]] = deque()
        left = iter(listed)
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="upload") as pool:
            while True:
                while len(ahead) < 2 * AT_ONCE and (batch := next(left, None)) is not None:
                    ahead.append(batch)
                    for name in _names(batch):
                        path = self._files / name
                        if name not in coming and there.get(name) != path.stat().st_size:
                            coming[name] = pool.submit(self._place.put, path, f"files/{name}")
                if not ahead:
                    return
                batch = ahead.popleft()
                for name in _names(batch):
                    if name in coming:
                        coming[name].result()
                yield batch

    def fits(self, batch: Sequence[Unit]) -> bool:
        return True

    def send(self, batch: Sequence[Unit]) -> list[Any]:
        return [self._task.remote(Work(batch, self._plan), self.url)]

    def take(self, batch: Sequence[Unit], results: list[Any]) -> Notes:
        made: Made = ray.get(results[0])

        def bring(unit: Unit) -> None:
            note, text = made[unit.key]
            if note.get("clips"):
                self._place.get(f"{self._folder}/{unit.key}.rgb", self._store / f"{unit.key}.rgb")
            if text is not None:
                _write_text(self._store / f"{unit.key}.json", text)
                if read_note(self._store, unit.key, self._plan) is None:
                    raise UserError(
                        f"{self.url}/{self._folder}/{unit.key}.rgb is not as long as a node wrote it: delete it, then "
                        "run the stage again"
                    )

        self._place.each(bring, batch)
        return {key: note for key, (note, _) in made.items()}

    def stop(self) -> None:
        self._place.stop()


def _names(batch: Sequence[Unit]) -> list[str]:
    """The files of a batch, each once."""
    return list(dict.fromkeys(unit.file for unit in batch))


def _write_text(path: Path, text: str) -> None:
    with atomic(path) as part:
        part.write_text(text)


def _task(function: Callable[..., Any]) -> Any:
    # one CPU, which is what ffmpeg gets; spread, since Ray would else fill the driver's machine first
    options: dict[str, Any] = {"num_cpus": 1, "max_retries": _RETRIES, "scheduling_strategy": "SPREAD"}
    return ray.remote(**options)(function)


class Work:
    """What a task is to do, and what must be the same on its machine as on the driver's."""

    def __init__(self, units: Sequence[Unit], plan: Plan) -> None:
        self.units, self.plan = units, plan
        self._version, self._key = __version__, plan.key

    def made(self, files: Path, store: Path) -> Made:
        """Makes the frames of files in `files` in `store`."""
        if (self._version, self._key) != (__version__, self.plan.key):
            raise UserError(f"this machine has vidpred {__version__}, the driver {self._version}: install the same")
        notes = make_frames(self.units, files, store, self.plan, binary=_binary(self.plan))
        texts = {key: path.read_text() if (path := store / f"{key}.json").is_file() else None for key in notes}
        return {key: (note, texts[key]) for key, note in notes.items()}


@functools.lru_cache(maxsize=1)
def _binary(plan: Plan) -> Path:
    """Looked for once a worker."""
    return plan.binary()


@contextmanager
def _folders() -> Iterator[tuple[Path, Path]]:
    """Folders for files and frames of a task; what the user can mend is told with the node's name."""
    try:
        _sweep(Path(tempfile.gettempdir()))
        with (
            tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder,
            (Path(folder) / "lock").open("wb") as lock,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX)
            files, store = Path(folder) / "files", Path(folder) / "frames"
            files.mkdir()
            store.mkdir()
            yield files, store
    except UserError as error:
        raise UserError(f"node {_node()}: {error}") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise
        raise UserError(
            f"node {_node()}: nothing more can be written ({error.strerror}): free some space in "
            f"{tempfile.gettempdir()}, or start the node with another TMPDIR; then run the stage again, it goes on"
        ) from None


def _sweep(folder: Path) -> None:
    """Removes what killed workers left: nobody holds its lock."""
    for left in folder.glob(f"{_PREFIX}*"):
        try:
            if time.time() - left.stat().st_mtime < _LEFT_SECONDS:  # it may not hold its lock yet
                continue
            with (left / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
        except OSError:  # in use, or gone
            continue


def _node() -> str:
    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"


def made_through_ray(work: Work, names: Sequence[str], *contents: np.ndarray) -> tuple[Any, ...]:
    """In a task: makes the frames of files given by their bytes, uint8 (N,).

    Returns:
        The notes; then for each unit its frames as bytes, uint8 (N,), or None.
    """
    with _folders() as (files, store):
        for name, content in zip(names, contents, strict=True):
            (files / name).write_bytes(content.data)
        made = work.made(files, store)
        # mapped files may lose their names: Ray copies from the maps, then the blocks are free
        frames = [
            np.asarray(np.memmap(path, np.uint8, "r")) if (path := store / f"{unit.key}.rgb").is_file() else None
            for unit in work.units
        ]
        return made, *frames


def made_through_storage(work: Work, url: str) -> Made:
    """In a task: makes the frames of files that lie in the storage, and leaves them and the notes there."""
    with _folders() as (files, store):
        place = Storage(url)

        def bring(name: str) -> None:
            place.get(f"files/{name}", files / name)
            if file_sha256(files / name) != Path(name).stem:
                raise UserError(f"{place.url}/files/{name} is not the file of its name: delete it, then run it again")

        def leave(unit: Unit) -> None:
            for name in (f"{unit.key}.rgb", f"{unit.key}.json"):  # the note last
                if (store / name).is_file():
                    place.put(store / name, f"clips/{work.plan.key}/{name}")

        place.each(bring, _names(work.units))
        made = work.made(files, store)
        place.each(leave, work.units)
        return made
