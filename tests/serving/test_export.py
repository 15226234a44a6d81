"""`vidpred export`: a file that predicts what the model predicts, at any size and batch it says it takes, or none."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.waves import moving
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.files import load_model, save_model
from vidpred.models.rollout import rollout
from vidpred.serving.export.export import export_model
from vidpred.serving.export.files import open_runner, read_metadata
from vidpred.types import Classifier, Task, to_float

TASK = Task(context=3, horizon=2, height=32, width=48)


def saved(folder: Path, name: str, config: dict[str, object] | None = None, task: Task = TASK) -> Path:
    """A model whose weights are none that it starts with: those would only copy the last frame."""
    model = zoo.build(name, config or {}, task)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape)
    save_model(folder, model, name=name, config=config or {}, task=task, info={"data_id": "d", "fps": 10.0})
    return folder


def run_onnx(path: Path, **inputs: np.ndarray) -> np.ndarray:
    """As the docs show it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return np.asarray(session.run(["frames"], inputs)[0])


CLASSES = Task(context=8, horizon=0, height=32, width=32, kind="classify", classes=("left", "right", "up"))
CLASSIFIERS = [(name, v) for name in zoo.names("classify") for v in zoo.variants(name, "classify") if "paper" not in v]
QUICK = {("single_frame", "default"), ("late_fusion", "default"), ("early_fusion", "default"), ("slow_fusion", "toy")}
"""Those that every run tries; the others take seconds each."""


def saved_classifier(folder: Path, name: str, config: dict[str, object], task: Task = CLASSES) -> Path:
    """A model whose norms have seen clips, as those of a trained one."""
    torch.manual_seed(0)
    model = zoo.build(name, config, task, Classifier)
    with torch.no_grad():
        for buffer_name, buffer in model.named_buffers():
            if buffer_name.endswith("running_mean"):
                buffer += 0.1 * torch.randn(buffer.shape)
            if buffer_name.endswith("running_var"):
                buffer *= 0.5 + torch.rand(buffer.shape)
    info = {"data_id": "d", "fps": 10.0, "flow": {}}
    save_model(folder, model, name=name, config=config, task=task, info=info)
    return folder


def frames_of(batch: int, height: int, width: int, length: int = 3) -> torch.Tensor:
    return moving(length, batch=batch, size=max(height, width))[..., :height, :width].contiguous()


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_predicts_what_the_model_predicts_at_any_batch_and_size(tmp_path: Path, suffix: str) -> None:
    folder = saved(tmp_path / "model", "conv2d", {"depth": 2, "filters": 4})
    path = tmp_path / f"model{suffix}"
    said = export_model(str(folder), path)
    assert said["bounds"]["height"] == [32, 2048]
    assert said["compared"]["largest_difference_grey_levels"] < 0.01
    assert read_metadata(path) == said
    model = load_model(folder)[0]
    run = open_runner(path, "onnx" if suffix == ".onnx" else "torch")
    for batch, height, width in ((1, 32, 48), (5, 41, 67)):
        context = frames_of(batch, height, width)
        with torch.no_grad():
            wanted = rollout(model, context, 2, clamp=True).frames.clamp(0, 1)
        found = run({"context": context.numpy()})
        assert found.shape == (batch, 2, 3, height, width)
        assert np.abs(found - wanted.numpy()).max() * 255 < 0.01


def test_onnx_names_what_goes_in_and_out(tmp_path: Path) -> None:
    import onnxruntime

    path = tmp_path / "model.onnx"
    export_model(str(saved(tmp_path / "model", "copy_last")), path)
    session = onnxruntime.InferenceSession(path)
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("context", "tensor(float)", ["batch", 3, 3, "height", "width"])
    ]
    assert [(o.name, o.shape[1:3]) for o in session.get_outputs()] == [("frames", [2, 3])]
    context = np.random.default_rng(0).random((2, 3, 3, 40, 32), np.float32)
    assert np.array_equal(run_onnx(path, context=context), np.repeat(context[:, -1:], 2, axis=1))


