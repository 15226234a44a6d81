"""A model made again from its record, in a worktree and home of its own, and held against the registered one.

In: a `Subject` with a record. Out: whether the weights are the same to the bit, else by how much they differ and what
may be the reason; the figures on test beside those of then. The user's checkout, store and registry stay as they are.
"""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vidpred import workspace
from vidpred.errors import UserError
from vidpred.tracking.lineage import dvc, git, machine, worktree
from vidpred.tracking.lineage.outcome import Outcome, compare
from vidpred.tracking.lineage.reading import read_yaml
from vidpred.tracking.lineage.record import KEPT, PATCH
from vidpred.tracking.lineage.subject import Subject
from vidpred.tracking.meant import TRAINED

log = logging.getLogger(__name__)

_KEPT_AS = {path: name for name, path in KEPT.items()}
_ALWAYS = ("params.yaml", "dvc.yaml")


@dataclass(frozen=True)
class Plan:
    """What would be run."""

    root: Path
    commit: str
    prefix: str
    changed: tuple[str, ...]
    """Files that the patch changes."""
    params: dict[str, tuple[str, str]]
    """Fields of params.yaml that differ from those of the commit: there, here."""
    restored: tuple[str, ...]
    """Outputs that come from DVC's cache."""
    pulled: tuple[str, ...]
    """Outputs that come from DVC's remote."""
    stages: dict[str, str]
    """Stages that are run, in order, with their commands."""
    warnings: tuple[str, ...] = ()
    threads: int | None = None
    """That the training had, where params.yaml leaves them open and this machine would take others."""
    kept: tuple[str, ...] = ()
    """Outputs that come from the record."""
    changes: str = ""
    """All that is laid over the commit, as a unified diff: the patch of the code, params.yaml, dvc.yaml."""

    def as_json(self) -> dict[str, Any]:
        """In plain values."""
        return asdict(self) | {"root": str(self.root)}


@dataclass
class _Needs:
    """What the stages to be run need, and where it comes from."""

    restored: list[str] = field(default_factory=list)
    pulled: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    stages: set[str] = field(default_factory=set)


def plan(subject: Subject, *, evaluate: bool, pull: bool) -> Plan:
    """What is needed to make a model again.

    Args:
        subject: With a record.
        evaluate: Whether to judge it on test too.
        pull: Whether what DVC's cache lacks comes from its remote, if it has one, rather than from the stages.

    Raises:
        UserError: it has no record, or no commit, or the repository does not have that commit.
    """
    root = workspace.find_root()
    record = subject.record
    if record is None:
        raise UserError(f"{subject.uri} cannot be made again: {subject.unseen.get('record', 'it has no record')}")
    if record["git"] is None:
        raise UserError(
            f"{subject.uri} cannot be made again: which code made it is not on record, there was no git commit"
        )
    commit = str(record["git"]["commit"])
    if not git.has_commit(root, commit):
        where = f" (it came from {record['git']['remote']})" if record["git"]["remote"] else ""
        raise UserError(
            f"commit {commit[:12]} is not in this repository{where}: `git fetch`, or work in the one that has it"
        )
    if record["git"]["patch_left_out"] or subject.damaged:
        lack = "; ".join(subject.damaged) or "the changes to its code were too large to keep"
        raise UserError(f"{subject.uri} cannot be made again: {lack}")
    for name in (*_ALWAYS, dvc.LOCK):
        if subject.file(name) is None:
            raise UserError(f"{subject.uri} cannot be made again: its record has no {name}")
    pipeline = _stages(subject.file("dvc.yaml"))
    locked = _stages(subject.file(dvc.LOCK))
    wanted = ["train", *(["evaluate"] if evaluate else [])]
    missing = [name for name in wanted if name not in pipeline or name not in locked]
    if missing:
        raise UserError(f"{subject.uri} cannot be made again: its dvc.yaml or dvc.lock has no stage {missing[0]}")
    needs = _Needs(stages=set(wanted))
    cache, remote = dvc.cache_of(root), pull and dvc.has_remote(root)
    for name in wanted:
        _need(name, locked, subject, cache, needs, remote=remote)
    patch = subject.file(PATCH)
    return Plan(
        root=root,
        commit=commit,
        prefix=str(record["git"]["prefix"]),
        changed=tuple(git.files_of(patch.read_bytes())) if patch else (),
        params=_changed_params(root, record["git"], subject),
        restored=tuple(dict.fromkeys(needs.restored)),
        pulled=tuple(dict.fromkeys(needs.pulled)),
        stages={name: str(pipeline[name].get("cmd", "")) for name in pipeline if name in needs.stages},
        warnings=tuple(_warnings(record)),
        threads=_threads(subject),
        kept=tuple(dict.fromkeys(needs.kept)),
        changes=_changes(root, record["git"], subject),
    )


