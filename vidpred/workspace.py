"""Where things live on disk: the project's root, `VIDPRED_HOME`, keys of resumable work, locks, atomic writes.

DVC deletes a stage's outputs before it runs the stage. So whatever must survive an interruption lives in
`VIDPRED_HOME` (by default `runs/` of the main checkout), in a folder named by a key: a hash over exactly what DVC
makes the stage depend on. Changed parameters get a new folder; an interrupted stage finds its old one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from vidpred.errors import UserError

log = logging.getLogger(__name__)

_QUEUE_CLONE = re.compile(r"^(?P<main>.+)/\.dvc/tmp/exps/[^/]+(/.*)?$")
"""`dvc exp run --queue` and `--temp` work in clones below `.dvc/tmp/exps/` of the main checkout."""


def find_root(start: Path | None = None) -> Path:
    """The nearest folder upwards that holds params.yaml and dvc.yaml.

    Raises:
        UserError: there is none.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            return folder
    raise UserError(f"{here} is not inside a vidpred project (no params.yaml and dvc.yaml here or above): cd into one")


def home(root: Path | None = None) -> Path:
    """`VIDPRED_HOME`, made if missing; from a queue's clone, or a copy in `runs/`, the one of the main checkout.

    Raises:
        UserError: it is not set and this is not inside a project, or it cannot be made.
    """
    chosen = os.environ.get("VIDPRED_HOME")
    if chosen:
        folder = Path(chosen).expanduser().resolve()
    else:
        folder = _copied_from(main_checkout((root or find_root()).resolve())) / "runs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be made ({error.strerror}): set VIDPRED_HOME to a folder that you may write"
        ) from None
    return folder


def home_or_none() -> Path | None:
    """`home`; None where `VIDPRED_HOME` is not set and this is not inside a project."""
    if not os.environ.get("VIDPRED_HOME"):
        try:
            find_root()
        except UserError:
            return None
    return home()


def main_checkout(project: Path) -> Path:
    """The project that a queue's clone was made of; of any other project itself."""
    clone = _QUEUE_CLONE.match(project.as_posix())
    return Path(clone["main"]) if clone else project


def _copied_from(project: Path) -> Path:
    """The project in whose `runs/` a copy lies, as `make repro-classify` makes it; of any other project itself."""
    above = project.parent.parent
    copied = project.parent.name == "runs" and all((above / name).is_file() for name in ("params.yaml", "dvc.yaml"))
    return above if copied else project


def digest(value: object) -> str:
    """sha256 over JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content(path: Path) -> object:
    """The identity of a dependency: of a folder of shards its `data_id`, else the bytes of its files."""
    if path.is_file():
        return file_sha256(path)
    for note, name in (("meta.json", "data_id"), ("flow.json", "flow_id")):
        if (path / note).is_file() and name in (known := json.loads((path / note).read_text())):
            return known[name]
    files = (p for p in sorted(path.rglob("*")) if p.is_file() and "__pycache__" not in p.parts)
    return {p.relative_to(path).as_posix(): file_sha256(p) for p in files}


def content_id(path: Path) -> str:
    """16 hex digits over the content of a file or folder; of a folder of shards over its `data_id`."""
    return digest(_content(path))[:16]


BUDGET = {"tune": {"trials", "minutes", "gpu_hours"}}
"""Fields of params.yaml that say how much is done, not what: DVC runs the stage again when they change, but it finds
its old work, and goes on with it."""


def stage_key(stage: str, *, root: Path | None = None) -> str:
    """The key of a stage's resumable work: 16 hex digits over what dvc.yaml makes it depend on, less the budget.

    Args:
        stage: Name in dvc.yaml.
        root: The project.
    """
    project = root or find_root()
    params = yaml.safe_load((project / "params.yaml").read_text())
    spec = yaml.safe_load((project / "dvc.yaml").read_text())["stages"][stage]
    parts: dict[str, object] = {}
    for dep in spec.get("deps", []):
        template = re.fullmatch(r"\$\{(.+)\}", dep)
        path = str(_lookup(params, template[1])) if template else dep
        # a path outside the project is known by its content alone
        parts[f"dep {dep}"] = _content(project / path)
    for name in spec.get("params", []):
        section, _, field = name.partition(".")
        budget = BUDGET.get(section, set()) if section == stage else set()
        value = _lookup(params, name)
        if isinstance(value, dict) and not field:
            value = {inner: one for inner, one in value.items() if inner not in budget}
        if field not in budget:
            parts[f"param {name}"] = value
        begin = value if name == "train.init" else value.get("init") if name == "train" else None
        if begin and (weights := init_folder(project, begin)) is not None:
            parts["weights of train.init"] = _content(weights / "model.safetensors")
    return digest(parts)[:16]


def init_folder(root: Path, init: str) -> Path | None:
    """The folder that `train.init` names; None where it is an address in a registry, whose text says it all."""
    return None if re.match(r"^\w+:/", init) else root / Path(init).expanduser()


def _lookup(params: dict[str, Any], dotted: str) -> Any:
    value: Any = params
    for part in dotted.split("."):
        value = value[part]
    return value


def cores() -> int:
    """Cores that this process may use."""
    # not os.cpu_count(): containers and job schedulers give a process fewer cores than the machine has
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a folder of resumable work; a second process waits and says for whom.

    The lock is the operating system's, so it goes with the process, also when that is killed.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            log.warning(
                "%s is in use by %s: waiting for it to finish", folder, file.read().strip() or "another process"
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%H:%M:%S')}")
        file.flush()
        yield


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Inside, a folder is read: others may read it too, `locked` waits, and `in_use` says so."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def in_use(folder: Path) -> bool:
    """Whether a process holds the folder's lock, as `locked` or `shared` takes it."""
    import fcntl

    lock = folder / ".lock"
    if not lock.is_file():
        return False
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside `path`; what is written there takes its place when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Writes JSON (sorted keys, two spaces) to a temporary name, then renames."""
    with atomic(path) as part:
        part.write_text(json.dumps(value, indent=2, sort_keys=True, default=str) + "\n")


def fresh_folder(path: Path) -> Path:
    """An empty folder at `path`, whatever stood there."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


class _Lines(logging.Handler):
    """One line a message, whatever the width of the terminal: a long one is not broken where it is piped or copied."""

    def __init__(self) -> None:
        from rich.console import Console

        super().__init__()
        self._console = Console(stderr=True, highlight=False)

    def emit(self, record: logging.LogRecord) -> None:
        from rich.text import Text

        style, label = {logging.ERROR: ("bold red", "error: "), logging.WARNING: ("yellow", "warning: ")}.get(
            record.levelno, ("", "")
        )
        try:
            self._console.print(Text.assemble((label, style), self.format(record)), soft_wrap=True)
        except OSError:
            self.handleError(record)


def set_up_logging() -> None:
    """Log lines for people, on stderr."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_Lines()], force=True)
    for library in ("aiobotocore", "botocore", "httpx"):
        logging.getLogger(library).setLevel(logging.WARNING)


def run_stage(main: Callable[[], None]) -> None:
    """Runs a stage's `main` as people expect of a command: one line for an error, 130 for Ctrl-C."""
    set_up_logging()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except UserError as error:
        log.error("%s", error)
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise
        log.error("nothing more can be written (%s): free some space; `dvc repro` goes on from here", error)
        sys.exit(1)
    except KeyboardInterrupt:
        log.warning("interrupted; `dvc repro` goes on from here")
        sys.exit(130)