def test_more_frames_are_rolled_out_inside(tmp_path: Path) -> None:
    folder, path = saved(tmp_path / "model", "conv2d", {"depth": 2, "filters": 4}), tmp_path / "model.pt2"
    export_model(str(folder), path, frames=5, static=True)
    context = frames_of(1, 32, 48)
    with torch.no_grad():
        wanted = rollout(load_model(folder)[0], context, 5, clamp=True).frames.clamp(0, 1)
    found = torch.export.load(path).module()(context)
    assert (found - wanted).abs().max() * 255 < 0.01


def test_flow_is_an_input_and_gives_no_more_than_one_step(tmp_path: Path) -> None:
    folder, path = saved(tmp_path / "model", "flow_extrapolation"), tmp_path / "model.onnx"
    said = export_model(str(folder), path)
    assert said["inputs"]["flow"]["shape"] == ["batch", 2, 2, "height", "width"]
    assert said["outputs"]["frames"]["shape"][1] == 1
    with pytest.raises(UserError, match=r"--frames 2: this model needs optical flow, also of .*: at most 1,"):
        export_model(str(folder), path, frames=2)


def test_a_model_of_one_size_gives_a_graph_of_that_size(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config: dict[str, object] = {"filters": 4, "hidden": 8, "latent_size": 4}
    caplog.set_level("INFO")
    said = export_model(str(saved(tmp_path / "model", "vae_lstm", config)), tmp_path / "model.pt2")
    assert said["bounds"] == {"batch": [1, 1024], "height": [32, 32], "width": [48, 48], "multiple": 1}
    assert "not everything may vary: vae_lstm was built for frames of 32x48" in caplog.text


def test_static_fixes_all(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    said = export_model(str(saved(tmp_path / "model", "copy_last")), path, static=True)
    assert said["inputs"]["context"]["shape"] == [1, 3, 3, 32, 48]
    assert said["compared"]["batch_height_width"] == [[1, 32, 48]]


def test_a_graph_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vidpred.serving.export import files

    folder, path = saved(tmp_path / "model", "copy_last"), tmp_path / "model.onnx"
    path.write_bytes(b"of before")
    right = files.convert

    def wrong(program: Any, kind: files.Format, output: str) -> Any:
        """A converter with a fault: its graph gives everything brighter."""
        import onnx

        graph = right(program, kind, output)
        last = next(node for node in graph.graph.node if "frames" in node.output)
        last.output[0] = "nearly"
        graph.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1.5 / 255), "more"))
        graph.graph.node.append(onnx.helper.make_node("Add", ["nearly", "more"], ["frames"]))
        return graph

    monkeypatch.setattr("vidpred.serving.export.export.convert", wrong)
    with pytest.raises(UserError, match=r"was not written: the graph differs from the model by 1\.5 grey levels"):
        export_model(str(folder), path, static=True)
    assert path.read_bytes() == b"of before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "model.onnx"]
    said = export_model(str(folder), path, static=True, tolerance=2)["compared"]
    assert said["largest_difference_grey_levels"] == pytest.approx(1.5, 0.01)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"output": "model.tflite"}, r"name it \.onnx or \.pt2"),
        ({"output": "nowhere/model.onnx"}, "there is no folder nowhere: make it first"),
        ({"output": "model.pt2", "kind": "onnx"}, "is named as torch, --format says onnx"),
        ({"output": "folder.onnx"}, "is a folder"),
    ],
)
def test_options_that_make_no_sense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.onnx").mkdir()
    with pytest.raises(UserError, match=told):
        export_model("model", Path(options.pop("output")), **options)


def test_missing_packages_are_told_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else there(name))
    with pytest.raises(UserError, match=r"ONNX needs onnxruntime: `pip install 'vidpred\[onnx\]'`"):
        export_model("model", tmp_path / "model.onnx")