def _stages(path: Path | None) -> dict[str, Any]:
    found = read_yaml(path).get("stages")
    return (
        {str(name): spec for name, spec in found.items() if isinstance(spec, dict)} if isinstance(found, dict) else {}
    )


def _need(
    stage: str, locked: Mapping[str, Any], subject: Subject, cache: Path | None, needs: _Needs, *, remote: bool
) -> None:
    """Where each input of a stage comes from: record, DVC's cache or remote, or the stage that makes it, run too."""
    makers = {path: name for name, spec in locked.items() for path in dvc.outputs(spec)}
    for dep in dvc.dependencies(locked.get(stage, {})):
        path = next((one for one in makers if dep == one or dep.startswith(f"{one}/")), None)
        if path is None or makers[path] in needs.stages:
            continue
        if path in _KEPT_AS and subject.file(_KEPT_AS[path]) is not None:
            needs.kept.append(path)
            continue
        if cache is not None and _whole(cache, dvc.outputs(locked[makers[path]])[path]):
            needs.restored.append(path)
            continue
        if remote and not path.startswith("results/"):  # those are not DVC's to keep
            needs.pulled.append(path)
            continue
        needs.stages.add(makers[path])
        _need(makers[path], locked, subject, cache, needs, remote=remote)


def _whole(cache: Path, md5: str) -> bool:
    """Whether the cache has an object, with the bytes that its name says: it may have been spoilt through a link."""
    known = dvc.files_in_cache(cache, md5)
    return known is not None and all(
        (place := dvc.cached(cache, one)).is_file() and dvc.md5_of(place) == one for one in known.values()
    )


def _committed(root: Path, code: Mapping[str, Any], name: str) -> bytes:
    return git.run(root, "show", f"{code['commit']}:{code['prefix']}{name}") or b""


def _changes(root: Path, code: Mapping[str, Any], subject: Subject) -> str:
    """What is laid over the commit and decides what is run, as text."""
    patch = subject.file(PATCH)
    parts = [patch.read_text("utf-8", "replace")] if patch else []
    for name in _ALWAYS:
        kept = subject.file(name)
        assert kept is not None, name
        before, after = (
            content.decode("utf-8", "replace").splitlines()
            for content in (_committed(root, code, name), kept.read_bytes())
        )
        lines = difflib.unified_diff(before, after, f"a/{name}", f"b/{name}", lineterm="")
        parts.append("".join(f"{line}\n" for line in lines))
    return "".join(parts)


def _changed_params(root: Path, code: Mapping[str, Any], subject: Subject) -> dict[str, tuple[str, str]]:
    from vidpred.tracking.entries import flat

    try:
        before = flat(yaml.safe_load(_committed(root, code, "params.yaml")) or {})
    except (yaml.YAMLError, AttributeError):
        before = {}
    after = flat(read_yaml(subject.file("params.yaml")))
    return {
        name: (before.get(name, "not there"), after.get(name, "not there"))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    }


def _warnings(record: Mapping[str, Any]) -> Sequence[str]:
    found = []
    untracked = record["git"]["untracked"]["code"]
    if untracked:
        found.append(f"code that git did not track is not on record: {', '.join(untracked)}")
    for stage, reasons in (record["dvc"]["stale"] or {}).items():
        if stage in ("train", "evaluate"):
            found.append(f"{stage} did not agree with dvc.lock when it was registered: {dvc.in_few(reasons)}")
    return found


