"""The way back from a model to its sources, hop by hop, each with its hash and where that is known from.

In: a `Subject`. Out: hops in order, the first the weights, the last the sources with their licences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vidpred import workspace
from vidpred.errors import UserError
from vidpred.tracking import store
from vidpred.tracking.lineage import machine
from vidpred.tracking.lineage.record import CLIPS, PATCH, plain, read_rows, read_sources
from vidpred.tracking.lineage.subject import Subject

SHA_TAG = "vidpred.weights_sha256"


@dataclass(frozen=True)
class Hop:
    """One step of the way."""

    name: str
    """weights, version, run, code, machine, params, sweep, split, data, sources."""
    what: str
    """In a line."""
    hash: str = ""
    hash_of: str = ""
    """What the hash is of."""
    known_from: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
    unseen: str = ""
    """Why it cannot be seen from here; empty: it can."""


@dataclass(frozen=True)
class Source:
    """One file that frames were made of."""

    name: str
    sha256: str
    licence: str
    """`unknown` where none is told."""
    clips: int
    """Made of it."""
    parts: str
    """Of the split that they are in, such as `train`."""


@dataclass(frozen=True)
class Way:
    """All of it."""

    model: str
    hops: tuple[Hop, ...]
    sources: tuple[Source, ...]
    """Empty: not known from here one by one."""

    def as_json(self) -> dict[str, Any]:
        """In plain values."""
        return asdict(self)


MAIN = ("weights", "version", "run", "params", "split", "data", "sources")
"""The way itself; the other hops stand beside the run."""


def way(subject: Subject) -> Way:
    """The hops of a model."""
    sources = _sources(subject)
    hops = [
        _weights(subject),
        _version(subject),
        _run(subject),
        _code(subject),
        _machine(subject),
        _sweep(subject),
        _params(subject),
        _split(subject),
        _data(subject),
        _licences(subject, sources),
    ]
    return Way(subject.uri, tuple(hop for hop in hops if hop is not None), tuple(sources))


def _of_record(subject: Subject) -> str:
    if subject.live:
        return "the project as it is now (no version keeps a record)"
    return "the record on its run"


def _weights(subject: Subject) -> Hop:
    info = subject.info
    sha256 = str(info.get("weights_sha256") or subject.tags.get(SHA_TAG, ""))
    known = [place for place, there in (
        ("model.json", bool(info)),
        ("the version's tag", subject.tags.get(SHA_TAG) == sha256),
        ("the record on its run", not subject.live and (subject.record or {}).get("weights_sha256") == sha256),
    ) if there]  # fmt: skip
    task = info.get("task", {})
    facts = {}
    if task:
        facts["task"] = (
            f"{task.get('context')} frames to {task.get('horizon')} at {task.get('height')}x{task.get('width')}"
            f", {info.get('fps', '?')} frames a second"
        )
    training = info.get("training", {})
    if training:
        facts["training"] = f"step {training.get('best_step')} of {training.get('steps')}, {training.get('precision')}"
    if info.get("versions"):
        facts["written by"] = ", ".join(f"{name} {version}" for name, version in sorted(info["versions"].items()))
    name = str(info.get("name") or subject.tags.get("vidpred.model", "unknown"))
    return Hop(
        "weights", name, sha256, "model.safetensors, sha256", tuple(known), facts, subject.unseen.get("weights", "")
    )


def _version(subject: Subject) -> Hop:
    if subject.version is None:
        return Hop("version", "not registered", unseen=subject.unseen.get("version", "no version has these weights"))
    version, tags = subject.version, subject.tags
    called = f"models:/{version.name}/{version.version}"
    aliases = f" ({', '.join(subject.aliases)})" if subject.aliases else ""
    facts = {"registry": store.display(store.tracking_uri())}
    if tags.get("vidpred.reason"):
        facts["decision"] = f"{tags.get('vidpred.decision', 'none')}: {tags['vidpred.reason']}"
    if tags.get("vidpred.perceptual_distance"):
        facts["on test"] = f"PD {tags['vidpred.perceptual_distance']}"
    return Hop(
        "version", f"{called}{aliases}", tags.get("vidpred.identity", ""), "weights, name, config and task, sha256",
        ("the registry",), facts,
    )  # fmt: skip


def _run(subject: Subject) -> Hop:
    if subject.run is None:
        why = subject.unseen.get("run") or "its run is in the registry that has the version"
        return Hop("run", "unknown", unseen=why)
    run, tags = subject.run, subject.run.data.tags
    facts = {"status": str(run.info.status)}
    if tags.get("vidpred.experiment"):
        facts["DVC experiment"] = tags["vidpred.experiment"]
    elif subject.record and subject.record["dvc"]["experiment"]:
        facts["DVC experiment"] = str(subject.record["dvc"]["experiment"])
    what = f"{run.info.run_name} ({run.info.run_id})"
    return Hop("run", what, tags.get("vidpred.key", ""), "key of stage train", ("MLflow",), facts)


def _code(subject: Subject) -> Hop:
    code = (subject.record or {}).get("git") or {}
    commit = str(code.get("commit") or subject.tags.get("vidpred.git_commit", ""))
    if not commit:
        return Hop(
            "code", "unknown", unseen=subject.unseen.get("record", "there was no git commit when it was registered")
        )
    changed = int(code.get("changed_count", 0))
    dirty = code.get("dirty", subject.tags.get("vidpred.git_dirty") == "true")
    what = f"commit {commit[:12]}" + (f" and {changed or 'some'} changed file{'s' * (changed != 1)}" if dirty else "")
    facts = {"repository": str(code.get("remote") or subject.tags.get("vidpred.git_remote") or "has no remote")}
    if changed:
        more = changed - len(code["changed"])
        facts["changed"] = ", ".join(code["changed"]) + (f" and {more} more" if more else "")
    if subject.tags.get("vidpred.patch_sha256"):
        facts["patch"] = f"{PATCH}, sha256 {subject.tags['vidpred.patch_sha256']}"
    for stage, reasons in ((subject.record or {}).get("dvc", {}).get("stale") or {}).items():
        facts[f"{stage} was stale"] = "; ".join(reasons)
    return Hop("code", what, commit, "git commit", (_of_record(subject) if code else "the version's tag",), facts)


def _machine(subject: Subject) -> Hop:
    record = subject.record or {}
    trained = record.get("trained_on")
    if not trained:
        words = subject.tags.get("vidpred.hardware", "")
        why = "" if words else "the training left no note of its machine here"
        return Hop("machine", words or "unknown", known_from=("the version's tag",) if words else (), unseen=why)
    facts = {"versions": ", ".join(f"{name} {version}" for name, version in trained["versions"].items())}
    return Hop(
        "machine", machine.in_words(trained["hardware"]), record["files"].get("requirements.lock", ""),
        "requirements.lock, sha256", (_of_record(subject),), facts,
    )  # fmt: skip


def _sweep(subject: Subject) -> Hop | None:
    key = ((subject.record or {}).get("keys") or {}).get("tune") or subject.tags.get("vidpred.key_tune", "")
    if not key:
        return None
    facts = {}
    if subject.tags.get("vidpred.sweep_run"):
        facts["MLflow run"] = subject.tags["vidpred.sweep_run"]
    best = read_yaml(subject.file("best.yaml"))
    if best:
        facts["found"] = f"{best.get('model')}, {_inline(best.get('config'))}, {_inline(best.get('train'))}"
    return Hop("sweep", "the sweep that chose the model", key, "key of stage tune", (_of_record(subject),), facts)


def _params(subject: Subject) -> Hop:
    params = read_yaml(subject.file("params.yaml"))
    if not params:
        trained = subject.info.get("params")
        why = subject.unseen.get("record", "params.yaml was not kept")
        if not trained:
            return Hop("params", "unknown", unseen=why)
        return Hop(
            "params", "of the training only", known_from=("model.json",), facts={"train": _inline(trained)}, unseen=why
        )
    assert subject.record is not None
    trained = subject.info.get("params") or params.get("train", {})
    return Hop(
        "params", "params.yaml", subject.record["files"]["params.yaml"], "params.yaml, sha256", (_of_record(subject),),
        {"source": str((params.get("fetch") or {}).get("source", "")), "train": _inline(trained)},
    )  # fmt: skip


def _split(subject: Subject) -> Hop:
    kind, sha256 = subject.tags.get("vidpred.split", ""), subject.tags.get("vidpred.split_sha256", "")
    told = read_yaml(subject.file("split.json"))
    facts = {}
    for part in ("train", "val", "test"):
        if told:
            clips, groups, frames = (told.get(of, {}).get(part, 0) for of in ("clips", "groups", "frames"))
            facts[part] = f"{clips:,} clips of {groups:,} groups, {frames:,} frames"
    if not kind and not told:
        return Hop("split", "unknown", unseen=subject.unseen.get("record", "no record tells of it"))
    known = (("the version's tag",) if kind else ()) + ((_of_record(subject),) if told else ())
    return Hop("split", f"by {kind or told.get('kind')}", sha256, "segments of all parts, sha256", known, facts)


def _data(subject: Subject) -> Hop:
    data_id = str(subject.info.get("data_id") or subject.tags.get("vidpred.data_id", ""))
    told = (subject.record or {}).get("data", {})
    known = [place for place, there in (
        ("model.json", subject.info.get("data_id") == data_id),
        ("the version's tag", subject.tags.get("vidpred.data_id") == data_id),
        ("data/shards of this project", here(data_id) is not None),
    ) if data_id and there]  # fmt: skip
    facts = {}
    what = "frames"
    if told.get("clips") is not None:
        what = f"{told['clips']:,} clips, {told['frames']:,} frames of {told['size']}"
    if (subject.record or {}).get("ffmpeg"):
        facts["ffmpeg"] = str((subject.record or {})["ffmpeg"])
    why = "" if here(data_id) else "the frames themselves are not in this project's data/shards"
    return Hop("data", what, data_id, "data_id, over the shards", tuple(known), facts, why)


def _licences(subject: Subject, sources: list[Source]) -> Hop:
    told = (subject.record or {}).get("data", {})
    if sources:
        counted = Counter(source.licence for source in sources)
        known = _of_record(subject) if subject.file(CLIPS) else "data/shards of this project"
        return Hop("sources", f"{len(sources):,} files", known_from=(known,), facts=_counts(counted))
    if told.get("licences"):
        return Hop(
            "sources", f"{told['sources']:,} files", known_from=(_of_record(subject),), facts=_counts(told["licences"]),
            unseen="too many to be kept one by one",
        )  # fmt: skip
    return Hop(
        "sources", "unknown", unseen=subject.unseen.get("record", "neither the record nor data/shards tells of them")
    )


def _counts(counted: Mapping[str, int]) -> dict[str, str]:
    return {name: f"{count:,} file{'s' * (count != 1)}" for name, count in Counter(counted).most_common()}


def _sources(subject: Subject) -> list[Source]:
    kept = subject.file(CLIPS)
    rows = read_rows(kept) if kept else _rows_here(str(subject.info.get("data_id", "")))
    found: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for row in rows:
        found.setdefault((row.get("source", ""), row.get("sha256", "")), []).append(row)
    return [
        Source(
            name, sha256, clips[0].get("licence") or "unknown", len(clips),
            " ".join(sorted({part for clip in clips for part in clip.get("part", "").split()})),
        )
        for (name, sha256), clips in sorted(found.items())
    ]  # fmt: skip


def _rows_here(data_id: str) -> list[dict[str, str]]:
    folder = here(data_id)
    if folder is None:
        return []
    return [
        {"source": plain(str(row["name"])), "sha256": str(row["sha256"]), "licence": str(row["licence"] or "")}
        for row in read_sources(folder)
        if row["status"] == "kept"
        for _ in range(row["clips"] or 1)
    ]


def here(data_id: str) -> Path | None:
    """The project's shards, if they are those; without looking at every byte."""
    try:
        folder = workspace.find_root() / "data/shards"
        told = yaml.safe_load((folder / "meta.json").read_text())["data_id"]
    except (UserError, OSError, yaml.YAMLError, KeyError, TypeError):
        return None
    return folder if data_id and told == data_id else None


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


def _inline(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).removesuffix("...\n").strip()
