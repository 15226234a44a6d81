"""A registry that wants to harm: nothing of it is run, nothing it names is followed, and a lie is one line."""

from __future__ import annotations

import json
import os
import pickle  # noqa: TID251 - what must never be loaded
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save, save_file

from tests.tracking.conftest import Project
from vidpred import workspace
from vidpred.commands.serve import default_models
from vidpred.data.encode import write_gif
from vidpred.errors import UserError
from vidpred.models.files import load_model
from vidpred.serving.predict import predict_files
from vidpred.tracking import artifacts, registry
from vidpred.tracking.card import read_card
from vidpred.tracking.pull import pull

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]

CHAMPION = "models:/vidpred@champion"
MARKER = "marker"
"""What code that runs would leave."""


class Trap:
    """Leaves a marker where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(Path.cwd() / MARKER),)


def set_info(folder: Path, **changed: Any) -> None:
    """Changes what model.json says; its sha256 is that of the weights beside it."""
    info = json.loads((folder / "model.json").read_text())
    sha256 = workspace.file_sha256(folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps(info | {"weights_sha256": sha256} | changed))


def set_task(folder: Path, **changed: Any) -> None:
    """Changes the task in model.json."""
    info = json.loads((folder / "model.json").read_text())
    set_info(folder, task=info["task"] | changed)


def pickle_for_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    set_info(folder)


def torch_file_for_weights(folder: Path) -> None:
    torch.save(Trap(), folder / "model.safetensors")
    set_info(folder)


def flipped_byte(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def other_shapes(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({name: torch.zeros(2, *tensor.shape) for name, tensor in tensors.items()}, folder / "model.safetensors")
    set_info(folder)


def no_tensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(save({}))
    set_info(folder)


def header_without_end(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    set_info(folder)


def link_for_weights(folder: Path) -> None:
    target = folder.parent / "elsewhere"
    shutil.move(folder / "model.safetensors", target)
    (folder / "model.safetensors").symlink_to(target)


def link_for_description(folder: Path) -> None:
    (folder / "model.json").unlink()
    (folder / "model.json").symlink_to("/etc/passwd")


def link_for_the_folder(folder: Path) -> None:
    shutil.move(folder, folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


def pipe_for_description(folder: Path) -> None:
    (folder / "model.json").unlink()
    os.mkfifo(folder / "model.json")


def huge_description(folder: Path) -> None:
    with (folder / "model.json").open("ab") as file:
        file.truncate(1 << 32)  # sparse: four gigabytes that take no room


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pickle for weights": (pickle_for_weights, "do not fit"),
    "torch's own format for weights": (torch_file_for_weights, "do not fit"),
    "a flipped byte": (flipped_byte, "damaged"),
    "other shapes": (other_shapes, "do not fit"),
    "no tensors": (no_tensors, "do not fit"),
    "a header without end": (header_without_end, "do not fit"),
    "weights that are a link": (link_for_weights, "is a link"),
    "a description that is a link": (link_for_description, "is a link"),
    "a folder that is a link": (link_for_the_folder, "is a link"),
    "a description that is a pipe": (pipe_for_description, "no model of vidpred"),
    "a huge description": (huge_description, "larger than"),
    "no JSON": (lambda f: (f / "model.json").write_text("[" * 50_000), "not JSON"),
    "a description of another kind": (lambda f: (f / "model.json").write_text("[1]"), "lacks name"),
    "a name that is none": (lambda f: set_info(f, name=["conv2d"]), "name of another kind"),
    "a model that is not in the zoo": (lambda f: set_info(f, name="../../evil"), "no model is called"),
    "a module for a model": (lambda f: set_info(f, name="os"), "no model is called"),
    "a config of terabytes": (
        lambda f: set_info(f, name="convlstm", config={"filters": 4_000_000}),
        "far larger than its weights",
    ),
    "a config without end": (
        lambda f: set_info(f, name="convlstm", config={"layers": 10**9}),
        "far larger than its weights",
    ),
    "a config of another kind": (lambda f: set_info(f, config="evil"), "config of another kind"),
    "a field that is none": (lambda f: set_info(f, config={"__class__": "x"}), "has no config field"),
    "a frame of terabytes": (lambda f: set_task(f, height=2**31), "the task in model.json has height"),
    "frames of terabytes": (lambda f: set_task(f, height=8192, width=8192, context=4096), "more than a model"),
    "a negative size": (lambda f: set_task(f, width=-16), "has width"),
    "a size that is no number": (lambda f: set_task(f, context="3"), "has context"),
    "a task of another kind": (lambda f: set_task(f, kind="../x"), "the task is"),
    "training that is none": (lambda f: set_info(f, training=[1]), "training of another kind"),
    "a flow that is none": (lambda f: set_info(f, flow={"method": "evil"}), "flow that it does not know"),
    "a rate that is none": (lambda f: set_info(f, fps="evil"), "frames per second"),
}
"""What is done to a version's files, and what is said of it."""


