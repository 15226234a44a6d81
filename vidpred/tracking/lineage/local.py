"""What of a model's way lies in this project: frames, split, outputs of stages, DVC's cache; read byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from vidpred import workspace
from vidpred.data.shards import FORMAT, Shards
from vidpred.errors import UserError, restore
from vidpred.tracking.gate import seen_by
from vidpred.tracking.lineage import dvc
from vidpred.tracking.lineage.findings import Report
from vidpred.tracking.lineage.subject import Subject
from vidpred.tracking.lineage.way_data import here

Tell = Callable[[str], None]


def check_files(report: Report, subject: Subject, *, tell: Tell) -> None:
    """The shards against data_id, the split against its hash, outputs against dvc.lock as it was recorded."""
    try:
        root = workspace.find_root()
    except UserError:
        report.unseen.append("data, split and outputs: not inside the project")
        return
    _shards(report, subject, root, tell=tell)
    kept = subject.file(dvc.LOCK)
    if kept is None:
        report.unseen.append("outputs of stages: no dvc.lock was recorded")
        return
    recorded, present = dvc.read_stages(kept.read_bytes()), dvc.stages_of(root)
    cache = dvc.cache_of(root)
    for name, stage in recorded.items():
        now = dvc.outputs(present.get(name, {}))
        for path, md5 in dvc.outputs(stage).items():
            tell(path)
            place = root / path
            if now.get(path) == md5 and place.exists():
                _output(report, root, path, md5, name, cache, tell=tell)
            elif cache is not None and dvc.files_in_cache(cache, md5) is not None:
                _cached(report, cache, path, md5, name, tell=tell)
            elif not path.startswith("results/"):  # those are in git
                why = "this project has another one now" if now.get(path) != md5 else "it is not here"
                report.unseen.append(f"{path} of stage {name}: {why}, nor is it in DVC's cache; `dvc pull` may have it")


def _shards(report: Report, subject: Subject, root: Path, *, tell: Tell) -> None:
    data_id = str(subject.info.get("data_id") or subject.tags.get("vidpred.data_id", ""))
    folder = here(data_id)
    if folder is None:
        report.unseen.append(f"frames of data {data_id[:12]}: data/shards here is missing or other data")
        return
    again = restore("data/shards", "transcode")
    try:
        shards = Shards(folder)
        for name, shard in shards.meta["shards"].items():
            tell(f"data/shards/{name}")
            if workspace.file_sha256(folder / name) != shard["sha256"]:
                report.add("data", f"data/shards/{name} has changed since it was written", again)
        rows = [asdict(clip) for clip in shards.clips]
        if workspace.digest({"format": FORMAT, "shards": shards.meta["shards"], "index": rows}) != data_id:
            report.add("data", f"data/shards: index and shards do not give data_id {data_id[:12]}", again)
        elif not any(finding.hop == "data" for finding in report.findings):
            report.checked.append(f"data {data_id[:12]}: every shard of data/shards")
        wanted = subject.tags.get("vidpred.split_sha256", "")
        if not wanted:
            return
        found = str(seen_by(shards, root / "data/split")["split_sha256"])
    except (UserError, OSError, ValueError, KeyError, TypeError) as error:
        report.add("data", f"data/shards or data/split cannot be read: {error}", again)
        return
    if found == wanted:
        report.checked.append(f"split {found[:12]}")
        return
    recorded = dvc.read_stages(kept.read_bytes()) if (kept := subject.file(dvc.LOCK)) else {}
    was, now = (dvc.outputs(stages.get("split", {})).get("data/split") for stages in (recorded, dvc.stages_of(root)))
    if was is not None and was != now:
        report.unseen.append(f"split {wanted[:12]}: data/split here is another one")
    else:
        report.add(
            "split",
            f"data/split has changed: it gives {found[:12]}, the version was trained on {wanted[:12]}",
            restore("data/split", "split"),
        )


def _output(report: Report, root: Path, path: str, md5: str, stage: str, cache: Path | None, *, tell: Tell) -> None:
    """An output that is here, against dvc.lock."""
    if dvc.md5_of(root / path) == md5:
        report.checked.append(f"{path}: as in dvc.lock")
        return
    changed = [path]
    intact = False
    known = dvc.files_in_cache(cache, md5) if cache is not None else None
    if known is not None and cache is not None:
        changed = _differ(root / path, path, known) or [path]
        intact = not _spoilt(cache, path, known, tell=tell)
    shown = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    report.add(
        "files", f"{shown} {'is' if len(changed) == 1 else 'are'} not as in dvc.lock",
        restore(path, stage) if intact else f"`dvc repro --force --single-item {stage}` makes it again",
    )  # fmt: skip


def _differ(folder: Path, path: str, known: Mapping[str, str]) -> list[str]:
    if folder.is_file():
        return [path]
    there = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    return [
        f"{path}/{name}"
        for name in sorted({*known, *there})
        if name not in there or name not in known or dvc.md5_of(there[name]) != known[name]
    ]


def _spoilt(cache: Path, path: str, known: Mapping[str, str], *, tell: Tell) -> list[str]:
    """Files of an output whose object in the cache is missing or has other bytes than its name says."""
    out = []
    for name, md5 in known.items():
        whole = f"{path}/{name}" if name else path
        tell(f"{whole} in DVC's cache")
        place = dvc.cached(cache, md5)
        if not place.is_file() or dvc.md5_of(place) != md5:
            out.append(whole)
    return out


def _cached(report: Report, cache: Path, path: str, md5: str, stage: str, *, tell: Tell) -> None:
    """An output that only the cache has."""
    spoilt = _spoilt(cache, path, dvc.files_in_cache(cache, md5) or {}, tell=tell)
    if not spoilt:
        report.checked.append(f"{path} of stage {stage}: in DVC's cache")
        return
    report.add(
        "files", f"DVC's cache has {', '.join(spoilt[:3])} damaged or not at all",
        f"`dvc pull --force {path}`, or `vidpred reproduce`, which makes it again",
    )  # fmt: skip
