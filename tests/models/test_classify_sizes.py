"""Published networks at their published size, counted without their weights; and the lecture's receptive fields."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vidpred.commands.model import show_receptive_field
from vidpred.models import zoo
from vidpred.models.blocks.caffenet import CaffeNet
from vidpred.models.blocks.karpathy2014 import Convolutions
from vidpred.models.blocks.vgg import Vgg16
from vidpred.models.receptive import receptive_fields
from vidpred.types import Classifier, Task


def task_of(frames: int, side: int, classes: int) -> Task:
    names = tuple(f"class {number}" for number in range(classes))
    return Task(context=frames, horizon=0, height=side, width=side, kind="classify", classes=names)


def counted(name: str, config: dict[str, object], task: Task) -> tuple[int, int]:
    """Parameters and multiply-adds."""
    with torch.device("meta"):
        model = zoo.build(name, {"variant": "paper", **config}, task, Classifier)
        return zoo.parameters(model), zoo.operations(model, task)


@pytest.mark.parametrize(
    ("name", "config", "size", "millions"),
    [
        ("c3d", {}, (16, 112, 101), 78.41),
        ("c3d", {}, (16, 112, 487), 79.99),
        ("i3d", {}, (32, 224, 400), 28.04),
        ("i3d", {"backbone": "inception_v1"}, (64, 224, 400), 12.70),
        ("slowfast", {}, (32, 224, 400), 34.57),
        ("slowfast", {"variant": "paper_4x16"}, (32, 224, 400), 34.48),
        ("two_stream_i3d", {}, (64, 224, 400), 25.37),
        ("single_frame", {}, (10, 170, 487), 60.28),
    ],
)
def test_parameters(name: str, config: dict[str, object], size: tuple[int, int, int], millions: float) -> None:
    parameters, _ = counted(name, config, task_of(*size))
    assert round(parameters / 1e6, 2) == pytest.approx(millions, abs=0.011)


def test_c3d_takes_almost_40_billion_multiply_adds() -> None:
    _, operations = counted("c3d", {}, task_of(16, 112, 101))
    assert 38e9 < operations < 40e9


def test_networks_of_images_by_the_same_counter() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    found = {}
    for net, side in ((Vgg16, 224), (CaffeNet, 227)):
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            model = net(3, 1000)
            model(torch.zeros(1, 3, side, side))
        found[net.__name__] = counter.get_total_flops() / 2e9, sum(p.numel() for p in model.parameters()) / 1e6
    assert found["Vgg16"] == pytest.approx((15.47, 138.36), abs=0.01)
    assert found["CaffeNet"] == pytest.approx((0.72, 60.97), abs=0.01)


def test_karpathy_s_responses_are_normalised_as_in_print() -> None:
    """b = a / (k + alpha * sum of the squares of five neighbours) ^ beta, with k 2, alpha 1e-4, beta 0.5."""
    (norm, _) = (layer for layer in Convolutions(3).layers if isinstance(layer, nn.LocalResponseNorm))
    x = 50 * torch.rand(1, 9, 1, 1, 1)
    squares = F.pad(x.flatten().square(), (2, 2)).unfold(0, 5, 1).sum(dim=1)
    torch.testing.assert_close(norm(x).flatten(), x.flatten() / (2 + 1e-4 * squares).sqrt())


@pytest.mark.parametrize("name", [one for one in zoo.names("classify") if "paper" in zoo.variants(one, "classify")])
def test_every_paper_s_network_scores_clips_of_its_size(name: str) -> None:
    size = zoo.module(name, "classify").MADE_FOR["paper"]
    parameters, operations = counted(name, {}, task_of(*size))
    assert parameters > 1e7
    assert operations > 1e9


@pytest.mark.parametrize(
    ("name", "fields"),
    [  # frames x rows x columns after the convolution, the pooling, the second convolution, the average
        ("late_fusion", [(1, 3, 3), (1, 6, 6), (1, 14, 14), (20, 64, 64)]),
        ("early_fusion", [(20, 3, 3), (20, 6, 6), (20, 14, 14), (20, 64, 64)]),
        ("slow_fusion", [(3, 3, 3), (6, 6, 6), (14, 14, 14), (20, 64, 64)]),
    ],
)
def test_the_toys_see_what_the_lecture_says(
    name: str, fields: list[tuple[int, int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    task = task_of(20, 64, 2)
    seen = receptive_fields(zoo.build(name, {"variant": "toy"}, task, Classifier), task)
    assert [(row.frames, row.rows, row.columns) for row in seen] == [*fields, (20, 64, 64)]
    show_receptive_field(name, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert [(row["frames"], row["rows"], row["columns"]) for row in told] == [*fields, (20, 64, 64)]


def test_attention_sees_all() -> None:
    task = task_of(8, 32, 2)
    model = zoo.build("slow_fusion", {"nonlocal_after": "stage1", "depth": 2}, task, Classifier)
    seen = {row.layer: (row.frames, row.rows, row.columns) for row in receptive_fields(model, task)}
    assert seen["look.convs.0.conv"] == (3, 6, 6)  # three moments, three squares of 2x2 pixels
    assert seen["look.convs.1.conv"] == (8, 32, 32)
