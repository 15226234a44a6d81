"""What is kept of how a version came about: a folder of files, and `lineage.json` with a hash of each.

In: the project as it is while `register` runs. Out: the folder and what its `lineage.json` says. Under `dvc exp run`
the commit is the baseline only, so params.yaml, dvc.yaml, dvc.lock and the changed code are kept as they are. While DVC
runs a stage, dvc.lock still tells of its last run: only the stages before it are kept, and each is held against what
lies here.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vidpred import workspace
from vidpred.data.shards import Shards
from vidpred.tracking.lineage import dvc, git, machine

FORMAT = 1
RECORD = "lineage.json"
PATCH = "code.patch"
CLIPS = "clips.csv.gz"
WINDOWS = "windows.csv.gz"
KEPT = {
    "params.yaml": "params.yaml",
    "dvc.yaml": "dvc.yaml",
    "requirements.lock": "requirements.lock",
    "best.yaml": "results/tune/best.yaml",
    "tune.json": "results/tune/summary.json",
    "split.json": "results/split/summary.json",
    "metrics.json": "results/evaluate/metrics.json",
}
"""Name in the record to path in the project."""
FILES = (RECORD, *KEPT, dvc.LOCK, PATCH, CLIPS, WINDOWS)
"""All that a record may hold; anything else in a registry is passed over."""

LARGEST_PATCH = 2_000_000
"""Bytes; a larger one is not kept, and said so."""
MOST_ROWS = 200_000
"""Of a table; a longer one is only counted."""
_TOLD = 20
"""Untracked files named; the others are counted."""

CLIP_FIELDS = ("id", "source", "sha256", "group", "part", "licence")
_NOT_OF_A_WINDOW = ("window", "model")
"""Columns of windows.parquet that are not kept: one row's number, and the model, which is one."""


def make(
    root: Path,
    out: Path,
    *,
    info: Mapping[str, Any],
    identity: str,
    name: str,
    run_key: str,
    split_sha256: str,
    shards: Shards | None,
    trained_on: Mapping[str, Any] | None,
    check: bool = True,
) -> dict[str, Any]:
    """Writes the folder.

    Args:
        root: The project.
        out: Made if missing.
        info: What model.json says.
        identity: Of the version.
        name: Registered name.
        run_key: Of the training run.
        split_sha256: As the version's tag has it.
        shards: What it was made from; None: they are not here.
        trained_on: Hardware and versions of the training, where it left a note; None: unknown.
        check: Whether to ask DVC which stages agree with what lies here: some seconds.

    Returns:
        What lineage.json says.
    """
    out.mkdir(parents=True, exist_ok=True)
    for kept, path in KEPT.items():
        if (root / path).is_file():
            (out / kept).write_bytes((root / path).read_bytes())
    experiment, baseline = dvc.experiment()
    told: dict[str, Any] = {
        "format": FORMAT,
        "name": name,
        "model": info["name"],
        "identity": identity,
        "weights_sha256": info["weights_sha256"],
        "split_sha256": split_sha256,
        "git": _git(root, out),
        "dvc": {"experiment": experiment, "baseline": baseline, **_dvc(root, out, check=check)},
        "keys": {"train": run_key, **_sweep(root)},
        "data": _data(root, out, info, shards),
        "ffmpeg": _line(root / "data/ffmpeg.txt"),
        "trained_on": dict(trained_on) if trained_on else None,
        "registered_on": {"hardware": machine.hardware(), "versions": machine.versions()},
    }
    _windows(root, out, info)
    told["files"] = {path.name: workspace.file_sha256(path) for path in sorted(out.iterdir()) if path.name != RECORD}
    workspace.write_json(out / RECORD, told)
    return told


def doubts(told: Mapping[str, Any]) -> Iterator[str]:
    """Where a record is known to fall short of what made the model, in sentences."""
    if told["git"] is None:
        yield "there is no git commit: which code made this model is not on record"
    else:
        if told["git"]["patch_left_out"]:
            yield (
                f"the changes to the code are {told['git']['patch_left_out']:,} bytes, too many to keep: commit them, "
                "so that `vidpred reproduce` can have them"
            )
        if told["git"]["untracked"]["code"]:
            names = ", ".join(told["git"]["untracked"]["code"][:3])
            yield f"git does not track {names}: `git add` new code, so that it is on record"
    for stage, reasons in (told["dvc"]["stale"] or {}).items():
        if stage in ("train", "evaluate"):
            yield f"{stage} does not agree with dvc.lock ({dvc.in_few(reasons)}): run `dvc repro`, then register"


