"""Stored flow: what was computed, to half a step; the same bytes whatever happened; training reads it."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vidpred.config import Augment, FlowParams, Params, TrainParams
from vidpred.data import clips
from vidpred.data.flow import flow_to_previous
from vidpred.data.flow_store import Quantised, StoredFlow, quantised, stored_flow, write_flow
from vidpred.data.shards import RawClip, Shards, write_shards
from vidpred.errors import UserError
from vidpred.models.blocks.warp import warp
from vidpred.training.curriculum import batches
from vidpred.training.data import Data, read_data
from vidpred.training.loop import Stopped, Trainer
from vidpred.types import Output, Predictor, Segment

SPEEDS = ((2, 1), (-1, 2), (3, -2), (0, 0))
"""Pixels that the content of each clip moves from a frame to the next, right and down."""
METHODS = ("dis", "farneback")


def texture(height: int, width: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.asarray(cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX))


def drifting(count: int, right: int, down: int, *, seed: int, height: int = 64, width: int = 64) -> np.ndarray:
    """Frames of a texture that moves by so many pixels from each to the next."""
    image = texture(height + abs(down) * count, width + abs(right) * count, seed)
    ys, xs = ([(count - i if by > 0 else i) * abs(by) for i in range(count)] for by in (down, right))
    return np.stack([image[y : y + height, x : x + width] for y, x in zip(ys, xs, strict=True)])


def stored_clips(folder: Path, frames: list[np.ndarray], *, buckets: int = 2) -> Shards:
    raw = []
    for number, clip in enumerate(frames):
        (folder / f"{number}.rgb").write_bytes(np.ascontiguousarray(clip).tobytes())
        sha256 = f"{number:012x}{0:052x}"
        raw.append(
            RawClip(
                source=str(number), sha256=sha256, key=sha256, number=0, group=str(number), label="", fps=10.0,
                motion=1.0, frames=folder / f"{number}.rgb", length=len(clip),
            )
        )  # fmt: skip
    height, width = frames[0].shape[1:3]
    write_shards(
        folder / "shards", raw, [], height=height, width=width, fps=10, buckets=buckets, parameters={}, ffmpeg=""
    )
    return Shards(folder / "shards")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Textures that drift at the `SPEEDS`, 12 frames each but the last, which has 2; sources are named by number."""
    frames = [drifting(12 if i < 3 else 2, *speed, seed=i) for i, speed in enumerate(SPEEDS)]
    return stored_clips(tmp_path_factory.mktemp("drifting"), frames)


def write(shards: Shards, folder: Path, *, method: str = "dis", interval: int = 1, workers: int = 2) -> StoredFlow:
    params = FlowParams(method=method)  # type: ignore[arg-type]
    write_flow(shards, folder / "flow", folder / "home", params, interval=interval, models=["test"], workers=workers)
    return StoredFlow(folder / "flow", shards, params, interval=interval)


def sums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def pixels(stored: Quantised) -> np.ndarray:
    return np.asarray(stored.values * stored.scales[..., None, None, None])


# ---- what is stored


def test_a_value_is_off_by_half_a_step_at_the_most() -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([0, 1e-30, 0.01, 1, 30, 1e4], np.float32)[:, None, None, None]
    flow = (rng.normal(size=(6, 2, 24, 24)) * sizes).astype(np.float32)
    stored = quantised(flow)
    assert stored.values.dtype == np.int8
    assert stored.values.min() >= -127  # so that a flip can negate it
    off = np.abs(pixels(stored).astype(np.float64) - flow).max(axis=(1, 2, 3))
    assert (off <= stored.scales / 2 * 1.0001).all()
    np.testing.assert_allclose(np.abs(pixels(stored)).max(axis=(1, 2, 3)), np.abs(flow).max(axis=(1, 2, 3)), rtol=1e-5)
    assert stored.scales[0] == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("interval", [1, 2])
