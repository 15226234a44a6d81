"""Training classifiers: the loss, the figures on validation, what is kept, and going on where a run was broken off."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from tests.shapes import COLOURS, write_colours
from tests.training.runs import small
from vidpred.config import Params, TrainParams
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.training.classes import ClassObjective, ranks
from vidpred.training.data import Data, read_data
from vidpred.training.loop import Stopped, Trainer
from vidpred.training.stages import JOINT, Stage
from vidpred.types import Batch, Classifier


def of_classes(params: Params, **augment: object) -> Params:
    """params.yaml for classifying windows of 8 frames, without augmentation that changes classes."""
    raw = params.model_dump(by_alias=True)
    raw["task"] |= {"kind": "classify", "context": 8}
    raw["transcode"]["min_frames"] = 8
    raw["train"]["augment"] |= {"flip": False, "transpose": False, "reverse": False, "colour": False} | augment
    return Params.model_validate(raw)


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("colours"))


@pytest.fixture
def data(colours: Path, params: Params) -> Data:
    return read_data(colours / "shards", colours / "split", of_classes(params))


def trainer(data: Data, params: TrainParams, folder: Path, *, model: str = "single_frame", steps: int = 12) -> Trainer:
    torch.manual_seed(0)
    built = zoo.build(model, {}, data.task, Classifier)
    return Trainer(built, data, params, steps=steps, device=torch.device("cpu"), folder=folder, checkpoint_every=5)


def test_the_task_has_the_classes(data: Data) -> None:
    assert data.task.classes == tuple(COLOURS)
    assert (data.task.kind, data.task.context, data.task.horizon) == ("classify", 8, 0)


def test_it_learns_and_the_best_validation_is_kept(data: Data, params: Params, tmp_path: Path) -> None:
    asked = small(of_classes(params), batch_size=8, evaluate_every=10, learning_rate=1e-2, motion_share=0.0)
    run = trainer(data, asked, tmp_path, steps=40)
    best = run.run()
    assert {"val_top1", "val_top5", "val_cross_entropy", "val_majority", "loss", "step"} <= set(best)
    assert best["val_top1"] > 2 * best["val_majority"]
    assert best["val_top5"] >= best["val_top1"]
    assert best == min(run.rows, key=lambda row: (-row["val_top1"], row["val_cross_entropy"]))
    assert isinstance(run.best_model(), Classifier)


def test_of_validations_alike_in_top1_the_one_of_least_loss_is_best(data: Data, params: Params, tmp_path: Path) -> None:
    rank = trainer(data, small(of_classes(params)), tmp_path).objective.rank
    rows = [
        {"val_top1": 0.5, "val_cross_entropy": 1.0},
        {"val_top1": 0.75, "val_cross_entropy": 2.0},
        {"val_top1": 0.75, "val_cross_entropy": 1.5},
    ]
    assert min(rows, key=rank) == rows[2]


def test_a_broken_run_ends_in_the_same_bits(data: Data, params: Params, tmp_path: Path) -> None:
    asked = small(of_classes(params), mixup=0.4, label_smoothing=0.1, accumulate=2)
    whole = trainer(data, asked, tmp_path / "whole")
    whole.run()
    broken = trainer(data, asked, tmp_path / "broken")
    with pytest.raises(Stopped):
        broken.run(should_stop=lambda: broken.step >= 7)
    again = trainer(data, asked, tmp_path / "broken")
    again.run()
    assert again.rows == whole.rows
    for mine, theirs in zip(again.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


def objective(data: Data, params: TrainParams, model: Classifier | None = None) -> ClassObjective:
    built = model or zoo.build("single_frame", {}, data.task, Classifier)
    return ClassObjective(built, data, params, torch.device("cpu"))


def test_the_loss_is_the_cross_entropy_with_smoothed_labels(data: Data, params: Params) -> None:
    sample = torch.rand(4, 8, 32, 32, 3, generator=torch.Generator().manual_seed(0)).mul(255).byte().numpy()
    labels = torch.tensor([0, 3, 5, 1]).numpy()
    model = zoo.build("single_frame", {}, data.task, Classifier).eval()
    goal = objective(data, small(of_classes(params), precision="float32", label_smoothing=0.2), model)
    batch = goal.batch(sample, None, labels)
    found, told = goal.loss(batch, Stage(JOINT, 0, 1))
    logits = model(batch.context).logits.log_softmax(dim=1)
    shares = torch.full((4, 6), 0.2 / 6)
    shares[torch.arange(4), torch.tensor(labels)] += 0.8
    assert found.item() == pytest.approx(-(shares * logits).sum(dim=1).mean().item(), rel=1e-5)
    assert told == {}


def test_mixup_mixes_windows_and_labels_in_the_same_shares(data: Data, params: Params) -> None:
    goal = objective(data, small(of_classes(params), mixup=1.0))
    context = torch.arange(4.0).view(4, 1, 1, 1, 1).expand(4, 8, 3, 4, 4)
    target = functional.one_hot(torch.arange(4), 6).float()
    torch.manual_seed(1)
    mixed = goal._mixed(Batch(context=context, target=target, flow=None))
    shares = mixed.target.gather(1, torch.arange(4)[:, None]).squeeze(1)
    assert ((shares >= 0.5) & (shares <= 1)).all()
    assert shares.unique().numel() == 4
    assert torch.allclose(mixed.target.sum(dim=1), torch.ones(4))
    other = torch.arange(4).roll(1)
    assert torch.allclose(mixed.context[:, 0, 0, 0, 0], shares * torch.arange(4.0) + (1 - shares) * other)


def test_a_rank_is_how_many_others_are_as_high() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [1.0, 1.0, 1.0], [math.nan, 1.0, 0.0]])
    assert ranks(logits, torch.tensor([0, 1, 0, 1])).tolist() == [0, 2, 2, 3]


def test_augmentation_that_would_change_classes_unseen_is_refused(colours: Path, params: Params) -> None:
    with pytest.raises(UserError, match=r"train\.augment\.reverse plays windows backwards"):
        read_data(colours / "shards", colours / "split", of_classes(params, reverse=True))


def test_a_model_that_learns_nothing_is_told(
    data: Data, params: Params, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run = trainer(data, small(of_classes(params), learning_rate=1e-9, evaluate_every=2), tmp_path, steps=6)
        for weight in run.average.parameters():
            torch.nn.init.zeros_(weight)
        for weight in run.model.parameters():
            torch.nn.init.zeros_(weight)
        run.run()
    assert sum("no better than always saying the commonest class" in m for m in caplog.messages) == 1