def _git(root: Path, out: Path) -> dict[str, Any] | None:
    found = git.state(root)
    if found is None:
        return None
    small = len(found.patch) <= LARGEST_PATCH
    if found.patch and small:
        (out / PATCH).write_bytes(found.patch)
    return {
        "commit": found.commit,
        "prefix": found.prefix,
        "remote": found.remote,
        "dirty": bool(found.changed),
        "changed": list(found.changed[:_TOLD]),
        "changed_count": len(found.changed),
        "patch_left_out": 0 if small else len(found.patch),
        "untracked": {
            "count": len(found.untracked),
            "code": [name for name in found.untracked if name.startswith(("vidpred/", "stages/"))][:_TOLD],
        },
    }


def _dvc(root: Path, out: Path, *, check: bool) -> dict[str, Any]:
    """Keeps dvc.lock as far as it is complete, and says what of it agrees."""
    stages = dvc.stages_of(root)
    earlier = dvc.before(dvc.read_stages((root / "dvc.yaml").read_bytes()), "register")
    locked = {name: stages[name] for name in earlier if name in stages}
    text = yaml.safe_dump({"schema": "2.0", "stages": locked}, sort_keys=False)
    (out / dvc.LOCK).write_text(text)
    stale = dvc.stale(root, "evaluate") if check and locked else None
    if stale is not None:
        stale = {name: reasons for name, reasons in stale.items() if name in earlier}
    return {"stages": list(locked), "missing": [name for name in earlier if name not in locked], "stale": stale}


def _sweep(root: Path) -> dict[str, str]:
    """The key of the sweep that chose the model; nothing where params.yaml names the model."""
    try:
        chosen = yaml.safe_load((root / "params.yaml").read_text())["train"]["model"]
        if chosen is None:
            return {"tune": str(json.loads((root / "results/tune/summary.json").read_text())["sweep"])}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        pass
    return {}


def _data(root: Path, out: Path, info: Mapping[str, Any], shards: Shards | None) -> dict[str, Any]:
    found: dict[str, Any] = {"data_id": info.get("data_id", "")}
    if shards is None:
        return found
    sources = read_sources(shards.folder)
    licences = {str(row["name"]): str(row.get("licence") or "").strip() for row in sources}
    parts = _parts(root / "data/split/groups.parquet")
    rows = [
        {
            "id": clip.id, "source": plain(clip.source), "sha256": clip.sha256, "group": clip.group,
            "part": parts.get(clip.id, ""), "licence": licences.get(clip.source, ""),
        }
        for clip in shards.clips
    ]  # fmt: skip
    if len(rows) <= MOST_ROWS:
        write_rows(out / CLIPS, CLIP_FIELDS, rows)
    kept = [row for row in sources if row.get("status") == "kept"]
    counted = Counter(str(row.get("licence") or "").strip() or "unknown" for row in kept)
    return found | {
        "clips": len(rows),
        "frames": sum(clip.length for clip in shards.clips),
        "size": f"{shards.height}x{shards.width}",
        "inputs": len(sources),
        "sources": len(kept),
        "licences": dict(counted.most_common()),
    }


def read_sources(folder: Path) -> list[dict[str, Any]]:
    """Rows of sources.parquet of a folder of shards; none where it cannot be read."""
    import pyarrow.parquet as pq

    try:
        rows: list[dict[str, Any]] = pq.read_table(folder / "sources.parquet").to_pylist()
    except (OSError, ValueError):
        return []
    return rows


def _parts(path: Path) -> dict[str, str]:
    import pyarrow.parquet as pq

    try:
        return {str(row["id"]): str(row["part"]) for row in pq.read_table(path, columns=["id", "part"]).to_pylist()}
    except (OSError, ValueError):
        return {}


def _windows(root: Path, out: Path, info: Mapping[str, Any]) -> None:
    """The model's score in each test window, so that two models can be compared later on those they share."""
    import pandas as pd

    path = root / "data/evaluation/windows.parquet"
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError):
        return
    mine = table[table["model"] == info["name"]].sort_values("window")
    if len(mine) <= MOST_ROWS:
        fields = [str(name) for name in mine.columns if name not in _NOT_OF_A_WINDOW]
        write_rows(out / WINDOWS, fields, mine[fields].to_dict("records"))


def write_rows(path: Path, fields: Sequence[str], rows: Sequence[Mapping[Any, Any]]) -> None:
    """Rows as compressed CSV; the same rows give the same bytes."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def plain(source: str) -> str:
    """A source's name; of a URL without user, password and query, which may be keys."""
    return git.without_credentials(source) if "://" in source else source


def _line(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else ""
