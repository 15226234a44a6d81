"""SimVP: its published sizes, its seed's way with horizons, and what our shortcuts on a CPU must not change."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.predict import simvp
from vidpred.types import Task

TASK = Task(context=5, horizon=1, height=32, width=32)
MNIST = Task(context=10, horizon=10, height=64, width=64, channels=1)
SMALL = {"variant": "seed", "filters": 4, "translator_filters": 8, "depth": 4, "translator_depth": 2}
SMALLER = {"variant": "seed", "filters": 32, "translator_filters": 128, "depth": 4, "translator_depth": 4}


def squares(batch: int = 4, frames: int = 6, size: int = 32) -> Tensor:
    """(B, frames, 3, size, size): a light square on grey that moves two pixels a frame to the right."""
    clip = torch.full((batch, frames, 3, size, size), 0.3)
    for b in range(batch):
        for t in range(frames):
            clip[b, t, :, 4 + 3 * b : 12 + 3 * b, 2 * t + b : 2 * t + b + 8] = 0.8
    return clip


def count(filters: int, inside: int, blocks: int, frames: int) -> int:
    """Parameters at depth 4 and one channel, by hand."""
    convs = (
        filters * 9 + 7 * filters * filters * 9 + 6 * filters * filters * 9
    )  # two of the eight give four times as much
    biases_and_norms = 8 * 3 * filters + 6 * filters
    head = filters + 1
    wide = frames * filters
    translator = 0
    for width in (wide, *[inside] * (blocks - 1)):
        norms_and_scales = 4 * width + 2 * width
        attention = 4 * width * width + 5 * width + (25 + 1) * width + (49 + 1) * width - width
        mixing = 2 * 8 * width * width + (8 + 1) * width + (9 + 1) * 8 * width
        translator += norms_and_scales + attention + mixing
    between = wide * inside + inside + inside * wide + wide
    return convs + biases_and_norms + head + translator + between


@pytest.mark.parametrize(
    ("config", "sizes", "parameters"),
    [({"variant": "seed"}, (64, 512, 8, 10), 46_769_665), (SMALLER, (32, 128, 4, 10), 3_357_697)],
)
def test_seed_has_openstl_s_sizes(config: dict[str, object], sizes: tuple[int, ...], parameters: int) -> None:
    assert count(*sizes) == parameters
    with torch.device("meta"):  # counted, never computed
        assert zoo.parameters(zoo.build("simvp", config, MNIST)) == parameters


def test_seed_has_openstl_s_operations() -> None:
    with torch.device("meta"):
        model = zoo.build("simvp", {"variant": "seed"}, MNIST)
    assert 16.45e9 < zoo.operations(model, MNIST) * model.steps < 16.55e9


def test_folding_out_is_pixel_shuffle_of_reordered_channels() -> None:
    x = torch.rand(2, 12, 5, 3)
    reordered = x.reshape(2, 4, 3, 5, 3).transpose(1, 2).reshape(2, 12, 5, 3)
    assert torch.equal(simvp._fold_out(x), F.pixel_shuffle(reordered, 2))


def test_time_is_folded_frame_after_frame() -> None:
    x = torch.rand(6, 4, 2, 3)  # two windows of three frames
    folded = simvp._fold_time(x, 3)
    assert torch.equal(folded[1, 4:8], x[4])
    assert torch.equal(simvp._unfold_time(folded, 3), x)


def test_seed_s_shorter_horizon_is_the_start_and_a_longer_one_goes_on_from_its_own() -> None:
    torch.manual_seed(0)
    clip = torch.rand(2, 3, 3, 16, 16)
    task = Task(context=3, horizon=3, height=16, width=16)
    whole = zoo.build("simvp", SMALL, task).eval()
    with torch.no_grad():
        first = whole(clip).frames
        for horizon, expected in ((2, first[:, :2]), (5, torch.cat((first, whole(first).frames), dim=1)[:, :5])):
            model = zoo.build("simvp", SMALL, dataclasses.replace(task, horizon=horizon)).eval()
            model.load_state_dict(whole.state_dict())
            torch.testing.assert_close(model(clip).frames, expected)


@pytest.mark.parametrize("config", [{}, SMALL])
def test_every_frame_of_the_context_counts(config: dict[str, object]) -> None:
    model = zoo.build("simvp", config, TASK)
    if model.get_submodule("head").weight.count_nonzero() == 0:
        nn.init.normal_(model.get_submodule("head").weight)  # type: ignore[arg-type]
    context = torch.rand(2, 5, 3, 16, 16, requires_grad=True)
    model(context).frames[0].square().sum().backward()
    assert context.grad is not None
    assert (context.grad[0].flatten(1).abs().sum(dim=1) > 0).all()
    if config == {}:  # nothing crosses over between samples; in the seed, batch norm does
        assert not context.grad[1].any()


@pytest.mark.parametrize("size", [(32, 32), (37, 51)])
@pytest.mark.parametrize("horizon", [1, 3])
def test_default_starts_as_copy_last(size: tuple[int, int], horizon: int) -> None:
    model = zoo.build("simvp", {}, dataclasses.replace(TASK, horizon=horizon))
    context = torch.rand(2, 5, 3, *size)
    assert torch.equal(model(context).frames, context[:, -1:].expand(-1, horizon, -1, -1, -1))


@pytest.mark.parametrize("config", [{}, {"drop_path": 0.3, "depth": 3, "mlp_ratio": 1}])
def test_a_batch_is_learned(config: dict[str, object]) -> None:
    torch.manual_seed(0)
    small = {"filters": 8, "translator_filters": 32, "translator_depth": 2} | config
    model = zoo.build("simvp", small, TASK)
    clip = squares()
    context, target = clip[:, :5], clip[:, 5:]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        F.mse_loss(model(context).frames, target).backward()
        optimizer.step()
    learned, copied = (F.mse_loss(p, target) for p in (model.eval()(context).frames, context[:, -1:]))
    assert learned < 0.5 * copied


def test_seed_trains_every_parameter() -> None:
    model = zoo.build("simvp", SMALL, Task(context=5, horizon=5, height=16, width=16))
    clip = torch.rand(2, 10, 3, 16, 16)
    F.mse_loss(model(clip[:, :5]).frames, clip[:, 5:]).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_another_context_is_refused_with_a_way_out() -> None:
    with pytest.raises(UserError, match=r"built for 5 context frames and got 4: .*task\.context"):
        zoo.build("simvp", {}, TASK)(torch.rand(1, 4, 3, 16, 16))


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"filters": 5}, "filters is 5: give an even number"),
        ({"dilated_kernel": 6}, "dilated_kernel is 6: give an odd number"),
        ({"translator_depth": 1}, "translator_depth is 1: give at least 2"),
        ({"drop_path": 1}, "drop_path is 1.0: give from 0 to 0.9"),
        ({"variant": "seed", "mlp_ratio": 2}, "mlp_ratio of variant seed is its source's"),
    ],
)
def test_impossible_values_are_named(config: dict[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        zoo.build("simvp", config, TASK)
