"""What a record says, wherever it comes from: forms are checked, sizes bounded, nothing is believed further.

In: files of a record. Out: plain values; empty, or an error, where a file is not as this version writes it.
"""

from __future__ import annotations

import csv
import gzip
import io
import logging
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from vidpred.errors import UserError

log = logging.getLogger(__name__)


class _WithoutAliases(yaml.SafeLoader):
    """A few lines of YAML with aliases of aliases unfold to gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)


def read_yaml(path: Path | None) -> dict[str, Any]:
    """A mapping from a YAML or JSON file of a record; empty where there is none that can be read."""
    if path is None:
        return {}
    try:
        found = yaml.load(path.read_text(), Loader=_WithoutAliases)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def read_rows(path: Path, *, largest: int = 200_000_000) -> list[dict[str, str]]:
    """Rows that `write_rows` wrote, perhaps elsewhere; none where there are none, or more bytes than `largest`."""
    try:
        with gzip.open(path) as file:
            content = file.read(largest + 1)
    except (OSError, EOFError):
        return []
    if len(content) > largest:
        log.warning("%s is larger than %d bytes unpacked: passed over", path.name, largest)
        return []
    try:
        return list(csv.DictReader(io.StringIO(content.decode("utf-8", "replace"))))
    except csv.Error:
        return []


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Untracked(_Part):
    count: int
    code: list[str]


class _Git(_Part):
    commit: str = Field(pattern=r"^[0-9a-f]{40,64}$")
    prefix: str
    remote: str
    dirty: bool
    changed: list[str]
    changed_count: int
    patch_left_out: int
    untracked: _Untracked


class _Dvc(_Part):
    experiment: str
    baseline: str
    stages: list[str]
    missing: list[str]
    stale: dict[str, list[str]] | None


class _Data(_Part):
    data_id: str
    clips: int | None = None
    frames: int | None = None
    size: str | None = None
    inputs: int | None = None
    sources: int | None = None
    licences: dict[str, int] | None = None


class _Hardware(_Part):
    system: str
    processor: str
    cores: int
    gpus: list[str]
    threads: int | None = None
    instructions: str | None = None


class _Machine(_Part):
    hardware: _Hardware
    versions: dict[str, str]


class _Record(_Part):
    format: Literal[1]
    name: str
    model: str
    identity: str
    weights_sha256: str
    split_sha256: str
    git: _Git | None
    dvc: _Dvc
    keys: dict[str, str]
    data: _Data
    ffmpeg: str
    trained_on: _Machine | None
    registered_on: _Machine
    files: dict[str, str]


def read(path: Path) -> dict[str, Any]:
    """What a lineage.json says, wherever it comes from.

    Raises:
        UserError: it is none of this version's.
    """
    try:
        told = _Record.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path.name} is none that this version reads ({str(error).splitlines()[0]})") from None
    return told.model_dump(exclude_none=False)
