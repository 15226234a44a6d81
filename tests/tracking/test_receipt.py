"""A receipt lies in git and comes out of DVC's cache: what the registry has of it is asked, and said."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.tracking.conftest import Project, free_port
from vidpred.commands.register import check_folder, check_judged, register_missing
from vidpred.commands.summary import show_summary
from vidpred.errors import UserError
from vidpred.models.files import WEIGHTS
from vidpred.tracking import own, store
from vidpred.tracking.download import download
from vidpred.tracking.lineage import dvc
from vidpred.tracking.receipt import RECEIPT, standing

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]


@pytest.fixture(params=["as a file", "through MLflow"])
def asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which the own store can be asked."""
    if request.param == "through MLflow":

        def other(*_: object) -> None:
            raise sqlite3.OperationalError("no such table: model_versions")

        monkeypatch.setattr(own, "tagged", other)
    return str(request.param)


@pytest.mark.usefixtures("asked")
def test_a_version_that_is_there(project: Project) -> None:
    first = project.register(0.5)
    found = standing(first)
    assert (found.state, found.version, found.aliases, found.trouble) == ("here", "1", ("champion",), "")
    project.register(1.0)
    found = standing(first)
    assert (found.state, found.aliases) == ("here", ())


@pytest.mark.usefixtures("asked")
def test_a_receipt_of_another_registry(project: Project, home: Path, empty_database: Path) -> None:
    receipt = project.register()
    shutil.copyfile(empty_database, home / "mlflow.db")
    found = standing(receipt)
    assert found.state == "missing"
    assert "`vidpred register --if-missing` registers it" in found.trouble


def test_no_registry_yet_is_not_made_by_asking(project: Project, home: Path) -> None:
    receipt = project.register()
    (home / "mlflow.db").unlink()
    assert standing(receipt).state == "missing"
    assert not (home / "mlflow.db").exists()


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("with_run", [False, True])
def test_a_version_that_was_deleted_on_purpose(project: Project, with_run: bool) -> None:
    receipt = project.register()
    client = store.connect()
    version = client.get_model_version("vidpred", "1")
    client.delete_model_version("vidpred", "1")
    if with_run:
        client.delete_run(version.run_id)
    found = standing(receipt)
    assert found.state == "deleted"
    assert "was deleted from" in found.trouble
    if not with_run:
        project.register()  # by hand it is made again
        assert (standing(receipt).state, standing(receipt).version) == ("here", "2")


