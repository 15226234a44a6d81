"""What holds for every model where the middle one of three frames is asked for (`task.kind: interpolate`)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.blocks.correlation import bilateral_cost, expected_flow
from vidpred.models.files import load_model, save_model
from vidpred.models.predict import flow_gate
from vidpred.models.rollout import rollout
from vidpred.types import Batch, Predictor, Task

TASK = Task(context=2, horizon=1, height=32, width=32, kind="interpolate")
TRAINED = [name for name in zoo.names() if zoo.is_trained(name)]
SPEED = (1.5, -1.0)
"""Pixels a frame to the right and down."""


def three(batch: int = 2, size: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    """First and last (B, 2, 3, H, W) and middle (B, 1, 3, H, W) of waves that move evenly, and flow (B, 1, 2, H, W)."""
    generator = torch.Generator().manual_seed(1)
    direction, phase, strength = (torch.randn(batch, 3, 12, k, generator=generator) for k in (2, 1, 1))
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    shots = []
    for t in range(3):
        places = torch.stack((x - SPEED[0] * t, y - SPEED[1] * t), dim=-1).flatten(0, 1)
        waved = torch.sin(0.3 * direction @ places.T.float() + 6 * phase)
        shots.append((0.5 + 0.08 * (strength * waved).sum(dim=2)).clamp(0, 1).reshape(batch, 3, size, size))
    flow = -2 * torch.tensor(SPEED)[:, None, None].expand(batch, 1, 2, size, size)
    return torch.stack((shots[0], shots[2]), dim=1), shots[1][:, None], flow


def predict(model: Predictor, context: Tensor, flow: Tensor) -> Tensor:
    return rollout(model, context, 1, flow=lambda _: flow).frames


def off(frames: Tensor, middle: Tensor) -> float:
    return float((frames - middle).abs()[..., 6:-6, 6:-6].mean())


@pytest.mark.parametrize("name", zoo.names())
def test_every_model_gives_the_frame_between(name: str) -> None:
    model = zoo.build(name, {}, dataclasses.replace(TASK, height=36, width=28)).eval()
    context, flow = torch.rand(2, 2, 3, 36, 28), torch.zeros(2, 1, 2, 36, 28)
    with torch.no_grad():
        frames = predict(model, context, flow)
    assert frames.shape == (2, 1, 3, 36, 28)
    assert model.between
    with pytest.raises(ValueError, match="the one frame between two: it cannot be rolled out"):
        rollout(model, context, 2, flow=lambda _: flow)
    if name not in ("copy_first", "copy_last"):  # all others begin where the bar is, or are it
        torch.testing.assert_close(frames, context.mean(dim=1, keepdim=True), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", TRAINED)
def test_every_trained_model_learns_it(name: str, tmp_path: Path) -> None:
    context, middle, flow = three()
    model = zoo.build(name, {}, TASK).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses, reached = [], set()
    for _ in range(6):
        output = model(context, flow if model.needs_flow else None)
        loss = F.l1_loss(output.frames, middle) + sum(F.l1_loss(a, middle) for a in output.auxiliary)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        reached |= {n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert min(losses[1:]) < losses[0]
    assert reached == {n for n, _ in model.named_parameters()}
    save_model(tmp_path, model, name=name, config={}, task=TASK, info={})
    again = load_model(tmp_path)[0]
    assert again.between
    with torch.no_grad():
        assert torch.equal(predict(again, context, flow), predict(model.eval(), context, flow))


@pytest.mark.parametrize("head", ["point", "gaussian", "mdn"])
def test_latents_are_taught_the_middle_frame_only(head: str) -> None:
    model = zoo.build("vae_lstm", {"head": head, "latent": "absolute"}, TASK).eval()
    context, middle, _ = three()
    frames = torch.cat((context, middle), dim=1)
    believed = model.get_submodule("head")
    loss = model.latent_loss(frames)  # type: ignore[operator]
    changed = model.latent_loss(torch.cat((context, middle.flip(-1)), dim=1))  # type: ignore[operator]
    assert loss != changed
    seen: list[Tensor] = []
    handle = believed.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    loss = model.latent_loss(frames)  # type: ignore[operator]
    handle.remove()
    (gradient,) = torch.autograd.grad(loss, seen[0])
    assert gradient[:, 1].any()
    assert not gradient[:, 0].any()  # what the last frame is, seen from the first, is no one's business


@pytest.mark.parametrize("name", ["seed", "better"])
def test_variants_of_the_sources_do_it_too(name: str) -> None:
    built = []
    for model in TRAINED:
        try:
            built.append(zoo.build(model, {"variant": name}, TASK))
        except UserError:
            continue
    context, _, flow = three()
    assert built
    for predictor in built:
        assert predict(predictor.eval(), context, flow).shape == (2, 1, 3, 32, 32)


@pytest.mark.parametrize("wrong", [{"context": 5}, {"horizon": 2}])
def test_other_windows_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match=r"the middle one of three frames.*set task.context to 2 and task.horizon to 1"):
        zoo.build("warpmix", {}, dataclasses.replace(TASK, **wrong))
    with pytest.raises(UserError, match="there are classify, interpolate, predict"):
        zoo.build("warpmix", {}, dataclasses.replace(TASK, kind="guess"))


def test_flow_from_both_sides_beats_the_average() -> None:
    context, middle, flow = three()
    average = off(context.mean(dim=1, keepdim=True), middle)
    carried = predict(zoo.build("flow_extrapolation", {}, TASK), context, flow)
    assert off(carried, middle) < 0.2 * average
    batch = Batch(context, middle, flow)
    fitted = dataclasses.asdict(flow_gate.fit([batch], TASK))
    gated = zoo.build("flow_gate", fitted, TASK)
    assert off(predict(gated, context, flow), middle) < 0.5 * average
    wrong = 8 * torch.randn_like(flow)  # both sides disagree: the gate turns to the average
    carried = predict(zoo.build("flow_extrapolation", {}, TASK), context, wrong)
    assert off(predict(gated, context, wrong), middle) < 0.7 * off(carried, middle)


def test_costs_from_both_sides_find_a_displacement() -> None:
    coarse = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    middle = F.interpolate(coarse, size=(48, 48), mode="bicubic").clamp(0, 1)
    first, last = middle.roll((2, -3), dims=(2, 3)), middle.roll((-2, 3), dims=(2, 3))  # p is at p + (-3, 2) in first
    cost = bilateral_cost(first, last, radius=4)
    assert cost.shape == (1, 81, 48, 48)
    assert expected_flow(cost, radius=4)[0, :, 8:-8, 8:-8].mean(dim=(1, 2)).tolist() == pytest.approx([-3, 2], abs=0.2)


def test_warpmix_takes_either_side_of_what_is_hidden() -> None:
    """Something flat appears in the last frame: half of the average is wrong there, and weights can turn it off."""
    model = zoo.build("warpmix", {"width": 8}, TASK)
    context = torch.full((1, 2, 3, 32, 32), 0.2)
    context[:, 1, :, 8:24, 8:24] = 0.9
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(40):
        loss = F.l1_loss(model.train()(context).frames[:, 0], context[:, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.25 * F.l1_loss(context.mean(dim=1), context[:, 0]).item()