def differences(record: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Hardware and versions of the training against those here; empty where they agree or are not on record."""
    trained = record["trained_on"]
    if not trained:
        return {}
    import torch  # noqa: F401 - its threads and GPUs count

    then, now = trained["hardware"], machine.hardware()
    return machine.differences(
        {name: value for name, value in then.items() if value is not None and name != "threads"}, now
    ) | machine.differences(trained["versions"], machine.versions())


def _threads(subject: Subject) -> int | None:
    """Another number of threads rounds differently."""
    trained = (subject.record or {}).get("trained_on") or {}
    threads = trained.get("hardware", {}).get("threads")
    resources = read_yaml(subject.file("params.yaml")).get("resources")
    open_ = isinstance(resources, dict) and resources.get("threads") is None
    return int(threads) if threads and open_ and threads != workspace.cores() else None


def reproduce(subject: Subject, what: Plan, *, keep: bool) -> Outcome:
    """Does it.

    Raises:
        UserError: the worktree cannot be made, or a stage fails.
    """
    assert subject.record is not None
    name = str(subject.record["identity"])[:12]
    with (
        worktree.ended_softly(),
        worktree.worktree(what.root, what.commit, name, prefix=what.prefix, keep=keep) as project,
    ):
        _prepare(subject, what, project)
        home = workspace.home(what.root) / "reproduce" / name / worktree.HOME
        env = worktree.environment(home)
        if what.restored:
            log.info("from DVC's cache: %s", ", ".join(what.restored))
            _run(
                dvc.command("checkout", "--quiet", *what.restored), project, env, "DVC's cache could not be checked out"
            )
        if what.pulled:
            log.info("from DVC's remote: %s", ", ".join(what.pulled))
            failure = "DVC's remote does not give it: --no-pull runs the stages that make it instead"
            _run(dvc.command("pull", "--quiet", *what.pulled), project, env, failure)
        elsewhere = _other_code(subject, project, what)
        for stage in what.stages:
            _run(
                dvc.command("repro", "--single-item", "--force", "--no-commit", "--no-run-cache", stage),
                project, env, f"stage {stage} failed: the message above says why",
            )  # fmt: skip
        return compare(
            subject,
            project / TRAINED,
            _metrics(project) if "evaluate" in what.stages else None,
            code=elsewhere,
            data=_data_id(project),
            differs=differences(subject.record),
        )


def _prepare(subject: Subject, what: Plan, project: Path) -> None:
    files = {name: file for name in (*_ALWAYS, dvc.LOCK) if (file := subject.file(name))}
    for path, name in _KEPT_AS.items():
        kept = subject.file(name)
        if kept is not None and path.startswith("results/") and path != "results/evaluate/metrics.json":
            files[path] = kept
    worktree.apply(project, what.prefix, subject.file(PATCH), files)
    if what.threads is not None:
        params = yaml.safe_load((project / "params.yaml").read_text())
        params["resources"]["threads"] = what.threads
        (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def _run(command: Sequence[str], project: Path, env: Mapping[str, str], failure: str) -> None:
    if worktree.run(command, cwd=project, env=env):
        raise UserError(failure)


def _other_code(subject: Subject, project: Path, what: Plan) -> list[str]:
    """Files and folders that the stages read and that are not what dvc.lock says was read then."""
    locked = _stages(subject.file(dvc.LOCK))
    wanted = {path: md5 for stage in what.stages for path, md5 in dvc.dependencies(locked.get(stage, {})).items()}
    made = {path for spec in locked.values() for path in dvc.outputs(spec)}
    return [
        path
        for path, md5 in sorted(wanted.items())
        if not any(path == one or path.startswith(f"{one}/") for one in made)
        and not Path(path).is_absolute()
        and (project / path).exists()
        and dvc.md5_of(project / path) != md5
    ]


def _data_id(project: Path) -> str:
    try:
        return str(json.loads((project / "data/shards/meta.json").read_text())["data_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _metrics(project: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((project / "results/evaluate/metrics.json").read_text())
    return told