def test_a_server_that_is_away(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    receipt = project.register()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    found = standing(receipt)
    assert found.state == "unknown"
    assert "nothing listens there; start the server" in found.trouble


@pytest.mark.usefixtures("asked")
def test_files_that_are_gone_are_put_back(project: Project, home: Path) -> None:
    receipt = project.register()
    (weights,) = (home / "mlartifacts").rglob(WEIGHTS)
    shutil.rmtree(weights.parents[1])
    assert standing(receipt).state == "hollow"
    with pytest.raises(UserError, match="is no longer there: bring it back"):
        download("models:/vidpred@champion")
    assert project.register() == receipt
    assert standing(receipt).state == "here"
    assert download("models:/vidpred@champion").is_dir()
    assert len(own.versions(home / "mlflow.db")) == 1


class Judged:
    """A project with a receipt and figures, in which the stage `register` is a command of the test."""

    def __init__(self, project: Project, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.project, self.folder, self.home = project, project.folder, home
        for name in ("params.yaml", "dvc.yaml"):
            (self.folder / name).write_text("")
        monkeypatch.chdir(self.folder)
        figures = {"conv2d": {"perceptual_distance": 1.0, "psnr_db": 30, "ssim": 0.9}}
        figures["copy_last"] = figures["conv2d"]
        told = {
            "model": {"name": "conv2d"}, "windows": 50, "test": figures, "beats_copy_last": True, "why_not": "",
            "over_copy_last": {"pooled": 0.5, "pooled_interval": [0.4, 0.6]},
        }  # fmt: skip
        self.write("results/evaluate/metrics.json", told)
        self.receipt = project.register()
        self.write(RECEIPT, self.receipt)

    def write(self, name: str, told: Mapping[str, Any]) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(told))


@pytest.fixture
def judged(project: Project, home: Path, monkeypatch: pytest.MonkeyPatch) -> Judged:
    return Judged(project, home, monkeypatch)


@pytest.fixture
def summary(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What `vidpred summary` says of the registry."""

    def told() -> str:
        capsys.readouterr()
        show_summary()
        return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("registry"))

    return told


@pytest.mark.usefixtures("judged")
def test_the_summary_names_no_champion_that_is_not_there(home: Path, summary: Callable[[], str]) -> None:
    assert "models:/vidpred@champion (it beats" in summary()
    store.connect().delete_registered_model_alias("vidpred", "champion")
    assert "models:/vidpred/1 is without an alias now; it was registered as champion, and `" in summary()
    store.connect().set_registered_model_alias("vidpred", "mine", "1")
    assert "models:/vidpred/1 is mine now; it was registered as champion, and `" in summary()
    (home / "mlflow.db").unlink()
    assert "not registered: " in summary()
    assert "`vidpred register --if-missing`" in summary()
    assert "champion" not in summary()


def test_the_summary_after_another_model_was_trained(judged: Judged, summary: Callable[[], str]) -> None:
    shutil.copytree(judged.folder / "model-1.0-3", "models/trained")
    assert "models:/vidpred@champion (it beats" in summary()
    judged.project.model(0.5)
    shutil.copytree(judged.folder / "model-0.5-3", "models/trained", dirs_exist_ok=True)
    assert "nothing of this model yet" in summary()


@pytest.mark.usefixtures("judged")
def test_the_summary_of_a_registry_that_is_away(summary: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    told = summary()
    assert "not known now, though results/register/receipt.json tells of a champion" in told
    assert "nothing listens there" in told


@pytest.mark.usefixtures("judged")
def test_registering_what_is_missing_leaves_what_is_there_or_was_deleted(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    register_missing()
    assert "models:/vidpred/1 is there already" in capsys.readouterr().out
    store.connect().delete_model_version("vidpred", "1")
    register_missing()
    assert "not registered again: the version of vidpred" in caplog.text
    assert store.connect().search_model_versions() == []


@pytest.mark.usefixtures("judged")
def test_registering_what_is_missing_does_not_pass_over_a_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UserError, match=r"is not known: .* nothing listens there"):
        register_missing()


def test_a_classifier_is_not_registered(judged: Judged, capsys: pytest.CaptureFixture[str]) -> None:
    judged.write(RECEIPT, judged.receipt | {"name": "", "identity": "", "alias": None, "reason": "not registered: why"})
    register_missing()
    assert "not registered: why" in capsys.readouterr().out


def test_without_a_receipt_it_says_what_makes_one(judged: Judged) -> None:
    (judged.folder / RECEIPT).unlink()
    with pytest.raises(UserError, match=r"is not here: `dvc repro --force register`"):
        register_missing()


def test_what_is_nowhere_is_not_said_to_come_from_a_cache(judged: Judged, caplog: pytest.LogCaptureFixture) -> None:
    (judged.home / "mlflow.db").unlink()
    caplog.set_level("INFO")
    with pytest.raises(UserError, match=r"are neither here nor in DVC's cache: run `dvc pull`"):
        register_missing()
    assert "from DVC's cache" not in caplog.text


def test_a_folder_from_elsewhere_is_not_registered(judged: Judged) -> None:
    check_folder(Path("models/trained"))
    check_folder(judged.folder / "models/trained")
    with pytest.raises(UserError, match=r"registers models/trained, .*`vidpred leaderboard submit pulled`"):
        check_folder(Path("pulled"))


def test_figures_of_another_model_are_not_registered(judged: Judged) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", *words], check=True, capture_output=True)

    git("init", "--quiet")
    subprocess.run(dvc.command("init", "--quiet"), check=True, capture_output=True)
    shutil.copytree(judged.folder / "model-1.0-3", "models/trained")
    Path("dvc.yaml").write_text(
        "stages: {evaluate: {cmd: 'true', deps: [models/trained], "
        "outs: [results/evaluate/metrics.json: {cache: false}]}}"
    )
    subprocess.run(dvc.command("add", "--quiet", "models/trained"), check=True, capture_output=True)
    subprocess.run(dvc.command("commit", "--quiet", "--force", "evaluate"), check=True, capture_output=True)
    check_judged()
    (judged.folder / "models/trained/metrics.jsonl").write_text("{}")  # other times of the same weights
    check_judged()
    judged.project.model(0.5)
    shutil.rmtree("models/trained")
    shutil.copytree(judged.folder / "model-0.5-3", "models/trained")
    with pytest.raises(UserError, match=r"tells of another model: `vidpred evaluate` judges it"):
        check_judged()
    judged.write("results/evaluate/metrics.json", {"judged": "again"})
    check_judged()