def test_a_known_drift_is_found_to_a_tenth_of_a_pixel(
    shards: Shards, tmp_path: Path, method: str, interval: int
) -> None:
    stored = write(shards, tmp_path, method=method, interval=interval)
    for row, clip in enumerate(shards.clips[:3]):
        right, down = SPEEDS[int(clip.source)]
        found = pixels(stored.fields(row, 0, (clip.length - 1) // interval + 1))
        inner = found[:, :, 16:-16, 16:-16]  # what comes in at an edge was nowhere before
        for component, moved in enumerate((right, down)):
            off = inner[:, component] + moved * interval
            assert np.abs(off).mean() < 0.1, (clip.source, component)
            assert np.abs(np.median(off)) < 0.05


def test_rows_stand_beside_their_frames(shards: Shards, tmp_path: Path) -> None:
    stored = write(shards, tmp_path, interval=3)
    note = json.loads((tmp_path / "flow" / "flow.json").read_text())
    for row, clip in enumerate(shards.clips):
        values = np.load(tmp_path / "flow" / f"flow-{clip.shard[7:]}")[clip.offset : clip.offset + clip.length]
        assert values.dtype == np.int8
        assert not values[:3].any()
        if clip.length > 3:
            assert values[3:].any(axis=(1, 2, 3)).all()
            found = stored.fields(row, 2, 3)  # frames 2, 5 and 8
            np.testing.assert_array_equal(found.values, values[[5, 8]])
            expected = flow_to_previous(shards.frames(row, 2, 3, 3), preset="fine")
            assert np.abs(pixels(found) - expected).max() <= found.scales.max() / 2 * 1.0001
            assert found.scales.max() / 2 <= note["largest_error_pixels"] + 1e-6
    with pytest.raises(IndexError, match="has 12 frames: no flow from 4 to 13"):
        stored.fields(0, 4, 4)
    assert note["needed"]
    assert (note["models"], note["interval"], note["method"], note["frames"]) == (["test"], 3, "dis", 38)
    stored.verify()


# ---- the same bytes


def test_workers_decide_nothing(shards: Shards, tmp_path: Path) -> None:
    found = []
    for workers in (1, 3):
        folder = tmp_path / str(workers)
        write(shards, folder, workers=workers)
        found.append(sums(folder / "flow"))
        assert [path.name for path in (folder / "home").rglob("*") if path.is_file()] == [".lock"]
    assert found[0] == found[1]
    assert sorted(found[0]) == ["flow-0000.npy", "flow-0001.npy", "flow.json", "flow.parquet"]


def test_long_clips_are_done_in_pieces_to_the_same_bits(tmp_path: Path) -> None:
    shards = stored_clips(tmp_path, [drifting(150, 1, 0, seed=9, height=24, width=24)], buckets=1)
    stored = write(shards, tmp_path, interval=2)
    expected = quantised(flow_to_previous(shards.frames(0, 0, 150), interval=2))
    values = np.load(tmp_path / "flow" / "flow-0000.npy")
    np.testing.assert_array_equal(values[2:], expected.values)
    np.testing.assert_array_equal(stored.fields(0, 0, 75).scales, expected.scales[::2])


CHILD = """
import sys
from pathlib import Path
from vidpred.config import FlowParams
from vidpred.data.flow_store import write_flow
from vidpred.data.shards import Shards
from vidpred.errors import UserError
if len(sys.argv) > 2:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
folder = Path(sys.argv[1])
shards = Shards(folder / "shards")
try:
    write_flow(shards, folder / "flow", folder / "home", FlowParams(), interval=1, models=["test"], workers=1)
except UserError as error:
    sys.exit(str(error))
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder of shards that take a few seconds, and the sums of their flow from an unbroken run."""
    folder = tmp_path_factory.mktemp("many")
    frames = [drifting(120, 1, 1, seed=i) for i in range(12)]
    shards = stored_clips(folder, frames, buckets=6)
    write_flow(shards, folder / "whole", folder / "home", FlowParams(), interval=1, models=["test"], workers=2)
    return folder, sums(folder / "whole")


@pytest.mark.parametrize("after", [1, 3])
def test_a_killed_run_goes_on(many: tuple[Path, dict[str, str]], after: int) -> None:
    folder, whole = many
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder)])
    ends = time.monotonic() + 60
    while len(done := list(folder.glob("home/*/*.json"))) < after:
        assert child.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < ends
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = {path.name[:-5]: path.with_suffix("").stat().st_ino for path in done}
    assert not (folder / "flow" / "flow.json").exists()
    subprocess.run([sys.executable, "-c", CHILD, str(folder)], check=True)
    assert sums(folder / "flow") == whole
    for name, inode in kept.items():  # not computed again
        assert (folder / "flow" / name).stat().st_ino == inode
    (folder / "flow" / "flow.json").unlink()


