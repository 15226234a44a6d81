"""Hashes at every hop of a model's way: its registry, run, record, aliases, receipt, files and frames.

In: a model. Out: a `Report`. Every byte is read anew: what DVC remembers of unchanged files is not relied on.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidpred import workspace
from vidpred.errors import UserError
from vidpred.models.files import INFO, WEIGHTS, read_info
from vidpred.tracking import store
from vidpred.tracking.aliases import CHALLENGER, CHAMPION, by_alias, history
from vidpred.tracking.artifacts import fetch
from vidpred.tracking.lineage.findings import Report
from vidpred.tracking.lineage.local import check_files
from vidpred.tracking.lineage.record import RECORD
from vidpred.tracking.lineage.subject import Subject, identity_of, opened
from vidpred.tracking.lineage.way import NAMED, SHA_TAG, first
from vidpred.tracking.meant import is_uri
from vidpred.tracking.pull import read_pulled
from vidpred.tracking.receipt import IDENTITY_TAG, RECEIPT, Standing, find, has_files, read_receipt, standing

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

DECISION_TAG = "vidpred.decision"
PUT_BACK = "bring them back, or let `vidpred register` put them back in the project that made the model"
AGAIN = "`vidpred register` makes it again from models/trained"


def check(model: str, *, tell: Callable[[str], None] = lambda _: None) -> Report:
    """Looks at all of it.

    Args:
        model: As for `opened`.
        tell: Gets the name of each file before it is read.

    Raises:
        UserError: there is no such model and no receipt tells of it, or the store does not answer.
    """
    report = Report(model)
    receipt = _receipt_of(model)
    pulled = not is_uri(model) and _pulled(report, Path(model).expanduser())
    try:
        with opened(model) as subject:
            report.model = subject.uri
            if "version" in subject.unseen:
                report.unseen.append(f"the version in the registry: {subject.unseen['version']}")
            _weights(report, subject)
            _tags(report, subject)
            _run(report, subject)
            check_record(report, subject)
            if subject.version is not None:
                client = store.connect()
                with store.explained("the registry cannot be searched"):
                    aliases(report, client, subject.version.name)
            check_files(report, subject, tell=tell)
    except store.StoreError:
        raise
    except UserError as error:
        if report.findings:  # which tell of the same
            return report
        if receipt is None or not is_uri(model) or not lost(receipt):
            raise
        # the receipt says below what is missing
        report.unseen.append(str(error))
    if receipt is not None and receipt["identity"]:
        try:
            if not pulled:
                check_receipt(report, receipt)
            elif trouble := _asked(receipt).trouble:  # of this project's model, not of the one that was pulled
                report.unseen.append(f"what {RECEIPT} tells of: {trouble}")
        except store.StoreError as error:
            report.unseen.append(f"{RECEIPT} against the registry: {error}")
    return report


def _receipt_of(model: str) -> dict[str, Any] | None:
    """The project's receipt; None where it is of another registered model than the one that is asked for."""
    receipt = read_receipt()
    asked = re.match(r"models:/+([^/@]+)", model)
    return None if receipt and asked and asked[1] != receipt["name"] else receipt


def _pulled(report: Report, folder: Path) -> bool:
    """The files of a folder that was pulled, as pulled.json has them: without any registry. Whether it was pulled."""
    told = read_pulled(folder)
    if told is None:
        return False
    again = f"`vidpred pull {told['model']} -o {folder}` brings it again, from {told['registry']}"
    for name, sha256 in told["files"].items():
        try:
            found = workspace.file_sha256(folder / name)
        except OSError:
            report.add("files", f"{folder / name} is missing or cannot be read", again)
            continue
        if found != sha256:
            report.add("files", f"{folder / name} is not as it was pulled", again)
    if not report.findings:
        report.checked.append(f"{folder}: {len(told['files'])} files, as they were pulled ({told['model']})")
    return True


def lost(receipt: Mapping[str, Any]) -> bool:
    """Whether the registry lacks the version of a receipt, or its files.

    Raises:
        StoreError: it does not answer.
    """
    return _asked(receipt).state in ("missing", "hollow", "deleted")


def _asked(receipt: Mapping[str, Any]) -> Standing:
    found = standing(receipt)
    if found.state == "unknown":
        raise store.StoreError(found.trouble)
    return found