def marking_code(folder: Path) -> None:
    for code in folder.parent.rglob("*.py"):
        code.write_text(f"import os\nos.mkdir({str(Path.cwd() / MARKER)!r})\n")


def pickles_beside(folder: Path) -> None:
    for name in ("python_model.pkl", "model.pkl", "model.pt"):
        for place in (folder, folder.parent):
            (place / name).write_bytes(pickle.dumps(Trap()))
    described = folder.parent / "MLmodel"
    described.write_text(described.read_text().replace("model_code_path: pyfunc_model.py", "python_model: model.pkl"))


def links_beside(folder: Path) -> None:
    for name in ("card.md", "card.png"):
        (folder / name).unlink(missing_ok=True)
    (folder / "passwd").symlink_to("/etc/passwd")


def card_of_another(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {"weights_sha256": "0" * 64}))


def card_too_large(folder: Path) -> None:
    (folder / "card.json").write_text(" " * 1_000_000)


IGNORED: dict[str, Callable[[Path], None]] = {
    "code that leaves a marker": marking_code,
    "pickles that leave a marker": pickles_beside,
    "links beside the model": links_beside,
    "the card of another model": card_of_another,
    "a card that is too large": card_too_large,
}
"""What is done to a version's files that its model can be used without."""


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Eight frames."""
    path = tmp_path / "clip.gif"
    write_gif(path, np.random.default_rng(0).integers(0, 255, (8, 16, 16, 3), np.uint8), 10)
    return path


@pytest.fixture
def files(home: Path, project: Project) -> Path:
    """The artifacts of a champion."""
    project.register(0.5)
    return next((home / "mlartifacts").rglob("model.safetensors")).parent


@pytest.fixture
def spoilt(files: Path, home: Path, tmp_path: Path) -> Callable[[Callable[[Path], object]], Any]:
    """Does something to these files, for as long as a block lasts."""
    whole = tmp_path / "whole"
    shutil.copytree(files.parent, whole)

    @contextmanager
    def spoil(how: Callable[[Path], object]) -> Iterator[None]:
        how(files)
        shutil.rmtree(home / "downloads", ignore_errors=True)
        yield
        assert not list(tmp_path.rglob(MARKER)), "code of the registry was run"
        shutil.rmtree(files.parent)
        shutil.copytree(whole, files.parent)

    return spoil


def one_line(error: pytest.ExceptionInfo[UserError], told: str) -> None:
    """Whether an error says what it must, in one short line."""
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_predict_and_pull_refuse(spoilt: Callable[..., Any], clip: Path, tmp_path: Path) -> None:
    for name, (how, told) in REFUSED.items():
        with spoilt(how):
            with pytest.raises(UserError) as predicted:
                predict_files(CHAMPION, [clip])
            with pytest.raises(UserError) as pulled:
                pull(CHAMPION, tmp_path / "pulled")
            for error in (predicted, pulled):
                one_line(error, told)
            assert not (tmp_path / "pulled").exists(), name


def test_predict_and_pull_ignore(spoilt: Callable[..., Any], clip: Path, tmp_path: Path) -> None:
    for name, how in IGNORED.items():
        with spoilt(how):
            out = tmp_path / "out.gif"
            assert predict_files(CHAMPION, [clip], output=out) == 0, name
            assert out.is_file(), name
            folder = pull(CHAMPION, tmp_path / name).folder
            read_card(folder)
            assert not [
                path for path in folder.rglob("*") if path.suffix in (".py", ".pkl", ".pt") or path.is_symlink()
            ]
            assert load_model(folder)[1]["name"] == "conv2d"


def test_serve_does_not_pass_over_a_damaged_champion(
    spoilt: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "checkout"
    (project / "models/trained").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        (project / name).write_text("")
    monkeypatch.chdir(project)
    assert default_models() == (CHAMPION,)
    with spoilt(flipped_byte), pytest.raises(UserError, match="damaged"):
        default_models()


def test_gate_neither_runs_nor_trusts_the_champions_files(spoilt: Callable[..., Any], project: Project) -> None:
    for name in ("a pickle for weights", "a config of terabytes", "weights that are a link", "other shapes"):
        with spoilt(REFUSED[name][0]):
            receipt = project.register(0.9)
            assert receipt["alias"] == "challenger", name
            assert receipt["reason"].startswith("not compared: the champion (version 1) cannot be loaded here"), name
    with spoilt(lambda folder: (folder / "seen.json").write_text('{"groups": 1, "sources": [2]}')):
        assert "does not tell what it was trained on" in project.register(0.9)["reason"]
    with spoilt(marking_code):
        assert project.register(0.9)["alias"] == "champion"


def test_source_of_a_strange_kind_is_not_asked() -> None:
    for source in ("ftp://host/model", "dbfs:/model", "models:/other/1", "evil+plugin://x", "runs:/abc/model"):
        with pytest.raises(UserError, match="not a place that models are fetched from"):
            artifacts.find_place(source)


class Liar(BaseHTTPRequestHandler):
    """An artifact server that lists paths outside, sizes that are not so, and sends without an end."""

    def do_GET(self) -> None:
        """Lists two files, or sends zeros until the other side goes."""
        if "/mlflow-artifacts/artifacts?" in self.path:
            listed = [
                {"path": "../../model.json", "is_dir": False, "file_size": 3},
                {"path": "model.safetensors", "is_dir": False, "file_size": 3},
                {"path": "model.json", "is_dir": False, "file_size": 3},
            ]
            bad = "lists-outside" in self.path
            body = json.dumps({"files": listed if bad else listed[1:]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"0" * 65536)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def liar() -> Iterator[str]:
    """The address of such a server's artifacts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api/2.0/mlflow-artifacts/artifacts"
    server.shutdown()
    server.server_close()
    thread.join()


def test_server_that_sends_without_end_is_cut_off(liar: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="larger than the 1,000,000 bytes"):
        artifacts.fetch(f"{liar}/model", tmp_path / "got", {"model.json": True})
    assert not list(tmp_path.rglob("model.safetensors"))


def test_server_that_lists_paths_outside_is_refused(liar: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be listed"):
        artifacts.fetch(f"{liar}/lists-outside", tmp_path / "got", {"model.json": True})
    assert not list(tmp_path.rglob("*.json"))


def test_folder_of_a_person_is_checked_alike(project: Project) -> None:
    folder = project.model(0.5)
    set_info(folder, name="convlstm", config={"filters": 4_000_000})
    with pytest.raises(UserError, match="far larger than its weights"):
        load_model(folder)
    set_info(folder, name="conv2d", config={"variant": "seed"}, fps=-1)
    with pytest.raises(UserError, match="frames per second"):
        registry.download(str(folder))
