"""The way back from a model to its sources, hop by hop, each with its hash and where that is known from.

In: a `Subject`. Out: hops in order, the first the weights, the last the sources with their licences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from vidpred.config import TrainParams
from vidpred.tracking import store
from vidpred.tracking.aliases import ROLLED_BACK_TAG
from vidpred.tracking.card import CARD
from vidpred.tracking.lineage import machine, way_data
from vidpred.tracking.lineage.hops import Hop, Way, of_record
from vidpred.tracking.lineage.reading import read_yaml
from vidpred.tracking.lineage.record import PATCH
from vidpred.tracking.lineage.subject import AWAY, Subject
from vidpred.tracking.pull import PULLED

SHA_TAG = "vidpred.weights_sha256"
NAMED = 3
"""Files and stages named, unless all are asked for."""
_REST = " (--all tells all)"


def way(subject: Subject) -> Way:
    """The hops of a model."""
    sources = way_data.sources(subject)
    hops = [
        _weights(subject),
        _version(subject),
        _run(subject),
        _code(subject),
        _machine(subject),
        _sweep(subject),
        _params(subject),
        way_data.split(subject),
        way_data.data(subject),
        way_data.licences(subject, sources),
    ]
    return Way(subject.uri, tuple(hop for hop in hops if hop is not None), tuple(sources))


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
        asked = f"{len(task['classes'])} classes" if task.get("classes") else str(task.get("horizon"))
        facts["task"] = (
            f"{task.get('context')} frames to {asked} at {task.get('height')}x{task.get('width')}"
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
        return _pulled(subject)
    version, tags = subject.version, subject.tags
    called = f"models:/{version.name}/{version.version}"
    aliases = f" ({', '.join(subject.aliases)})" if subject.aliases else ""
    facts = {"registry": store.display(store.tracking_uri())}
    if tags.get(ROLLED_BACK_TAG):  # since the decision
        facts["decision"] = tags[ROLLED_BACK_TAG]
    elif tags.get("vidpred.reason"):
        facts["decision"] = f"{tags.get('vidpred.decision', 'none')}: {tags['vidpred.reason']}"
    if tags.get("vidpred.perceptual_distance"):
        facts["on test"] = f"PD {tags['vidpred.perceptual_distance']}"
    elif tags.get("vidpred.top1"):
        facts["on test"] = f"top-1 {tags['vidpred.top1']}"
    return Hop(
        "version", f"{called}{aliases}", tags.get("vidpred.identity", ""), "weights, name, config and task, sha256",
        ("the registry",), facts,
    )  # fmt: skip


def _pulled(subject: Subject) -> Hop:
    """The version of a folder whose registry cannot be asked, or does not know it."""
    told, why = subject.pulled, subject.unseen.get("version", "no version has these weights")
    if told is None:
        away = why.startswith(AWAY)
        return Hop("version", "not known" if away else "not registered", unseen=why)
    facts = {"registry": told["registry"], "pulled": f"as {told['asked']} at {told['at']}"}
    judged = subject.card.get("test")
    if judged:
        bar = judged["baseline"]
        facts["on test"] = ", ".join(
            f"{called} {judged['metrics'][name][figure]:.4g} of {name}"
            for name in (subject.card["model"], bar)
            for figure, called in (("perceptual_distance", "PD"), ("top1", "top-1"))
            if figure in judged["metrics"].get(name, {})
        )
    known = (PULLED, *([CARD] if judged else []))
    return Hop("version", told["model"], known_from=known, facts={k: v for k, v in facts.items() if v}, unseen=why)


def _run(subject: Subject) -> Hop:
    if subject.run is None:
        return Hop("run", "unknown", unseen=subject.why("run", "its run is in the registry that has the version"))
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
        why = subject.why("record", "there was no git commit when it was registered")
        return Hop("code", "unknown", unseen=why)
    changed = int(code.get("changed_count", 0))
    dirty = code.get("dirty", subject.tags.get("vidpred.git_dirty") == "true")
    what = f"commit {commit[:12]}" + (f" and {changed or 'some'} changed file{'s' * (changed != 1)}" if dirty else "")
    facts, short = (
        {"repository": str(code.get("remote") or subject.tags.get("vidpred.git_remote") or "has no remote")},
        {},
    )
    if changed:
        facts["changed"] = first(code["changed"], len(code["changed"]), of=changed)
        short["changed"] = first(code["changed"], NAMED, of=changed, rest=_REST)
    if subject.tags.get("vidpred.patch_sha256"):
        facts["patch"] = f"{PATCH}, sha256 {subject.tags['vidpred.patch_sha256']}"
    stale = (subject.record or {}).get("dvc", {}).get("stale") or {}
    if stale:
        facts["stale stages"] = "; ".join(f"{stage} ({'; '.join(reasons)})" for stage, reasons in stale.items())
        short["stale stages"] = f"{first(list(stale), NAMED)} did not agree with dvc.lock{_REST}"
    known = (of_record(subject) if code else "the version's tag",)
    return Hop("code", what, commit, "git commit", known, facts, short=short)


def _machine(subject: Subject) -> Hop:
    record = subject.record or {}
    trained = record.get("trained_on")
    if not trained:
        words = subject.tags.get("vidpred.hardware", "")
        why = "" if words else subject.why("record", "the training left no note of its machine here")
        return Hop("machine", words or "unknown", known_from=("the version's tag",) if words else (), unseen=why)
    facts = {"versions": ", ".join(f"{name} {version}" for name, version in trained["versions"].items())}
    return Hop(
        "machine", machine.in_words(trained["hardware"]), record["files"].get("requirements.lock", ""),
        "requirements.lock, sha256", (of_record(subject),), facts,
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
        facts["found"] = _found(best)
    return Hop("sweep", "the sweep that chose the model", key, "key of stage tune", (of_record(subject),), facts)


def _found(best: Mapping[str, Any]) -> str:
    """What a sweep chose, in words."""
    config, train = _inline(best.get("config") or {}).strip("{}"), _inline(best.get("train") or {}).strip("{}")
    if not config and not train:
        return f"{best.get('model')} at its defaults"
    told = [f"with {config}" if config else "at its default config", f"trained with {train}" if train else ""]
    return f"{best.get('model')} {'; '.join(part for part in told if part)}"


def first(names: Sequence[str], most: int, *, of: int = 0, rest: str = "") -> str:
    """The first few of many names, and how many more there are."""
    more = max(of, len(names)) - min(most, len(names))
    return ", ".join(names[:most]) + (f" and {more} more{rest}" if more else "")


def _params(subject: Subject) -> Hop:
    params = read_yaml(subject.file("params.yaml"))
    if not params:
        trained = subject.info.get("params")
        why = subject.why("record", "params.yaml was not kept")
        if not trained:
            return Hop("params", "unknown", unseen=why)
        return Hop(
            "params",
            "of the training only",
            known_from=("model.json",),
            facts={"train": _inline(trained)},
            unseen=why,
            short={"train": _unusual(trained)},
        )
    assert subject.record is not None
    trained = subject.info.get("params") or params.get("train", {})
    return Hop(
        "params", "params.yaml", subject.record["files"]["params.yaml"], "params.yaml, sha256", (of_record(subject),),
        {"source": str((params.get("fetch") or {}).get("source", "")), "train": _inline(trained)},
        short={"train": _unusual(trained)},
    )  # fmt: skip


def _unusual(trained: Mapping[str, Any]) -> str:
    """Parameters of a training that are not this version's defaults."""
    usual = TrainParams().model_dump(mode="json")
    changed = {name: value for name, value in trained.items() if name not in usual or usual[name] != value}
    return f"the defaults{f' but for {_inline(changed)[1:-1]}' if changed else ''}{_REST}"


def _inline(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).removesuffix("...\n").strip()