def test_a_full_disk_is_told_and_the_run_goes_on(many: tuple[Path, dict[str, str]]) -> None:
    folder, whole = many
    limited = [sys.executable, "-c", CHILD, str(folder), str(1 << 20)]
    full = subprocess.run(limited, capture_output=True, text=True)
    assert full.returncode == 1
    assert "free some space and run `dvc repro flow`" in full.stderr
    assert len(full.stderr.splitlines()) == 1
    assert not (folder / "flow" / "flow.json").exists()
    subprocess.run(limited[:-1], check=True)
    assert sums(folder / "flow") == whole
    (folder / "flow" / "flow.json").unlink()


def test_what_a_broken_run_left_is_checked(shards: Shards, tmp_path: Path) -> None:
    write(shards, tmp_path)
    whole = sums(tmp_path / "flow")
    store = next((tmp_path / "home").iterdir())
    note = json.loads((tmp_path / "flow" / "flow.json").read_text())
    name = "flow-0000.npy"
    (store / f"{name}.json").write_text(json.dumps(note["shards"][name]))
    (store / name).write_bytes((tmp_path / "flow" / name).read_bytes()[:-1] + b"\1")  # not what the note says
    write(shards, tmp_path)
    assert sums(tmp_path / "flow") == whole


# ---- opening


def test_where_none_is_stored(shards: Shards, tmp_path: Path) -> None:
    assert stored_flow(tmp_path / "none", shards, FlowParams(), interval=1) is None
    (tmp_path / "flow.json").write_text('{"needed": false, "stored": false}')
    assert stored_flow(tmp_path, shards, FlowParams(), interval=1) is None
    (tmp_path / "flow.json").write_text('{"needed": fal')
    with pytest.raises(UserError, match=r"flow\.json is damaged"):
        stored_flow(tmp_path, shards, FlowParams(), interval=1)


def test_flow_of_something_else_is_refused(shards: Shards, tmp_path: Path) -> None:
    write(shards, tmp_path)
    folder = tmp_path / "flow"
    with pytest.raises(UserError, match=r"other flow \(interval 1, not 2; preset fine, not fast\).*dvc repro flow"):
        stored_flow(folder, shards, FlowParams(preset="fast"), interval=2)
    (tmp_path / "others").mkdir()
    others = stored_clips(tmp_path / "others", [drifting(12, 1, 0, seed=7)])
    with pytest.raises(UserError, match=r"other flow \(data_id"):
        stored_flow(folder, others, FlowParams(), interval=1)
    path = folder / "flow-0000.npy"
    whole = path.read_bytes()
    path.unlink()  # it may be one file with a copy elsewhere
    path.write_bytes(whole[:-5] + bytes(5))
    with pytest.raises(UserError, match=r"flow-0000\.npy has changed"):
        StoredFlow(folder, shards, FlowParams(), interval=1).verify()
    path.write_bytes(whole[:-5])
    with pytest.raises(UserError, match=r"flow-0000\.npy is missing or cut short"):
        StoredFlow(folder, shards, FlowParams(), interval=1)


# ---- training batches