def tried(folder: Path, path: Path) -> dict[str, Any]:
    """Exports a classifier, and runs the file as the docs show it, on another batch than any that was compared."""
    said = export_model(str(folder), path)
    side = said["task"]["height"]
    assert said["bounds"] == {"batch": [1, 1024], "height": [side, side], "width": [side, side], "multiple": 1}
    assert said["outputs"]["probabilities"]["shape"] == ["batch", len(said["task"]["classes"])]
    assert said["compared"]["largest_difference_points"] < 0.01
    model, info = load_model(folder, Classifier)
    task = info["task"]
    seen = np.random.default_rng(3).integers(0, 256, (5, task["context"], task["height"], task["width"], 3), np.uint8)
    clips = to_float(torch.from_numpy(seen))
    flow = 4 * (clips[:, 1:, :2] - clips[:, :-1, :2]) if model.needs_flow else None
    assert set(said["inputs"]) == {"clip", "flow"} if model.needs_flow else {"clip"}
    with torch.no_grad():
        wanted = model(clips, flow).logits.softmax(1).numpy()
    inputs = {"clip": clips.numpy()} | ({"flow": flow.numpy()} if flow is not None else {})
    found = open_runner(path, "onnx" if path.suffix == ".onnx" else "torch")(inputs)
    assert found.shape == (5, len(task["classes"]))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    return said


@pytest.mark.parametrize(
    ("name", "variant", "suffix"),
    [
        pytest.param(name, variant, suffix, marks=[pytest.mark.slow] * ((name, variant) not in QUICK))
        for name, variant in CLASSIFIERS
        for suffix in (".pt2", ".onnx")
    ],
)
def test_every_classifier_says_what_it_says(tmp_path: Path, name: str, variant: str, suffix: str) -> None:
    tried(saved_classifier(tmp_path / "model", name, {"variant": variant}), tmp_path / f"model{suffix}")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("c3d", {"variant": "paper"}),
        ("i3d", {"variant": "paper"}),
        ("slowfast", {"variant": "paper_4x16"}),
        ("i3d", {"nonlocal_after": ["stage1"]}),
    ],
)
def test_published_networks_and_non_local_blocks(
    tmp_path: Path, name: str, config: dict[str, object], suffix: str
) -> None:
    length, side, classes = zoo.module(name, "classify").MADE_FOR.get(config.get("variant"), (8, 32, 3))
    side = min(side, 112)  # at 224 a comparison takes minutes
    names = tuple(f"class {number}" for number in range(classes))
    task = dataclasses.replace(CLASSES, context=length, height=side, width=side, classes=names)
    tried(saved_classifier(tmp_path / "model", name, config, task), tmp_path / f"model{suffix}")


def test_a_classifier_s_file_names_its_classes_and_gives_no_frames(tmp_path: Path) -> None:
    folder, path = saved_classifier(tmp_path / "model", "single_frame", {}), tmp_path / "model.onnx"
    with pytest.raises(UserError, match="--frames 3: this model classifies, it gives no frames: leave --frames out"):
        export_model(str(folder), path, frames=3)
    said = export_model(str(folder), path, static=True)
    assert read_metadata(path) == said
    assert said["outputs"]["probabilities"]["classes"] == ["left", "right", "up"]
    assert said["inputs"]["clip"]["shape"] == [1, 8, 3, 32, 32]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
@pytest.mark.parametrize("name", zoo.names())
def test_the_whole_zoo(tmp_path: Path, name: str, suffix: str) -> None:
    task = dataclasses.replace(TASK, context=5, height=64, width=64)
    said = export_model(str(saved(tmp_path / "model", name, task=task)), tmp_path / f"model{suffix}")
    assert said["bounds"]["batch"] == [1, 1024]
    assert (said["bounds"]["height"] != [64, 64]) == (name != "vae_lstm")
    assert said["compared"]["largest_difference_grey_levels"] < 0.1
