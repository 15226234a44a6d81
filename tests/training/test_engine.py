"""What the engine can do beside plain steps: goes, horizons that grow, budgets, early stops, compiling, warnings."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.runs import small, trainer
from vidpred.config import Params
from vidpred.data.clips import Sample
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.training import validation
from vidpred.training.budget import FILE, steps_within
from vidpred.training.curriculum import batches, horizons, parts
from vidpred.training.data import Data
from vidpred.training.final import Choice, train_model
from vidpred.training.loop import Trainer

CPU = torch.device("cpu")


def frames_of(data: Data, batch: int) -> np.ndarray:
    return np.stack([data.shards.frames(clip, 0, 6) for clip in range(batch)])


def gradients(run: Trainer, frames: np.ndarray) -> tuple[float, list[torch.Tensor]]:
    """The loss and the gradients of one step."""
    loss = run.train_step(frames)
    return loss, [p.grad.clone() for p in run.model.parameters() if p.grad is not None]


@pytest.mark.parametrize("goes", [2, 3])
def test_goes_have_the_loss_and_gradient_of_the_batch(goes: int, data: Data, params: Params, tmp_path: Path) -> None:
    found = []
    for accumulate in (1, goes):
        train = small(params, precision="float32", accumulate=accumulate, batch_size=4, clip_norm=1e9)
        run = trainer(data, train, tmp_path, model="conv3d", config={"filters": 4})
        for _ in range(2):  # at first only the head has a gradient
            loss, gradient = gradients(run, frames_of(data, 4))
        found.append((loss, gradient))
    (whole, expected), (loss, gradient) = found
    assert loss == pytest.approx(whole, rel=1e-5)
    for mine, theirs in zip(gradient, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-6)


def test_every_window_is_in_one_go_of_one_worker() -> None:
    sample = Sample(np.arange(7)[:, None], None)
    shares = [list(parts(sample, rank=rank, workers=2, accumulate=2)) for rank in range(2)]
    assert [go.frames[:, 0].tolist() for share in shares for go, _ in share] == [[0], [1, 2], [3, 4], [5, 6]]
    # a worker's loss is the sum of its goes, the batch's the mean over workers
    assert sum(weight for share in shares for _, weight in share) / 2 == pytest.approx(1)


def test_more_goes_than_windows_end_in_words(data: Data, params: Params, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.batch_size is 4, but is to be shared out over 5 goes"):
        trainer(data, small(params, accumulate=5), tmp_path)


def test_the_horizon_grows_as_told(data: Data, params: Params) -> None:
    train = small(params, unroll_steps=[2, 4, 9, 99], unroll_share=0.8)
    assert horizons(data, train, 10) == [(1, 0, 2), (2, 2, 4), (4, 4, 6), (9, 6, 8), (9, 8, 10)]  # none has room for 99
    lengths = [sample.frames.shape[1] - 5 for _, sample in batches(data, train, None, first=3, steps=10)]
    assert lengths == [2, 4, 4, 9, 9, 9, 9]
    assert horizons(data, small(params, unroll_steps=2, unroll_share=0.2), 10) == [(1, 0, 8), (2, 8, 10)]


def test_a_run_ends_early_where_nothing_gets_better_and_stays_ended(
    data: Data, params: Params, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # so high a rate that it only gets worse
    train = small(params, evaluate_every=2, patience=2, learning_rate=3.0, warmup_steps=0)
    with caplog.at_level(logging.INFO):
        run = trainer(data, train, tmp_path, model="conv2d", steps=40)
        best = run.run()
    assert run.step == best["step"] + 4 < 40
    assert f"no validation was better for 2 in a row: the run ends at step {run.step}" in caplog.text
    again = trainer(data, train, tmp_path, model="conv2d", steps=40)
    assert again.run() == best
    assert again.rows == run.rows


def test_minutes_become_steps_once(
    data: Data, params: Params, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = small(params, minutes=0.02, evaluate_every=50, unroll_share=0.3)
    choice = Choice("conv2d", {"filters": 4}, train)
    with caplog.at_level(logging.INFO):
        run = train_model(choice, data, folder=tmp_path / "timed", device=CPU, checkpoint_every=100)
    kept = json.loads((tmp_path / "timed" / FILE).read_text())
    assert kept["steps"] == run.steps == run.step > 1
    part = kept["seconds_per_step"] + kept["seconds_per_validation"] / 50
    assert (run.steps - 1) * part < 60 * 0.02 < (run.steps + 1) * part + part
    assert f"0.02 minutes are {run.steps} steps" in caplog.text
    # what was timed left no trace: a run of so many steps is the same
    told = Choice("conv2d", {"filters": 4}, train.model_copy(update={"minutes": None, "steps": run.steps}))
    plain = train_model(told, data, folder=tmp_path / "plain", device=CPU, checkpoint_every=100)
    assert plain.rows == run.rows

    def never(_: int, __: Path) -> Trainer:
        raise AssertionError("timed again")

    assert steps_within(0.02, never, tmp_path / "timed") == run.steps


def test_every_stage_is_timed(data: Data, params: Params, tmp_path: Path) -> None:
    train = small(params, unroll_share=0.25)

    def build(steps: int, folder: Path) -> Trainer:
        return trainer(data, train, folder, model="vae_lstm", steps=steps)

    assert steps_within(0.01, build, tmp_path) >= 1


def test_speed_waiting_and_memory_are_told(
    data: Data, params: Params, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = []
    with caplog.at_level(logging.INFO):
        trainer(data, small(params), tmp_path, steps=6).run(on_evaluation=lambda _, row: rows.append(row))
    assert re.search(r"%\), \d+ clips/s, \d+ % waiting for them, [\d,]+ MB$", caplog.text, re.MULTILINE)
    assert rows[0]["clips_per_second"] > 0
    assert 0 <= rows[0]["input_wait_share"] < 1
    assert 50 < rows[0]["memory_mb"] < 100_000
    assert not {"clips_per_second", "memory_mb"} & json.loads((tmp_path / "metrics.jsonl").read_text()).keys()


def test_a_model_that_copies_is_told_of_once(
    data: Data, params: Params, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = small(params, evaluate_every=1, learning_rate=1e-9, val_windows=4)
    trainer(data, train, tmp_path, model="conv2d", steps=5).run()
    told = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(told) == 1
    assert "3 validations in a row found what copy_last gives" in told[0]


@pytest.mark.parametrize(
    ("distances", "expected"),
    [([30, 30], False), ([30, 30, 30], True), ([29, 30, 30, 30], True), ([30] * 4, False), ([30, 29, 30], False)],
)
def test_copies_are_told_of_when_they_are_three(distances: list[float], expected: bool) -> None:
    rows = [{"val_perceptual_distance": d + 1e-5, "val_copy_last": 30.0} for d in distances]
    assert validation.collapsed(rows) is expected


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_compiled_is_trained_without_and_told_once(
    data: Data, params: Params, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", (None, str(tmp_path / "no-compiler")))
    monkeypatch.setattr(config, "force_disable_caches", True)
    plain = trainer(
        data, small(params), tmp_path / "plain", model="convlstm_autoencoder", config={"norm": "batch"}, steps=3
    )
    run = trainer(
        data,
        small(params, compile=True),
        tmp_path / "run",
        model="convlstm_autoencoder",
        config={"norm": "batch"},
        steps=3,
    )
    plain.run()
    run.run()
    told = [r.getMessage() for r in caplog.records if "train.compile" in r.getMessage()]
    assert len(told) == 1
    assert "cannot be compiled here" in told[0]
    assert run.rows == plain.rows
    assert all(torch.equal(t, run.model.state_dict()[n]) for n, t in plain.model.state_dict().items())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_learns_the_same(
    data: Data, params: Params, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = {}
    for compile_it in (False, True):
        train = small(params, compile=compile_it, precision="float32")
        run = trainer(data, train, tmp_path / str(compile_it), model="conv3d", config={"filters": 4}, steps=12)
        run.run()
        rows[compile_it] = run.rows[-1]
        if compile_it and not run.compiled.on:
            assert "cannot be compiled here" in caplog.text
            pytest.skip("torch cannot compile the model here: see the warning")
        assert run.compiled.on == compile_it
        assert run.model.state_dict().keys() == zoo.build("conv3d", {"filters": 4}, data.task).state_dict().keys()
    assert "train.compile" not in caplog.text
    assert rows[True]["loss"] == pytest.approx(rows[False]["loss"], rel=1e-3)
    distance = "val_perceptual_distance"
    assert rows[True][distance] == pytest.approx(rows[False][distance], rel=1e-3)