def sampler(shards: Shards, flow: StoredFlow | None, augment: Augment, **other: int) -> clips.TrainSampler:
    segments = [Segment(row, 0, clip.length) for row, clip in enumerate(shards.clips)]
    arguments = {"context": 3, "horizon": 1, "batch_size": 32, "seed": 0} | other
    return clips.TrainSampler(shards, segments, augment=augment, flow=flow, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("interval", [1, 2])
@pytest.mark.parametrize("changes", [(), ("flip",), ("transpose",), ("flip", "transpose", "colour", "reverse")])
def test_flow_of_a_changed_window_is_that_of_its_frames(
    shards: Shards, tmp_path: Path, changes: tuple[str, ...], interval: int
) -> None:
    augment = Augment(**{name: name in changes for name in ("flip", "transpose", "reverse", "colour")})
    source = sampler(shards, write(shards, tmp_path, interval=interval), augment, interval=interval)
    seen = set()
    windows = [pair for step in range(3) for pair in zip(*_sample(source, step), strict=True)]
    for frames, flow in windows:
        expected = flow_to_previous(frames[:3])
        inner = np.s_[:, :, 16:-16, 16:-16]
        assert flow.shape == expected.shape == (2, 2, 64, 64)
        assert np.abs(flow - expected)[inner].mean() < 0.1
        seen.add(tuple(np.rint(np.median(flow, axis=(0, 2, 3)) / interval).astype(int)))
    as_they_are = {(-right, -down) for right, down in SPEEDS[:3]}
    flipped = {(x * a, y * b) for x, y in as_they_are for a in (1, -1) for b in (1, -1)}
    transposed = {(y, x) for x, y in as_they_are}
    if not changes:
        assert seen == as_they_are
    elif changes == ("flip",):
        assert as_they_are < seen <= flipped
    elif changes == ("transpose",):
        assert seen == as_they_are | transposed
    else:
        assert seen <= flipped | {(y, x) for x, y in flipped}
        assert seen - flipped


@pytest.mark.parametrize("changes", [{"scale": (0.7, 0.7)}, {"scale": (1.4, 1.4)}, {"translate": 20}])
def test_flow_of_a_moved_window_is_that_of_its_frames(shards: Shards, tmp_path: Path, changes: dict[str, Any]) -> None:
    augment = Augment(reverse=False, colour=False, **changes)
    source = sampler(shards, write(shards, tmp_path), augment, batch_size=8)
    # at 0.7 and where it is shifted, the frame is seen with part of its mirror image, in which things go the other way
    windows = [pair for step in range(3) for pair in zip(*_sample(source, step), strict=True)]
    for frames, flow in windows:
        before = torch.from_numpy(frames[:2]).movedim(-1, 1).float()
        seen = warp(before, torch.from_numpy(flow)).movedim(1, -1).numpy()
        off = np.abs(seen - frames[1:3]).mean(axis=(0, 3))
        moved = np.abs(frames[:2].astype(float) - frames[1:3]).mean(axis=(0, 3))
        assert np.median(off) < 0.25 * np.median(moved)
    speeds = {tuple(np.abs(np.median(np.abs(flow), axis=(0, 2, 3)))) for _, flow in windows}
    scale = changes.get("scale", (1, 1))[0]
    expected = [sorted((scale * abs(x), scale * abs(y))) for x, y in SPEEDS[:3]]
    assert all(min(np.abs(np.subtract(sorted(speed), e)).max() for e in expected) < 0.15 for speed in speeds)


def test_with_stored_flow_strides_stay_one(shards: Shards, tmp_path: Path) -> None:
    stored = write(shards, tmp_path)
    plain, strided = (sampler(shards, stored, Augment(stride=stride)).sample(0) for stride in (1, 3))
    np.testing.assert_array_equal(plain.frames, strided.frames)
    assert not np.array_equal(sampler(shards, None, Augment(stride=3)).batch(0), plain.frames)


def _sample(source: clips.TrainSampler, step: int) -> tuple[np.ndarray, np.ndarray]:
    found = source.sample(step)
    assert found.flow is not None
    return found.frames, pixels(found.flow)


def test_frames_are_those_of_a_model_without_flow(shards: Shards, tmp_path: Path) -> None:
    stored = write(shards, tmp_path)
    forwards = Augment(reverse=False)
    plain, with_flow = sampler(shards, None, forwards), sampler(shards, stored, forwards)
    for step in range(4):
        np.testing.assert_array_equal(plain.batch(step), with_flow.batch(step))
        again = sampler(shards, stored, Augment()).sample(step)  # reverse is asked for, and not done
        np.testing.assert_array_equal(again.frames, with_flow.batch(step))
        assert plain.sample(step).flow is None
    assert not np.array_equal(sampler(shards, None, Augment()).batch(0), plain.batch(0))


def test_the_model_gets_pixels(shards: Shards, tmp_path: Path) -> None:
    found = sampler(shards, write(shards, tmp_path), Augment()).sample(0)
    assert found.flow is not None
    batch = clips.make_batch(found.frames, context=3, flow=found.flow)
    assert batch.flow is not None
    assert batch.flow.dtype == torch.float32
    np.testing.assert_array_equal(batch.flow.numpy(), pixels(found.flow))
    follow = clips.flow_for(batch, FlowParams())
    assert follow(batch.context) is batch.flow
    computed = follow(batch.context.clone())
    assert not torch.equal(computed, batch.flow)
    assert float((computed - batch.flow)[..., 16:-16, 16:-16].abs().mean()) < 0.1


def test_a_rollout_knows_the_flow_of_frames_that_it_has_seen() -> None:
    frames = torch.rand(2, 9, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    follow = clips.flow_for(None, FlowParams())
    for start in (0, 1, 3, 0, 4):  # a frame further, two, back, and to nothing that was there
        context = frames[:, start : start + 5]
        assert torch.equal(follow(context), clips.flow_of(context, FlowParams()))


def test_other_strides_are_refused(shards: Shards, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leads back 1 frames, the windows have an interval of 2"):
        sampler(shards, write(shards, tmp_path), Augment(), interval=2)


# ---- training


class Carries(Predictor):
    """Moves the last frame on by a learnt multiple of its flow; keeps what flow it was given."""

    needs_flow: ClassVar[bool] = True
    seen: ClassVar[list[Tensor]] = []

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Parameter(torch.zeros(1))

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        assert flow is not None
        self.seen.append(flow)
        last, moved = context[:, -1], flow[:, -1].mean(dim=(2, 3))[:, :, None, None]
        return Output((last + self.part * moved.mean(dim=1, keepdim=True) / 100)[:, None])


@pytest.fixture
def data(digits: Path, params: Params) -> Data:
    return read_data(digits / "shards", digits / "split", params)


def trainer(data: Data, params: Params, folder: Path, model: Predictor | None = None, steps: int = 6) -> Trainer:
    fields = {"batch_size": 4, "evaluate_every": 3, "val_windows": 4, "warmup_steps": 1, "unroll_share": 0.5}
    train = TrainParams.model_validate(params.train.model_dump() | fields)
    torch.manual_seed(0)
    Carries.seen.clear()
    return Trainer(
        model or Carries(), data, train, steps=steps, device=torch.device("cpu"), folder=folder, checkpoint_every=2
    )


def with_flow(data: Data, folder: Path) -> Data:
    write_flow(data.shards, folder / "flow", folder / "home", data.flow, interval=data.task.interval, models=[],
               workers=2)  # fmt: skip
    return Data(data.shards, data.train, data.val, data.task, data.flow, folder / "flow")


def test_training_reads_what_is_stored_and_ends_in_the_same_bits_after_a_stop(
    data: Data, params: Params, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored = with_flow(data, tmp_path)
    with caplog.at_level(logging.INFO):
        whole = trainer(stored, params, tmp_path / "whole")
    assert [r.getMessage() for r in caplog.records] == [
        "the stored flow leads back in time only: no window is played backwards (train.augment.reverse)"
    ]
    sample = next(batches(stored, whole.params, whole.stored, first=0, steps=whole.steps))[1]
    assert sample.flow is not None
    whole.run()
    task = data.task
    first = Carries.seen[0]
    assert first.shape == (4, task.context - 1, 2, task.height, task.width)
    np.testing.assert_array_equal(first.numpy(), pixels(sample.flow))

    broken = trainer(stored, params, tmp_path / "broken")
    with pytest.raises(Stopped):
        broken.run(should_stop=lambda: broken.step >= 3)
    again = trainer(stored, params, tmp_path / "broken")
    again.run()
    assert again.rows == whole.rows
    assert (tmp_path / "broken/best.safetensors").read_bytes() == (tmp_path / "whole/best.safetensors").read_bytes()


def test_without_a_store_flow_is_computed(data: Data, params: Params, tmp_path: Path) -> None:
    run = trainer(data, params, tmp_path)
    assert run.stored is None
    frames = next(batches(data, run.params, None, first=0, steps=run.steps))[1].frames
    run.run()
    expected = flow_to_previous(frames[0, : data.task.context])
    np.testing.assert_array_equal(Carries.seen[0][0].numpy(), expected)


def test_models_without_flow_notice_nothing(data: Data, params: Params, tmp_path: Path) -> None:
    from vidpred.models import zoo

    rows = []
    for name, some in (("plain", data), ("stored", with_flow(data, tmp_path))):
        torch.manual_seed(0)
        run = trainer(some, params, tmp_path / name, zoo.build("conv2d", {}, data.task), steps=3)
        assert run.stored is None
        run.run()
        rows.append(run.rows)
    assert rows[0] == rows[1]
    (tmp_path / "flow" / "flow.json").write_text("{")  # it is not even looked at
    trainer(with_flow_folder(data, tmp_path / "flow"), params, tmp_path / "more", zoo.build("conv2d", {}, data.task))


def with_flow_folder(data: Data, folder: Path) -> Data:
    return Data(data.shards, data.train, data.val, data.task, data.flow, folder)


def test_evaluation_computes_flow(data: Data, params: Params) -> None:
    from vidpred.evaluation.scoring import score_model

    Carries.seen.clear()
    windows = data.val[:2]
    score_model(Carries(), data.shards, windows, task=data.task, flow=params.flow)
    frames = clips.read_windows(data.shards, windows, count=data.task.context)
    np.testing.assert_array_equal(Carries.seen[0][1].numpy(), flow_to_previous(frames[1]))


# ---- the stage


def test_the_stage_stores_flow_only_where_a_model_asks_for_it(
    shards: Shards, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages import flow as stage

    assert stage.needs_flow("flow_gate")
    assert stage.needs_flow("warpmix")
    assert not stage.needs_flow("convlstm")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shards").symlink_to(shards.folder)
    text = (root / "params.yaml").read_text()
    text = text.replace("    warpmix:", "    conv2d:").replace("width: [16, 24]", "filters: [8, 16]")
    (tmp_path / "params.yaml").write_text(text)
    (tmp_path / "dvc.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIDPRED_HOME", str(tmp_path / "runs"))
    stage.main()
    assert [path.name for path in Path("data/flow").iterdir()] == ["flow.json"]
    note = json.loads(Path("data/flow/flow.json").read_text())
    assert note == {"needed": False, "models": [], "stored": False, "method": "dis", "preset": "fine"}
    assert "  model: null" in text
    (tmp_path / "params.yaml").write_text(text.replace("  model: null", "  model: flow_gate"))
    stage.main()
    note = json.loads(Path("data/flow/flow.json").read_text())
    assert (note["needed"], note["stored"], note["models"]) == (True, True, ["flow_gate"])
    assert stored_flow("data/flow", shards, FlowParams(), interval=1) is not None


def test_importing_shards_brings_neither_torch_nor_opencv() -> None:
    modules = "vidpred.data.shards, vidpred.data.split, vidpred.data.transcode, vidpred.data.flow_store"
    code = f"import sys, {modules}; assert not {{'torch', 'cv2'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
