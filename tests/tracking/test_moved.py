"""A project that is moved or copied takes its registry along."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import mlflow
import pytest

from tests.tracking.conftest import Project
from vidpred.commands.doctor import examine
from vidpred.models.files import WEIGHTS
from vidpred.tracking import own, store
from vidpred.tracking.download import download
from vidpred.tracking.lineage.checks import check
from vidpred.tracking.pull import pull

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]
CHAMPION = "models:/vidpred@champion"


@pytest.fixture
def filled(project: Project, home: Path) -> Path:
    """The home, with two versions in its store and a run without files."""
    project.register(0.5)
    project.register(1.0)
    client = store.connect()
    client.create_run(store.experiment(client))
    return home


def use(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VIDPRED_HOME", str(home))
    shutil.rmtree(home / "downloads", ignore_errors=True)
    return home


def test_everything_works_where_it_is_now(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = use(Path(shutil.move(filled, tmp_path / "ä new & home")), monkeypatch)
    assert download(CHAMPION).is_relative_to(there)
    assert pull(CHAMPION, tmp_path / "champion").told["version"] == "2"
    assert check(CHAMPION).findings == []
    client = store.connect()
    runs = client.search_runs([store.experiment(client)])
    assert len(runs) == 3
    assert all(run.info.artifact_uri.startswith((there / "mlartifacts").as_uri()) for run in runs)
    assert client.get_experiment_by_name("vidpred").artifact_location == (there / "mlartifacts").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.tracking_uri())  # as a third party does
    assert mlflow.pyfunc.load_model(CHAMPION).metadata is not None
    assert not filled.exists()


def test_a_copy_has_its_own_files(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = use(Path(shutil.copytree(filled, tmp_path / "copy")), monkeypatch)
    assert store.follow()
    (weights,) = [path for path in (there / "mlartifacts").rglob(WEIGHTS) if "registered" in str(path)][:1]
    shutil.rmtree(weights.parents[1])
    (finding,) = [finding for version in "12" for finding in check(f"models:/vidpred/{version}").findings]
    assert "are gone from" in finding.what
    assert "`vidpred register`" in finding.do
    use(filled, monkeypatch)
    assert check("models:/vidpred/1").findings == check("models:/vidpred/2").findings == []


def test_it_is_done_once(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(Path(shutil.move(filled, tmp_path / "there")), monkeypatch)
    told = store.follow()
    assert f"pointed to {filled / 'mlartifacts'}" in told
    assert str(tmp_path / "there/mlartifacts") in told
    assert store.follow() == ""


def test_one_folder_under_two_names_stays_as_it_is(filled: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(filled)
    assert own.follow(filled / "mlflow.db", tmp_path / "link/mlartifacts") is None


def test_a_database_that_went_alone_still_finds_its_files(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = use(tmp_path / "there", monkeypatch)
    there.mkdir()
    shutil.copyfile(filled / "mlflow.db", there / "mlflow.db")
    assert store.follow() == ""
    assert download(CHAMPION).is_relative_to(there)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_store_that_cannot_be_written_is_told_of(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    there = use(Path(shutil.move(filled, tmp_path / "there")), monkeypatch)
    (there / "mlflow.db").chmod(0o400)
    assert store.follow() == ""
    assert "cannot be changed" in caplog.text


def test_doctor_says_what_was_done_and_what_is_lost(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = use(Path(shutil.move(filled, tmp_path / "there")), monkeypatch)
    examine()
    told = capsys.readouterr().out
    assert f"pointed to {filled / 'mlartifacts'}" in told
    assert "has lost its files" not in told
    shutil.rmtree(there / "mlartifacts")
    examine()
    told = capsys.readouterr().out
    assert "models:/vidpred/1 has lost its files" in told
    assert "bring mlartifacts/ along with mlflow.db" in told
