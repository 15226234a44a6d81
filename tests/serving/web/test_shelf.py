"""Registries: the champion is followed, and one with traps in it is not walked into."""

from __future__ import annotations

import os
import pickle  # noqa: TID251 - to make what must never be loaded
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.web.conftest import moving
from vidpred.errors import UserError
from vidpred.serving.web.shelf import Place, Shelf
from vidpred.tracking import store

pytestmark = pytest.mark.filterwarnings(
    r"ignore::DeprecationWarning:mlflow\..*", "ignore::DeprecationWarning:sqlalchemy", "ignore:The ..noload.. loader"
)
URI = "models:/vidpred@champion"


class Trap:
    """Writes a marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self._marker}'",)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables without rows: making them takes two seconds."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        store.connect()
    return path


@pytest.fixture
def registry(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty one; the folder beside which its versions lie."""
    before = dict(os.environ)  # MLflow's defaults go there
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("VIDPRED_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    yield tmp_path
    os.environ.clear()
    os.environ.update(before)


def register(folder: Path) -> None:
    """Makes a version of a folder, as anybody may who can write to the registry, and makes it champion."""
    client = store.connect()
    if not client.search_registered_models():
        client.create_registered_model("vidpred")
    version = client.create_model_version("vidpred", folder.as_uri())
    client.set_registered_model_alias("vidpred", "champion", version.version)


def trapped(folder: Path, marker: Path) -> Path:
    """Adds code and pickles to a model, wherever a careless reader would load them."""
    bomb = pickle.dumps(Trap(marker))
    code = f"import pathlib; pathlib.Path({str(marker)!r}).touch()\n"
    (folder / "code").mkdir()
    for name in ("code/vidpred.py", "code/__init__.py", "model.py", "conv2d.py", "sitecustomize.py", "__init__.py"):
        (folder / name).write_text(code)
    for name in ("python_model.pkl", "model.pkl", "model.pt", "pytorch_model.bin", "data.pkl"):
        (folder / name).write_bytes(bomb)
    (folder / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    code: code\n"
        "    python_model: python_model.pkl\n    model_code_path: model.py\nmodel_uuid: a\n"
    )
    return folder


def test_a_registry_with_traps_is_followed_without_walking_into_them(registry: Path) -> None:
    marker, told = registry / "marker", list[tuple[str, str]]()

    def note(place: Place) -> None:
        told.append((place.loaded.weights, place.problem))

    register(moving(registry / "first"))
    shelf = Shelf([URI], device="cpu", poll_seconds=3600, changed=note, failed=note)
    (place,) = shelf.places.values()
    first = place.loaded.weights
    assert told == [(first, "")]

    changed = trapped(moving(registry / "tampered", step=0), marker)
    weights = bytearray((changed / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (changed / "model.safetensors").write_bytes(weights)
    register(changed)
    shelf.look()
    assert place.loaded.weights == first
    assert "damaged" in place.problem

    pickled = trapped(moving(registry / "pickled", step=0), marker)
    (pickled / "model.safetensors").write_bytes(pickle.dumps(Trap(marker)))
    register(pickled)
    shelf.look()
    assert place.loaded.weights == first

    register(
        trapped(moving(registry / "good", step=0), marker)
    )  # its own two files are sound: they are all that is read
    shelf.look()
    assert place.loaded.weights != first
    assert place.problem == ""
    assert not marker.exists()


def test_a_registry_that_is_away_changes_nothing(registry: Path) -> None:
    register(moving(registry / "first"))
    shelf = Shelf([URI], device="cpu", poll_seconds=3600, changed=lambda _: None, failed=lambda _: None)
    (place,) = shelf.places.values()
    shutil.move(registry / "mlflow.db", registry / "away.db")
    shelf.look()
    assert "is not here" in place.problem
    assert place.loaded.predictor.task.context == 3
    shutil.move(registry / "away.db", registry / "mlflow.db")
    shelf.look()
    assert place.problem == ""


def test_what_is_no_model_is_refused_at_the_start(registry: Path) -> None:
    broken = moving(registry / "broken")
    (broken / "model.safetensors").write_bytes(b"")
    register(broken)
    with pytest.raises(UserError, match="damaged"):
        Shelf([URI], device="cpu", poll_seconds=3600, changed=lambda _: None, failed=lambda _: None)
    with pytest.raises(UserError, match="nowhere"):
        Shelf(["nowhere"], device="cpu", poll_seconds=3600, changed=lambda _: None, failed=lambda _: None)
