"""Training as people meet it: it learns, it goes on exactly where it stopped, and it gives up in words."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.training.runs import small, trainer
from vidpred.config import Params, SplitParams
from vidpred.data.shards import RawClip, Shards, write_shards
from vidpred.data.split import make_split, write_split
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.training import checkpoints
from vidpred.training.data import Data, read_data
from vidpred.training.final import Choice, write_outputs
from vidpred.training.loop import NAN_LIMIT, Stopped, Trainer
from vidpred.training.schedule import learning_rate

TRAINED = [name for name in zoo.names() if zoo.is_trained(name)]


@pytest.fixture(scope="module")
def whole_runs() -> dict[str, Path]:
    """Folders of runs that were never broken off, by what was trained."""
    return {}


ADVERSARIAL = {"loss": {"l1": 1.0, "adversarial": 0.05}}
RANDOM: list[tuple[str, dict[str, object], dict[str, object]]] = [
    ("seq2seq", {"teacher_forcing": 0.5, "batch_norm": True}, {}),
    ("convlstm_autoencoder", {"dropout": 0.2, "noise": 0.1, "norm": "batch"}, {}),
    ("conv3d", {"noise": 0.2}, {"accumulate": 2}),
    ("conv2d", {}, {"unroll_steps": [2, 3], "unroll_share": 0.7}),
    ("vae_lstm", {"features": "conv", "head": "mdn"}, {}),
    ("vae_lstm", {}, {"stage_shares": {"autoencoder": 1, "joint": 2}, "loss": {"l1": 1.0, "kl": 0.01}}),
    ("multiscale", {"filters": 8}, ADVERSARIAL),
    ("multiscale", {"filters": 8}, ADVERSARIAL | {"accumulate": 2}),
]
"""Model, config and train of runs with randomness, buffers, stages, players and windows of their own."""


CASES = [
    *((name, {"width": 8} if name == "warpmix" else {}, {}, 8) for name in TRAINED),
    *((*case, broken_at) for case in RANDOM for broken_at in (3, 6)),
]


@pytest.mark.parametrize(("model", "config", "changes", "broken_at"), CASES)
def test_a_run_that_was_broken_off_ends_in_the_same_bits(
    model: str,
    config: dict[str, object],
    changes: dict[str, object],
    broken_at: int,
    data: Data,
    params: Params,
    tmp_path: Path,
    whole_runs: dict[str, Path],
) -> None:
    train = small(params, val_windows=4, **changes)
    key = f"{model} {config} {changes}"
    if key not in whole_runs:
        whole_runs[key] = tmp_path / "whole"
        trainer(data, train, whole_runs[key], model=model, config=config).run()

    first = trainer(data, train, tmp_path / "broken", model=model, config=config)
    with pytest.raises(Stopped):
        first.run(should_stop=lambda: first.step >= broken_at)
    trainer(data, train, tmp_path / "broken", model=model, config=config).run()

    # the checkpoints hold weights, averages, buffers, moments of every player and all rows
    for name in ("step-00000012/state.safetensors", "step-00000012/state.json", "best.safetensors", "metrics.jsonl"):
        assert (tmp_path / "broken" / name).read_bytes() == (whole_runs[key] / name).read_bytes(), name


@pytest.mark.parametrize(
    ("model", "changes"), [("warpmix", {}), ("convlstm", {}), ("vae_lstm", {}), ("multiscale", ADVERSARIAL)]
)
def test_a_gpu_trains_to_nearly_the_same_and_goes_on_where_it_stopped(
    model: str,
    changes: dict[str, object],
    data: Data,
    params: Params,
    tmp_path: Path,
    require: Callable[[str], str],
) -> None:
    device = require("cuda")
    train = small(params, precision="float32", val_windows=4, **changes)
    here = trainer(data, train, tmp_path / "here", model=model)
    here.run()
    first = trainer(data, train, tmp_path / "there", model=model, device=device)
    with pytest.raises(Stopped):
        first.run(should_stop=lambda: first.step >= 6)
    there = trainer(data, train, tmp_path / "there", model=model, device=device)
    there.run()
    assert [row["step"] for row in there.rows] == [row["step"] for row in here.rows]
    for mine, theirs in zip(there.rows, here.rows, strict=True):
        distance = "val_perceptual_distance"
        assert mine[distance] == pytest.approx(theirs[distance], rel=0.1)
    assert there.best_model()(*_seen(data, there)).frames.isfinite().all()


def _seen(data: Data, run: Trainer) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A context on the CPU, with flow where the model wants it."""
    batch = run.objective.batch(data.shards.frames(0, 0, 6)[None].copy())
    return batch.context.cpu(), None if batch.flow is None else batch.flow.cpu()