def check_receipt(report: Report, receipt: Mapping[str, Any]) -> None:
    """Whether the registry has what the receipt tells of, with the alias that it was given."""
    name, alias = str(receipt["name"]), receipt["alias"]
    found = _asked(receipt)
    uri = f"models:/{name}/{found.version}"
    if found.state == "hollow":
        if uri != report.model:  # else it is told already
            report.add("version", f"the files of {uri}, which {RECEIPT} tells of, are gone", PUT_BACK)
        return
    if found.state != "here":
        report.add(
            "version",
            f"{store.display(store.tracking_uri())} has no version of {name} with weights "
            f"{str(receipt['weights_sha256'])[:12]}, which {RECEIPT} tells of",
            f"`vidpred verify {report.model} --repair` registers it again",
        )
        return
    client = store.connect()
    with store.explained("the registry cannot be searched"):
        version = find(client, name, str(receipt["identity"]))
        assert version is not None
        held = {a for a, number in client.get_registered_model(name).aliases.items() if _same(number, version.version)}
        if alias is None or alias in held:
            report.checked.append(f"{RECEIPT} and version {version.version} of {name}")
            return
        holder = by_alias(client, name, str(alias))
        if holder is not None and _earned(client, holder, str(alias)):
            report.checked.append(f"{RECEIPT}: version {holder.version} has taken {alias} from {version.version} since")
            return
        report.add(
            "alias",
            f"{RECEIPT} says that version {version.version} of {name} is {alias}, but "
            + (f"version {holder.version} has that alias" if holder else "no version has that alias"),
            _give_back(name, str(version.version)) if alias == CHAMPION else "`vidpred register` lets the gate decide",
        )


def aliases(report: Report, client: MlflowClient, name: str) -> None:
    """Whether each alias is where its history or the gate's decision has put it."""
    holder = by_alias(client, name, CHAMPION)
    number = None if holder is None else str(holder.version)
    moves = history(client, name)
    if moves and number != moves[-1].version:
        was = moves[-1]
        report.add(
            "alias",
            f"{CHAMPION} of {name} was moved by hand: "
            + (f"version {number} has it" if number else "no version has it")
            + f", and {f'version {was.version}' if was.version else 'none'} had it when that was last noted ({was.at})",
            _give_back(name, was.version) if was.version else "`vidpred rollback` takes it back",
        )
    elif holder is not None and not moves and holder.tags.get(DECISION_TAG) != CHAMPION:
        report.add(
            "alias",
            f"{CHAMPION} of {name} is version {number}, of which was decided: "
            f"{holder.tags.get(DECISION_TAG, 'nothing')}",
            "`vidpred register` lets the gate decide",
        )
    elif holder is not None:
        how = f", {moves[-1].how}" if moves else ""
        report.checked.append(f"alias {CHAMPION}: version {number}, as it was noted{how}")
    second = by_alias(client, name, CHALLENGER)
    if second is None:
        return
    if second.tags.get(DECISION_TAG) == CHALLENGER:
        report.checked.append(f"alias {CHALLENGER}: version {second.version}, as it was decided")
    else:
        report.add(
            "alias",
            f"{CHALLENGER} of {name} was moved to version {second.version}, of which was decided: "
            f"{second.tags.get(DECISION_TAG, 'nothing')}",
            "`vidpred register` lets the gate decide",
        )


def _give_back(name: str, version: str) -> str:
    return f"`vidpred promote models:/{name}/{version} --force --reason '...'` gives it back"


def _earned(client: MlflowClient, holder: ModelVersion, alias: str) -> bool:
    """Whether another version has the alias since by a move that was noted, or by the gate's decision."""
    moves = history(client, holder.name) if alias == CHAMPION else []
    if moves:
        return moves[-1].version == str(holder.version)
    return holder.tags.get(DECISION_TAG) == alias


def _same(one: object, other: object) -> bool:
    return str(one) == str(other)


