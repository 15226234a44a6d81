"""Training against discriminators: two players that take turns, each of which moves."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch

from tests.training.runs import small, trainer
from vidpred.config import Params
from vidpred.errors import UserError
from vidpred.training.data import Data
from vidpred.training.loop import Trainer

LOSS = {"l1": 1.0, "gdl": 0.5, "adversarial": 0.05}


def moved(run: Trainer, since: dict[str, torch.Tensor]) -> bool:
    return all(not torch.equal(tensor, since[name]) for name, tensor in weights(run).items())


def weights(run: Trainer) -> dict[str, torch.Tensor]:
    """Of both players."""
    assert run.adversary is not None
    mine = {f"model.{n}": p.detach().clone() for n, p in run.model.named_parameters()}
    return mine | {f"judges.{n}": p.detach().clone() for n, p in run.adversary.judges.named_parameters()}


def test_each_player_learns_from_its_own_loss_alone(data: Data, params: Params, tmp_path: Path) -> None:
    run = trainer(data, small(params, loss=LOSS), tmp_path, model="multiscale", config={"filters": 8})
    assert run.adversary is not None
    batch = run.objective.batch(data.shards.frames(0, 0, 6)[None].copy())
    scales = run.model.train()(batch.context).scales
    truth = run.model.pyramid(batch.target)
    assert [s.shape for s in scales] == [t.shape for t in truth]
    run.adversary.loss(batch.context, truth, scales).backward()
    assert all(p.grad is None for p in run.model.parameters())
    assert all(p.grad is not None for p in run.adversary.judges.parameters())
    run.adversary.player.still()
    run.adversary.fooled(batch.context, scales).backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in run.model.parameters())
    assert all(p.grad is None for p in run.adversary.judges.parameters())


def test_both_losses_are_told(data: Data, params: Params, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        run = trainer(data, small(params, loss=LOSS), tmp_path, model="multiscale", config={"filters": 8}, steps=6)
        start = weights(run)
        run.run()
    assert moved(run, start)
    assert {"loss", "adversarial", "discriminator"} <= run.rows[-1].keys()
    assert "adversarial 0." in caplog.text
    assert "discriminator 0." in caplog.text
    assert not any("judge" in name for name in run.average.state_dict())


def test_a_model_without_discriminators_or_kl_is_refused(data: Data, params: Params, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Conv2d has no discriminators.*leave adversarial out of train.loss"):
        trainer(data, small(params, loss=LOSS), tmp_path, model="conv2d")
    with pytest.raises(UserError, match=r"gives no kl: leave it out of train.loss"):
        trainer(data, small(params, loss={"l1": 1.0, "kl": 0.1}), tmp_path, model="conv2d").run()
    with pytest.raises(ValueError, match="loss has only adversarial: name one of frames beside"):
        small(params, loss={"adversarial": 0.1})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_five_hundred_steps_with_finite_losses_and_both_players_moving(
    data: Data, params: Params, tmp_path: Path
) -> None:
    train = small(params, loss=LOSS, evaluate_every=50, precision="float32")
    run = trainer(data, train, tmp_path, model="multiscale", config={"filters": 8}, steps=500)
    losses, before = [], copy.deepcopy(weights(run))
    still = []

    def look(trainer: Trainer, row: dict[str, float]) -> None:
        nonlocal before
        losses.append([row[name] for name in ("loss", "adversarial", "discriminator")])
        still.append(row["step"] < 500 and not moved(trainer, before))
        before = weights(trainer)

    run.run(on_evaluation=look)
    assert len(losses) == 10
    assert all(math.isfinite(value) for row in losses for value in row)
    assert not any(still)
    assert run.skipped_in_a_row == 0
    assert min(row[2] for row in losses) < math.log(2) - 0.005  # better than tossing a coin
    assert run.best["val_gain"] > 0
