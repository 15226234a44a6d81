"""What travels to a cluster and back: code without data, parcels whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from vidpred.cluster.job import brought
from vidpred.cluster.jobs import Screen
from vidpred.cluster.parcels import bring, files_below, is_there, send
from vidpred.cluster.remote import input_folder, job_server, outputs, pack, run_stage_elsewhere
from vidpred.data.storage import Storage
from vidpred.errors import UserError
from vidpred.workspace import content_id, in_use, stage_key


@pytest.fixture
def place(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "storage"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, one in a folder of its own."""
    for name in ("a.json", "below/b.json"):
        path = tmp_path / "sent" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "sent"


@pytest.fixture
def project(root: Path, tmp_path: Path) -> Path:
    """A project whose data is there: a few bytes that stand for gigabytes."""
    copy = tmp_path / "project"
    shutil.copytree(root / "vidpred", copy / "vidpred", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(root / "stages", copy / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(root / name, copy / name)
    for name in ("shards", "split", "flow"):
        (copy / "data" / name).mkdir(parents=True)
        (copy / "data" / name / "file.bin").write_bytes(name.encode())
    (copy / "runs").mkdir()
    return copy


def test_a_parcel_arrives_as_it_was_sent(place: Storage, folder: Path, tmp_path: Path) -> None:
    assert not is_there(place, "remote/one")
    send(files_below(folder), place, "remote/one")
    assert is_there(place, "remote/one")
    assert sorted(bring(place, "remote/one", tmp_path / "came")) == ["a.json", "below/b.json"]
    assert (tmp_path / "came/below/b.json").read_text() == "below/b.json"


def test_an_input_is_brought_once_and_in_use_while_a_job_reads_it(
    place: Storage, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDPRED_HOME", str(tmp_path / "home"))
    known = content_id(folder)
    send(files_below(folder), place, input_folder("data/split", known))
    with brought("data/split", known, place) as one, brought("data/split", known, place) as two:
        assert one == two
        assert (one / "below/b.json").read_text() == "below/b.json"
        assert in_use(one.parent)
    assert not in_use(one.parent)
    shutil.rmtree(place.url)  # it is there, and need not come again
    with brought("data/split", known, place) as again:
        assert again == one
    with pytest.raises(UserError):
        brought("data/split", "another", place).__enter__()


def test_a_parcel_that_was_cut_short_is_told(place: Storage, folder: Path, tmp_path: Path) -> None:
    send(files_below(folder), place, "remote/one")
    (Path(place.url) / "remote/one/a.json").write_text("a")
    with pytest.raises(UserError, match=r"remote/one/a\.json is not as long as it was sent"):
        bring(place, "remote/one", tmp_path / "came")


@pytest.mark.parametrize("name", ["../outside", "/outside", "below/../../outside"])
def test_a_parcel_cannot_write_outside_its_folder(place: Storage, folder: Path, tmp_path: Path, name: str) -> None:
    send(files_below(folder), place, "remote/one")
    (Path(place.url) / "remote/one/contents.json").write_text(json.dumps({name: 1}))
    with pytest.raises(UserError, match="no file of a parcel"):
        bring(place, "remote/one", tmp_path / "came")
    assert not (tmp_path / "outside").exists()


def test_code_goes_along_and_data_does_not(project: Path, tmp_path: Path) -> None:
    specs = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    pack(project, specs, "tune", tmp_path / "code")
    assert not (tmp_path / "code/data").exists()
    assert not (tmp_path / "code/runs").exists()
    assert not list((tmp_path / "code").rglob("__pycache__"))
    assert sum(path.stat().st_size for path in (tmp_path / "code").rglob("*") if path.is_file()) < 5e6


def test_the_key_is_the_same_where_the_code_went(project: Path, tmp_path: Path) -> None:
    specs = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    pack(project, specs, "tune", tmp_path / "code")
    (tmp_path / "code/data").mkdir()
    for name in ("shards", "split", "flow"):
        (tmp_path / "code/data" / name).symlink_to(project / "data" / name, target_is_directory=True)
    assert stage_key("tune", root=tmp_path / "code") == stage_key("tune", root=project)


def test_outputs_are_those_of_dvc_yaml(root: Path) -> None:
    spec = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]["tune"]
    assert {"data/tune", "results/tune/best.yaml", "results/tune/summary.json"} <= set(outputs(spec))


def test_a_log_that_is_read_again_is_not_shown_twice(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.show_end("".join(f"line {number}\n" for number in range(100)))
    assert capsys.readouterr().err.splitlines() == [f"line {number}" for number in range(80, 100)]
    log = "".join(f"line {number}\n" for number in range(103))
    for _ in range(2):  # the second time, after the connection was lost
        for at in range(0, len(log), 50):
            screen.show(log[at : at + 50], at)
    assert capsys.readouterr().err.splitlines() == ["line 100", "line 101", "line 102"]


def test_only_a_job_server_makes_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert job_server() is None
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert job_server() is None
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    assert job_server() == "http://head:8265"


def test_without_storage_it_is_said_what_to_set(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    with pytest.raises(UserError, match=r"set resources\.storage in params\.yaml"):
        run_stage_elsewhere("tune", "http://127.0.0.1:1")


def test_a_model_to_begin_with_that_a_job_does_not_reach_is_refused(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["resources"]["storage"] = str(tmp_path / "storage")
    params["train"]["init"] = "models/begin"
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(UserError, match=r"models/begin is a folder of this machine, .* such as models:/vidpred/3"):
        run_stage_elsewhere("tune", "http://127.0.0.1:1")
