"""What a pulled model tells where its registry is away, or another one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.tracking.conftest import Project, free_port
from vidpred.commands.diff import diff
from vidpred.commands.explain import explain
from vidpred.errors import UserError
from vidpred.models.files import WEIGHTS
from vidpred.tracking.lineage.checks import check
from vidpred.tracking.lineage.hops import Hop
from vidpred.tracking.lineage.subject import opened
from vidpred.tracking.lineage.way import way
from vidpred.tracking.pull import pull
from vidpred.tracking.receipt import RECEIPT

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]
CHAMPION = "models:/vidpred@champion"


@pytest.fixture
def pulled(project: Project, tmp_path: Path) -> Path:
    project.register()
    return pull(CHAMPION, tmp_path / "champion").folder


@pytest.fixture
def away(pulled: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pulled model, and a server that does not answer."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    return pulled


def hops(model: Path) -> dict[str, Hop]:
    with opened(str(model)) as subject:
        return {hop.name: hop for hop in way(subject).hops}


def test_it_tells_what_the_folder_knows_and_that_the_registry_is_away(away: Path, project: Project) -> None:
    found = hops(away)
    assert found["version"].what == "models:/vidpred/1"
    assert set(found["version"].known_from) == {"pulled.json", "card.json"}
    assert "PD" in found["version"].facts["on test"]
    assert "the registry cannot be reached" in found["version"].unseen
    assert "mlflow.db" in found["version"].facts["registry"]
    assert found["split"].facts["test"] == "25 clips of 25 groups, 200 frames"
    assert found["data"].what == "30 clips, 240 frames"
    assert found["data"].hash == project.shards.data_id
    assert found["sources"].what == "30 files"
    for name in ("run", "code", "machine", "params", "split", "sources"):
        assert found[name].unseen == "it is in the registry, which cannot be reached", name


def test_explained_in_words(away: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explain(str(away), as_json=False, html=None, every=False)
    told = capsys.readouterr().out
    assert "was not kept" not in told
    assert "no git commit" not in told
    assert told.count("nothing listens there") == 1


def test_another_registry_says_from_where_it_was_pulled(
    pulled: Path, tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    shutil.copyfile(empty_database, tmp_path / "other/mlflow.db")
    before = json.loads((pulled / "pulled.json").read_text())["registry"]
    monkeypatch.setenv("VIDPRED_HOME", str(tmp_path / "other"))
    found = hops(pulled)
    assert f"has no version with these weights; it was pulled from {before}" in found["version"].unseen
    assert found["params"].unseen == "the registry that has it is not the one that is asked here"


def test_its_files_are_checked_without_a_registry(away: Path) -> None:
    report = check(str(away))
    assert report.findings == []
    assert any("4 files, as they were pulled (models:/vidpred/1)" in line for line in report.checked)
    assert any("the registry cannot be reached" in line for line in report.unseen)
    (away / "card.md").write_text("better than it is")
    (finding,) = check(str(away)).findings
    assert "card.md is not as it was pulled" in finding.what
    assert f"`vidpred pull models:/vidpred/1 -o {away}`" in finding.do
    (away / WEIGHTS).unlink()
    assert len(check(str(away)).findings) == 2


def test_in_a_project_the_receipt_is_left_open(away: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text("")
    told = {"name": "vidpred", "identity": "01", "weights_sha256": "23", "alias": None}
    (tmp_path / RECEIPT).parent.mkdir(parents=True)
    (tmp_path / RECEIPT).write_text(json.dumps(told))
    monkeypatch.chdir(tmp_path)
    report = check(str(away))
    assert report.findings == []
    assert any(line.startswith(f"{RECEIPT} against the registry: ") for line in report.unseen)


def test_in_a_clone_that_has_registered_nothing_a_pulled_model_is_as_it_was(
    pulled: Path, tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "clone"
    (clone / RECEIPT).parent.mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        (clone / name).write_text("")
    told = {"name": "vidpred", "identity": "01", "weights_sha256": "23", "alias": None}
    (clone / RECEIPT).write_text(json.dumps(told))
    (clone / "runs").mkdir()
    shutil.copyfile(empty_database, clone / "runs/mlflow.db")
    monkeypatch.setenv("VIDPRED_HOME", str(clone / "runs"))
    monkeypatch.chdir(clone)
    report = check(str(pulled))
    assert report.findings == []
    assert any(line.startswith(f"what {RECEIPT} tells of: ") for line in report.unseen)
    with pytest.raises(UserError, match="nothere"):
        check("nothere")


def test_two_names_of_one_model_are_said_to_be_one(
    pulled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    diff(CHAMPION, str(pulled), as_json=False, html=None)
    assert capsys.readouterr().out == f"one and the same model: {CHAMPION} and {pulled} and models:/vidpred/1\n"
    diff(CHAMPION, str(pulled), as_json=True, html=None)
    assert json.loads(capsys.readouterr().out)["same"]
    page = tmp_path / "diff.html"
    diff(CHAMPION, str(pulled), as_json=False, html=page)
    assert f"{page} is the page" in capsys.readouterr().out
    assert "One and the same model" in page.read_text()


def test_a_damaged_model_of_a_project_says_how_to_mend_it(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(project.model(), "models/trained")
    Path("models/trained", WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"models/trained is damaged: .*: `dvc repro train` brings it back"):
        check("models/trained")