def test_what_came_after_the_last_checkpoint_is_done_again_to_the_same_bits(
    data: Data, params: Params, tmp_path: Path
) -> None:
    whole = trainer(data, small(params), tmp_path / "whole")
    whole.run()
    killed = trainer(data, small(params), tmp_path / "killed")

    class Kill(BaseException):
        pass

    def die(*_: object) -> None:
        raise Kill

    with pytest.raises(Kill):  # at the validation of step 6, after the checkpoint of step 5
        killed.run(on_evaluation=die)
    again = trainer(data, small(params), tmp_path / "killed")
    again.run()
    assert again.rows == whole.rows
    assert (tmp_path / "killed/best.safetensors").read_bytes() == (tmp_path / "whole/best.safetensors").read_bytes()


def test_a_split_without_validation_windows_is_told_before_training(digits: Path, params: Params) -> None:
    longer = params.model_copy(update={"task": params.task.model_copy(update={"context": 16})})
    with pytest.raises(UserError, match=r"no validation clip holds a window of 17 frames: run `dvc repro split`"):
        read_data(digits / "shards", digits / "split", longer)


def test_it_beats_copying_within_a_minute(data: Data, params: Params, tmp_path: Path) -> None:
    best = trainer(data, small(params, batch_size=8, evaluate_every=60), tmp_path, steps=60).run()
    assert best["val_gain"] > 0.1


def test_where_nothing_moves_no_gain_is_told(params: Params, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8).repeat(12, axis=0)
    (tmp_path / "still").write_bytes(frames.tobytes())
    clips = [
        RawClip(
            source=f"{i}.gif", sha256=f"{i:064x}", key=f"{i:064x}", number=0, group=str(i), label="", fps=10.0,
            motion=0.0, frames=tmp_path / "still", length=12,
        )
        for i in range(12)
    ]  # fmt: skip
    shards = tmp_path / "shards"
    made = {"fit": "pad", "background": "#102030", "crop_bars": True}
    write_shards(shards, clips, [], height=32, width=32, fps=10.0, buckets=1, parameters=made, ffmpeg="none")
    write_split(tmp_path / "split", make_split(Shards(shards).clips, SplitParams(val=0.2, test=0.2), span=6)[1])
    data = read_data(shards, tmp_path / "split", params)
    with caplog.at_level(logging.INFO):
        run = trainer(data, small(params), tmp_path / "run", steps=6)
        best = run.run()
        choice = Choice("warpmix", {"width": 8}, small(params))
        summary = write_outputs(run, choice, out=tmp_path / "out", curves=tmp_path / "curves.csv")
    assert pd.read_csv(tmp_path / "curves.csv").columns[-1] == "val_perceptual_distance"  # what `dvc plots` draws
    told = json.loads((tmp_path / "out" / "model.json").read_text())
    assert {name: told[name] for name in made} == made  # so that clips are read like those of training
    assert best["val_copy_last"] == 0
    assert "val_gain" not in best
    assert "val_gain" not in summary
    assert "(copy_last 0.00, nothing moves in these windows)" in caplog.text
    assert "copying the last frame cannot be beaten there" in caplog.text
    assert "gain" not in caplog.text


def test_a_loss_that_is_not_finite_changes_no_weight_and_ends_in_words(
    data: Data, params: Params, tmp_path: Path
) -> None:
    run = trainer(data, small(params, precision="float32"), tmp_path, steps=100)
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.fill_(float("nan"))
    before = {n: t.clone() for n, t in run.average.state_dict().items()}
    with pytest.raises(UserError, match=rf"not been finite for {NAN_LIMIT} steps.*lower\s+train.learning_rate"):
        run.run()
    assert all(torch.equal(t, before[n]) for n, t in run.average.state_dict().items())


def test_a_step_that_is_left_out_leaves_the_statistics_of_batch_norm_too(
    data: Data, params: Params, tmp_path: Path
) -> None:
    run = trainer(data, small(params, precision="float32"), tmp_path, model="convlstm_autoencoder", config={})
    frames = np.stack([data.shards.frames(clip, 0, 6) for clip in range(4)])
    assert math.isfinite(run.train_step(frames))
    before = {n: b.clone() for n, b in run.model.named_buffers()}
    assert any("running_mean" in name for name in before)
    hook = run.model.register_forward_pre_hook(lambda _, args: (args[0] * math.inf, *args[1:]))
    assert math.isnan(run.train_step(frames))
    hook.remove()
    assert all(torch.equal(buffer, before[name]) for name, buffer in run.model.named_buffers())
    assert math.isfinite(run.train_step(frames))
    assert math.isfinite(run.validate()["val_perceptual_distance"])


def test_checkpoints_are_whole_or_not_there(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpoints.save(tmp_path, step, {"a": torch.full((2,), float(step))}, {"n": step})
    (tmp_path / ".part-step-00000004").mkdir()  # a kill in the middle of writing leaves such a folder
    found = checkpoints.latest(tmp_path)
    assert found is not None
    tensors, numbers = checkpoints.load(found)
    assert numbers == {"n": 3, "step": 3}
    assert tensors["a"].tolist() == [3, 3]
    assert sorted(p.name for p in tmp_path.glob("step-*")) == ["step-00000002", "step-00000003"]


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    rates = [learning_rate(step, peak=1.0, warmup_steps=10, steps=100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.01
    assert learning_rate(0, peak=1.0, warmup_steps=10, steps=1) > 0