def _weights(report: Report, subject: Subject) -> None:
    """The bytes in the registry, those that model.json tells of, and those that the tags tell of."""
    wanted = subject.tags.get(SHA_TAG, "") if subject.version is not None else ""
    if subject.folder is not None:  # a local folder: checked when it was opened
        found = str(subject.info["weights_sha256"])
        report.checked.append(f"{subject.asked}/{WEIGHTS}: {found[:12]}")
        if wanted and wanted != found:
            report.add("weights", f"the tag of {subject.uri} tells of other weights, {wanted[:12]}", AGAIN)
    if not subject.source:
        return
    if not has_files(subject.source):
        report.add("weights", f"the files of {subject.uri} are gone from {store.display(subject.source)}", PUT_BACK)
        return
    with tempfile.TemporaryDirectory(prefix="vidpred-") as temporary:
        folder = Path(temporary)
        try:
            fetch(subject.source, folder, {WEIGHTS: True, INFO: True})
            info = read_info(folder)
            found = workspace.file_sha256(folder / WEIGHTS)
        except store.StoreError:
            raise
        except UserError as error:
            report.add("weights", str(error), f"delete that version in MLflow; {AGAIN}")
            return
    said = str(info["weights_sha256"])
    if found != said:
        report.add(
            "weights", f"{WEIGHTS} of {subject.uri} was changed: it is {found[:12]}, {INFO} says {said[:12]}",
            f"delete that version in MLflow; {AGAIN}",
        )  # fmt: skip
    if wanted and wanted not in (found, said):
        report.add(
            "weights", f"{INFO} of {subject.uri} was changed: it says {said[:12]}, the version's tag {wanted[:12]}",
            f"delete that version in MLflow; {AGAIN}",
        )  # fmt: skip
    elif wanted and wanted == found == said:
        report.checked.append(f"weights {found[:12]}: the file, {INFO} and the tag")
    identity = subject.tags.get(IDENTITY_TAG)
    if subject.version is not None and wanted == said and identity and identity != identity_of(info):
        report.add(
            "weights", f"{INFO} of {subject.uri} was changed: its name, config or task are others",
            f"delete that version in MLflow; {AGAIN}",
        )  # fmt: skip


def _tags(report: Report, subject: Subject) -> None:
    told = subject.tags.get("vidpred.data_id")
    if subject.info and told is not None and told != str(subject.info.get("data_id", "")):
        report.add(
            "data",
            f"{INFO} tells of data {str(subject.info.get('data_id'))[:12]}, the version's tag of {told[:12]}",
            AGAIN,
        )


def _run(report: Report, subject: Subject) -> None:
    if subject.version is None:
        return
    if subject.run is None:
        report.add(
            "run",
            f"run {subject.version.run_id} of {subject.uri} is gone from MLflow",
            f"`mlflow runs restore --run-id {subject.version.run_id}`, if it was only deleted",
        )
        return
    key = ((subject.record or {}).get("keys") or {}).get("train")
    of_run = subject.run.data.tags.get("vidpred.key")
    if key and of_run != key:
        report.add(
            "run", f"run {subject.run.info.run_id} has the key {of_run}, the record {key}", "look at its tags in MLflow"
        )
        return
    for tag in ("vidpred.data_id", "data_id"):
        there = subject.run.data.tags.get(tag)
        if there is not None and there != subject.tags.get("vidpred.data_id", there):
            report.add(
                "run",
                f"run {subject.run.info.run_id} tells of data {there[:12]}, the version of "
                f"{subject.tags['vidpred.data_id'][:12]}",
                "look at its tags in MLflow",
            )
            return
    report.checked.append(f"run {subject.run.info.run_id}")


def check_record(report: Report, subject: Subject) -> None:
    """Whether what was kept of the model when it was registered is whole and its own; what it says of stale stages."""
    for one in subject.damaged:
        report.add("record", f"the record of {subject.uri}: {one}", "`vidpred register` records it again")
    if subject.record is None:
        if subject.version is not None and not subject.damaged:
            report.unseen.append(f"the record: {subject.unseen.get('record', 'there is none')}")
        return
    if stale := list(subject.record.get("dvc", {}).get("stale") or {}):
        report.notes.append(
            f"stage{'s' * (len(stale) > 1)} {first(stale, NAMED)} did not agree with dvc.lock when this was recorded: "
            f"`vidpred explain {report.model} --all` says how"
        )
    if not subject.live and not subject.damaged:
        report.checked.append(f"{RECORD} and its {len(subject.record['files'])} files")
        if subject.record["weights_sha256"] != subject.info.get("weights_sha256", subject.record["weights_sha256"]):
            report.add(
                "record", f"the record of {subject.uri} is of other weights", "`vidpred register` records it again"
            )
