"""Training in stages: what moves when, what is kept at a border, and that frames are restored before predicted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.runs import small, trainer
from vidpred.config import Params
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.predict.vae_lstm import VaeLstm
from vidpred.training.data import Data
from vidpred.training.stages import Stage, planned
from vidpred.types import Task

TASK = Task(context=5, horizon=1, height=32, width=32)


def test_stages_share_the_steps_as_told() -> None:
    vae, plain = zoo.build("vae_lstm", {}, TASK), zoo.build("conv2d", {}, TASK)
    assert planned(vae, 10, None) == (Stage("autoencoder", 0, 5), Stage("latent", 5, 10))
    # in the model's order, divided by their sum, and none without a step
    shares = {"joint": 2.0, "latent": 1.0, "autoencoder": 1.0}
    assert [(s.name, s.steps) for s in planned(vae, 40, shares)] == [("autoencoder", 10), ("latent", 10), ("joint", 20)]
    assert [s.steps for s in planned(vae, 3, {"autoencoder": 100.0, "latent": 0.1, "joint": 0.1})] == [1, 1, 1]
    assert [s.name for s in planned(vae, 3, {"joint": 1.0})] == ["joint"]
    assert planned(plain, 10, None) == planned(plain, 10, shares) == (Stage("joint", 0, 10),)


def test_impossible_shares_end_in_words() -> None:
    vae = zoo.build("vae_lstm", {}, TASK)
    with pytest.raises(UserError, match=r"names encoder: this model's stages are autoencoder, latent, joint"):
        planned(vae, 10, {"encoder": 1.0})
    with pytest.raises(UserError, match=r"1 steps are too few for 2 stages \(autoencoder, latent\): raise train.steps"):
        planned(vae, 1, None)


def test_a_stage_moves_its_own_and_the_next_builds_on_its_average(data: Data, params: Params, tmp_path: Path) -> None:
    run = trainer(data, small(params), tmp_path, model="vae_lstm", steps=8)
    assert isinstance(run.model, VaeLstm)
    autoencoder = {id(p) for p in run.model.stage_parameters("autoencoder")}
    start = {n: p.detach().clone() for n, p in run.model.named_parameters()}
    while run.step < 4:
        run.train_step(_windows(run.step))
    own = [n for n, p in run.model.named_parameters() if id(p) in autoencoder]
    assert {n for n, p in run.model.named_parameters() if not torch.equal(p, start[n])} == set(own)
    kept = {n: p.clone() for n, p in run.average.named_parameters()}
    assert not torch.equal(kept[own[0]], dict(run.model.named_parameters())[own[0]])
    while run.step < 8:
        run.train_step(_windows(run.step))
    for name, parameter in run.model.named_parameters():
        stands = name in own
        assert torch.equal(parameter, kept[name]) == stands
        assert torch.equal(dict(run.average.named_parameters())[name], kept[name]) == stands


def _windows(step: int) -> np.ndarray:
    return np.random.default_rng(step).integers(0, 256, (4, 6, 32, 32, 3), np.uint8)


def test_the_best_weights_are_of_the_last_stage_and_restoring_is_told_before(
    data: Data,
    params: Params,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO"):
        run = trainer(data, small(params, evaluate_every=3), tmp_path, model="vae_lstm", steps=8)
        seen = []
        run.run(on_evaluation=lambda t, row: seen.append((int(row["step"]), bool(t.best))))
    assert seen == [(3, False), (4, False), (6, True), (8, True)]  # also at the end of a stage
    assert ["val_restored_psnr_db" in row for row in run.rows] == [True, True, False, False]
    assert run.best["step"] > 4
    assert run.parameters == zoo.parameters(zoo.build("vae_lstm", {}, data.task))
    told = [r.getMessage() for r in caplog.records if r.getMessage().startswith("step")]
    assert "step 4 (autoencoder): " in told[1]
    assert " frames restored at " in told[1]
    assert "step 8 (latent): " in told[-1]


def test_a_loss_that_no_stage_uses_is_told(
    data: Data, params: Params, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        trainer(data, small(params, stage_shares={"joint": 1}), tmp_path, model="vae_lstm")
        trainer(data, small(params), tmp_path, model="conv2d")
        assert "train.loss has no part" not in caplog.text
        trainer(data, small(params), tmp_path, model="vae_lstm")
        assert "train.loss has no part but in a stage joint of train.stage_shares" in caplog.text


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_vae_lstm_restores_digits_before_it_predicts_them(bundled: Data, params: Params, tmp_path: Path) -> None:
    """The bundled digits, about two minutes of one free core."""
    shares = {"autoencoder": 4, "latent": 1}
    train = small(params, batch_size=8, evaluate_every=800, val_windows=64, warmup_steps=50, stage_shares=shares)
    run = trainer(dataclasses.replace(bundled, val=bundled.val[:64]), train, tmp_path, model="vae_lstm", steps=3000)
    best = run.run()
    assert max(row.get("val_restored_psnr_db", 0) for row in run.rows) > 20
    assert best["val_gain"] > 0
