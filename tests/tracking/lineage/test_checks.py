"""`verify` finds each thing that is not as it was, and says what to do."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tracking.conftest import Project
from vidpred.commands.data import verify as verify_data
from vidpred.errors import UserError
from vidpred.models.files import INFO, WEIGHTS
from vidpred.tracking import store
from vidpred.tracking.lineage.checks import check, check_record
from vidpred.tracking.lineage.findings import Report
from vidpred.tracking.lineage.subject import opened
from vidpred.tracking.receipt import RECEIPT

pytestmark = [
    pytest.mark.usefixtures("home", "registered"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]
CHAMPION = "models:/vidpred@champion"


@pytest.fixture
def registered(checkout: Project) -> Project:
    """With its receipt, and its data where a project has it."""
    receipt(checkout, checkout.register())
    for name in ("shards", "split"):
        shutil.copytree(checkout.folder / name, checkout.folder / "data" / name)
    return checkout


def receipt(project: Project, told: Mapping[str, Any]) -> None:
    """As `register` leaves it."""
    path = project.folder / RECEIPT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told))


def flipped(path: Path) -> bytes:
    """The file with its last bit the other way round."""
    content = path.read_bytes()
    return content[:-1] + bytes([content[-1] ^ 1])


def found(report: Report) -> dict[str, str]:
    return {finding.hop: f"{finding.what}: {finding.do}" for finding in report.findings}


def test_a_whole_way_is_whole() -> None:
    report = check(CHAMPION)
    assert report.findings == []
    text = "\n".join(report.checked)
    for word in ("weights", "run ", "lineage.json", "alias champion", "every shard", "split ", "receipt.json"):
        assert word in text


def test_the_receipt_of_another_model_does_not_count(registered: Project) -> None:
    other = {"name": "vidpred-classify", "identity": "a" * 64, "alias": "champion", "weights_sha256": "b" * 64}
    receipt(registered, other)
    report = check(CHAMPION)
    assert report.findings == []
    assert not any("receipt.json" in line for line in (*report.checked, *report.unseen))


def test_stages_that_were_stale_when_it_was_recorded_are_told() -> None:
    with opened(CHAMPION) as subject:
        assert subject.record is not None
        subject.record["dvc"]["stale"] = {stage: ["changed deps: a.py (modified)"] for stage in "abcde"}
        report = Report(CHAMPION)
        check_record(report, subject)
    assert report.findings == []
    (note,) = report.notes
    assert note.startswith("stages a, b, c and 2 more did not agree with dvc.lock when this was recorded")


def test_changed_weights_in_the_registry(home: Path) -> None:
    (weights,) = (home / "mlartifacts").rglob(WEIGHTS)
    weights.write_bytes(flipped(weights))
    told = found(check(CHAMPION))
    assert f"{WEIGHTS} of models:/vidpred/1 was changed" in told["weights"]
    assert "`vidpred register`" in told["weights"]


def test_weights_and_description_changed_together(home: Path) -> None:
    (weights,) = (home / "mlartifacts").rglob(WEIGHTS)
    info = weights.with_name(INFO)
    changed = flipped(weights)
    weights.write_bytes(changed)
    info.write_text(json.dumps(json.loads(info.read_text()) | {"weights_sha256": hashlib.sha256(changed).hexdigest()}))
    assert f"{INFO} of models:/vidpred/1 was changed" in found(check(CHAMPION))["weights"]


def test_a_changed_shard(registered: Project) -> None:
    shard = next((registered.folder / "data/shards").glob("frames-*.npy"))
    frames = np.load(shard, mmap_mode="r+")
    frames[0, 0, 0, 0] ^= 1
    frames.flush()
    told = found(check(CHAMPION))
    assert f"data/shards/{shard.name} has changed" in told["data"]
    with pytest.raises(UserError) as other:
        verify_data(None)
    assert told["data"].endswith(str(other.value).partition(": ")[2])  # one advice


def test_a_changed_split(registered: Project) -> None:
    import pyarrow.parquet as pq

    path = registered.folder / "data/split/split.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    assert "data/split has changed" in found(check(CHAMPION))["split"]


def test_a_missing_version() -> None:
    store.connect().delete_model_version("vidpred", "1")
    told = found(check(CHAMPION))
    assert "has no version of vidpred" in told["version"]
    assert f"`vidpred verify {CHAMPION} --repair`" in told["version"]


def test_a_registry_that_is_gone_altogether(home: Path) -> None:
    (home / "mlflow.db").unlink()
    assert "--repair" in found(check(CHAMPION))["version"]
    assert not (home / "mlflow.db").exists()


def test_a_model_that_nothing_tells_of() -> None:
    with pytest.raises(UserError, match="vidpred has version 1"):
        check("models:/vidpred/7")


def test_a_moved_alias(registered: Project) -> None:
    receipt(registered, registered.register(0.5))  # worse: no alias
    client = store.connect()
    client.set_registered_model_alias("vidpred", "champion", "2")
    told = found(check(CHAMPION))
    assert "champion of vidpred was moved by hand: version 2 has it, and version 1 had it" in told["alias"]
    assert "vidpred promote models:/vidpred/1 --force" in told["alias"]
    client.delete_registered_model_alias("vidpred", "champion")
    assert "no version has it" in found(check("models:/vidpred/1"))["alias"]


def test_a_champion_that_was_beaten_is_no_finding(registered: Project) -> None:
    first = registered.register(0.5)
    registered.register(1.0)
    receipt(registered, first)
    assert check(CHAMPION).findings == []


def test_a_run_that_was_deleted() -> None:
    client = store.connect()
    run_id = client.get_model_version("vidpred", "1").run_id
    client.delete_run(run_id)
    assert f"mlflow runs restore --run-id {run_id}" in found(check("models:/vidpred/1"))["run"]


def test_a_changed_record(home: Path) -> None:
    (params,) = (home / "mlartifacts").rglob("params.yaml")
    params.write_text("{}")
    assert "params.yaml was changed" in found(check(CHAMPION))["record"]
