"""Training that begins with the weights of another model, and what is told of it."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.files import save_model
from vidpred.training.beginning import begin_with
from vidpred.types import Classifier, Task

PREDICT = Task(context=5, horizon=1, height=32, width=32)
CLASSIFY = Task(context=8, horizon=0, height=32, width=32, kind="classify", classes=("left", "right", "up"))
SHARED = {
    "conv_rnn": ({}, {}, ("cells.",)),
    "slowfast": ({"share": 4}, {"share": 4}, ("slow.", "fast.", "lateral.")),
    "late_fusion": ({"scales": 3, "depth": 1}, {"scales": 3, "depth": 1}, ("look.",)),
}
"""Models of both kinds of task: config of the one that predicts, of the one that classifies, and what they share."""


def predictor(name: str, folder: Path, config: dict[str, object]) -> nn.Module:
    """One whose weights are not those of a new model."""
    torch.manual_seed(1)
    model = zoo.build(name, config, PREDICT)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    save_model(folder, model, name=name, config=config, task=PREDICT, info={"data_id": "d"})
    return model


@pytest.mark.parametrize("name", SHARED)
def test_a_classifier_begins_with_what_it_shares_with_a_predictor(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    theirs, mine, places = SHARED[name]
    other = predictor(name, tmp_path, theirs).state_dict()
    torch.manual_seed(0)
    plain = zoo.build(name, mine, CLASSIFY, Classifier).state_dict()
    torch.manual_seed(0)
    model = zoo.build(name, mine, CLASSIFY, Classifier)
    with caplog.at_level(logging.INFO):
        said = begin_with(model, tmp_path)
    taken = [key for key in plain if key.startswith(places) and key in other]
    assert {key.split(".")[0] + "." for key in taken} == set(places)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, other[key] if key in taken else plain[key]), key
    assert (said["taken"], said["tensors"]) == (len(taken), len(plain))
    assert said["parameters"] == sum(plain[key].numel() for key in taken)
    assert (said["model"], said["kind"]) == (name, "predict")
    assert said["weights_sha256"] == json.loads((tmp_path / "model.json").read_text())["weights_sha256"]
    assert f"beginning with {len(taken)} of {len(plain)} tensors" in caplog.text


@pytest.mark.parametrize(
    ("training", "doubted"),
    [
        ({"val_gain": 0.2}, False),
        ({"val_gain": -0.01}, True),
        ({"val_top1": 0.5, "val_majority": 0.5}, True),
        ({"val_top1": 0.6, "val_majority": 0.5}, False),
        ({}, False),
    ],
)
def test_a_model_that_has_learned_nothing_itself_is_doubted(
    training: dict[str, float], doubted: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = zoo.build("conv_rnn", {}, PREDICT)
    save_model(tmp_path, other, name="conv_rnn", config={}, task=PREDICT, info={"data_id": "d", "training": training})
    with caplog.at_level(logging.WARNING):
        begin_with(zoo.build("conv_rnn", {}, CLASSIFY, Classifier), tmp_path)
    assert ("was itself no better than its baseline" in caplog.text) == doubted


def test_what_has_another_shape_stays_as_it_was_drawn(tmp_path: Path) -> None:
    predictor("late_fusion", tmp_path, {"width": 16, "scales": 3, "depth": 1})
    said = begin_with(zoo.build("late_fusion", {"width": 16, "scales": 4}, CLASSIFY, Classifier), tmp_path)
    assert 0 < said["taken"] < said["tensors"]


def test_a_model_of_which_nothing_fits_is_refused(tmp_path: Path) -> None:
    predictor("conv2d", tmp_path, {})
    with pytest.raises(UserError, match=r"train.init: conv2d of .* has no tensor of a name and shape"):
        begin_with(zoo.build("c3d", {}, CLASSIFY, Classifier), tmp_path)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    predictor("conv_rnn", tmp_path, {})
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="is damaged"):
        begin_with(zoo.build("conv_rnn", {}, CLASSIFY, Classifier), tmp_path)


def test_more_classes_keep_all_but_the_scores(tmp_path: Path) -> None:
    torch.manual_seed(1)
    save_model(
        tmp_path,
        zoo.build("c3d", {}, CLASSIFY, Classifier),
        name="c3d",
        config={},
        task=CLASSIFY,
        info={"data_id": "d"},
    )
    wider = dataclasses.replace(CLASSIFY, classes=("left", "right", "up", "down"))
    model = zoo.build("c3d", {}, wider, Classifier)
    said = begin_with(model, tmp_path)
    left = {key for key in model.state_dict() if key.startswith("score.") and key.endswith(("weight", "bias"))}
    counters = {key for key in model.state_dict() if key.endswith("num_batches_tracked")}
    assert said["tensors"] - said["taken"] >= len(counters) + 2
    assert said["taken"] >= said["tensors"] - len(counters) - len(left)
