"""A model pulled out of a registry: whole or not at all, and of use without one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.tracking.conftest import Project, free_port
from vidpred.data.encode import write_gif
from vidpred.errors import UserError
from vidpred.serving.predict import predict_files
from vidpred.tracking.card import read_card
from vidpred.tracking.pull import pull

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]
CHAMPION = "models:/vidpred@champion"


def test_pulled_model_works_where_no_registry_answers(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = project.register(0.5)
    folder, told, anew = pull(CHAMPION, tmp_path / "new" / "mine")
    assert anew
    assert {path.name for path in folder.iterdir()} == {
        "card.json", "card.md", "model.json", "model.safetensors", "pulled.json",
    }  # fmt: skip
    assert told == json.loads((folder / "pulled.json").read_text())
    assert (told["model"], told["asked"], told["version"]) == ("models:/vidpred/1", CHAMPION, "1")
    assert told["weights_sha256"] == receipt["weights_sha256"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("VIDPRED_HOME", str(tmp_path / "empty"))
    clip = tmp_path / "clip.gif"
    write_gif(clip, np.random.default_rng(0).integers(0, 255, (8, 16, 16, 3), np.uint8), 10)
    assert predict_files(str(folder), [clip], output=tmp_path / "out.gif") == 0
    assert read_card(folder)["weights_sha256"] == receipt["weights_sha256"]
    with pytest.raises(UserError, match="nothing listens there"):
        pull(CHAMPION, folder)
    assert read_card(folder)  # what was there stays


def test_pulled_again_it_is_the_same_newer_or_mended(project: Project, tmp_path: Path) -> None:
    project.register(0.5)
    folder = tmp_path / "mine"
    assert pull(CHAMPION, folder).anew
    first = (folder / "pulled.json").read_bytes()
    assert not pull(CHAMPION, folder).anew
    assert (folder / "pulled.json").read_bytes() == first
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert pull(CHAMPION, folder).anew
    project.register(0.9)
    assert pull(CHAMPION, folder).told["version"] == "2"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_was_not_pulled_is_not_overwritten(project: Project, tmp_path: Path) -> None:
    project.register(0.5)
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "mine.txt").write_text("dear diary")
    with pytest.raises(UserError, match="something else than a pulled model"):
        pull(CHAMPION, notes)
    with pytest.raises(UserError, match="something else than a pulled model"):
        pull(CHAMPION, project.model(0.5))  # a person's own
    with pytest.raises(UserError, match="is no folder"):
        pull(CHAMPION, notes / "mine.txt")
    folder = pull(CHAMPION, tmp_path / "mine").folder
    (folder / "mine.txt").write_text("dear diary")
    with pytest.raises(UserError, match=r"also holds mine\.txt, which would be lost"):
        pull(CHAMPION, folder)
    assert (notes / "mine.txt").read_text() == (folder / "mine.txt").read_text() == "dear diary"
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(UserError, match="is no folder"):
        pull(CHAMPION, tmp_path / "link")


def test_pull_without_a_folder_names_one(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.register(0.5)
    monkeypatch.chdir(tmp_path)
    assert pull("models:/vidpred/latest").folder == Path("vidpred-1")
    assert (tmp_path / "vidpred-1" / "model.json").is_file()
    with pytest.raises(UserError, match="is not in a registry"):
        pull("vidpred-1")


def test_copy_in_the_cache_that_is_damaged_is_fetched_again(home: Path, project: Project, tmp_path: Path) -> None:
    project.register(0.5)
    pull(CHAMPION, tmp_path / "one")
    for cached in (home / "downloads").rglob("model.safetensors"):
        cached.write_bytes(b"damaged")
    assert pull(CHAMPION, tmp_path / "two").anew


def test_a_place_that_cannot_be_written_is_one_line(project: Project) -> None:
    project.register()
    with pytest.raises(UserError, match=r"/proc/mine cannot be written .*: give another folder with --output"):
        pull(CHAMPION, Path("/proc/mine"))
