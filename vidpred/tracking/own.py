"""The project's own store as the file that it is: SQLite, looked into and put right without MLflow, which is slow.

MLflow writes down where artifacts lie as absolute paths. So the store of a project, or of a `VIDPRED_HOME`, that was
moved or copied still points to where it was; `follow` lets it point to what lies beside it now.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

_PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)
"""Where MLflow's tables hold paths of artifacts."""
_DELETED = "Deleted_Internal"
"""Stage of a version that was deleted: its row stays, so that its number is not given again."""
_PATIENCE_SECONDS = 10


class Moved(NamedTuple):
    """What was put right."""

    before: tuple[str, ...]
    """Folders of artifacts that it pointed to."""
    entries: int
    """Runs, versions and the like that point to the folder beside the store now."""


class Version(NamedTuple):
    """A version of a registered model."""

    name: str
    number: str
    aliases: tuple[str, ...]
    source: str
    """URI of its files."""


def follow(database: Path, artifacts: Path) -> Moved | None:
    """Lets the store point to the artifacts beside it, where it points to another folder of that name.

    What is only at the other place stays as it is; so does all where both are the same folder under two names.

    Args:
        database: Exists.
        artifacts: The folder that belongs to it.

    Returns:
        None: there was nothing to do.

    Raises:
        OSError, sqlite3.Error: it cannot be read or written.
    """
    with _opened(database, "rw") as db:
        found = [(*place, value) for place in _PATHS for value in _elsewhere(db, *place, artifacts)]
        moves = {root: _moves(_path(root), artifacts) for root in {_root(value, artifacts) for *_, value in found}}
        changes = []
        for table, column, value in found:
            root = _root(value, artifacts)
            here = artifacts.as_uri() + value.removeprefix(root)
            if moves[root] and not (_path(value).exists() and not _path(here).exists()):
                changes.append((table, column, value, here))
        if not changes:
            return None
        entries = 0
        with db:
            for table, column, value, here in changes:
                done = db.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (here, value))
                entries += done.rowcount
    before = {str(_path(_root(value, artifacts))) for *_, value, _ in changes}
    return Moved(tuple(sorted(before)), entries)


def versions(database: Path, name: str | None = None) -> list[Version]:
    """Versions of one registered model, or of all, oldest first; none where the file is not MLflow's.

    Raises:
        sqlite3.Error: it cannot be read, or has other tables than this MLflow makes.
    """
    with _opened(database, "ro") as db:
        rows = db.execute(
            "SELECT name, version, source FROM model_versions WHERE current_stage <> ? AND (? IS NULL OR name = ?) "
            "ORDER BY name, version",
            (_DELETED, name, name),
        ).fetchall()
        held: dict[tuple[str, str], list[str]] = {}
        for model, number, alias in db.execute("SELECT name, version, alias FROM registered_model_aliases"):
            held.setdefault((model, str(number)), []).append(alias)
    return [
        Version(model, str(number), tuple(sorted(held.get((model, str(number)), ()))), str(source))
        for model, number, source in rows
    ]


def tagged(database: Path, name: str, tag: str, value: str) -> str | None:
    """The number of the first version of a registered model that has a tag; None: none has.

    Raises:
        sqlite3.Error: as `versions`.
    """
    with _opened(database, "ro") as db:
        row = db.execute(
            "SELECT min(v.version) FROM model_versions v JOIN model_version_tags t ON t.name = v.name AND "
            "t.version = v.version WHERE v.name = ? AND v.current_stage <> ? AND t.key = ? AND t.value = ?",
            (name, _DELETED, tag, value),
        ).fetchone()
    return None if row[0] is None else str(row[0])


def tag_of_a_run(database: Path, tag: str) -> str | None:
    """The value of a tag that some run has, deleted or not.

    Raises:
        sqlite3.Error: as `versions`.
    """
    with _opened(database, "ro") as db:
        row = db.execute("SELECT value FROM tags WHERE key = ? LIMIT 1", (tag,)).fetchone()
    return None if row is None else str(row[0])


def local(uri: str) -> Path | None:
    """The folder that a URI means; None where it is not one of this machine."""
    return _path(uri) if urlsplit(uri).scheme in ("", "file") else None


@contextmanager
def _opened(database: Path, mode: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"{database.as_uri()}?mode={mode}", uri=True, timeout=_PATIENCE_SECONDS)) as db:
        yield db


def _elsewhere(db: sqlite3.Connection, table: str, column: str, artifacts: Path) -> list[str]:
    """Paths of a column that lead to another folder of the same name."""
    if column not in {row[1] for row in db.execute(f"PRAGMA table_info({table})")}:
        return []
    ours = artifacts.as_uri()
    rows = db.execute(
        f"SELECT DISTINCT {column} FROM {table} WHERE {column} LIKE 'file:%' AND {column} <> ? "
        f"AND substr({column}, 1, ?) <> ?",
        (ours, len(ours) + 1, f"{ours}/"),
    )
    return [value for (value,) in rows if _root(value, artifacts)]


def _root(value: str, artifacts: Path) -> str:
    """The part of a path up to a folder that is called as ours; empty: there is none."""
    head, found, _ = f"{value}/".partition(f"/{artifacts.name}/")
    return f"{head}/{artifacts.name}" if found else ""


def _moves(before: Path, artifacts: Path) -> bool:
    """Whether a folder is to be looked for beside the store now."""
    if not before.exists():
        return True
    return artifacts.exists() and not before.samefile(artifacts)


def _path(uri: str) -> Path:
    parts = urlsplit(uri)
    return Path(url2pathname(parts.path) if parts.scheme == "file" else uri)
