"""The flagship's promises: where it starts from, in any precision; that motion is what it learns, and only motion."""

from __future__ import annotations

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vidpred.config import FlowParams
from vidpred.data.clips import flow_of
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.blocks.correlation import expected_flow, matching_cost
from vidpred.models.blocks.distance import perceptual_distance_map
from vidpred.models.blocks.warp import warp
from vidpred.training.losses import perceptual
from vidpred.types import Predictor, Task, to_uint8

TASK = Task(context=5, horizon=1, height=32, width=32)
BY_MATCHING = {"prior": "none", "width": 8}
BY_FLOW = {"prior": "consistency", "width": 8}
FLOW = FlowParams(preset="fine")


def texture(height: int, width: int) -> Tensor:
    return F.interpolate(torch.rand(1, 3, height // 4, width // 4), size=(height, width), mode="bicubic").clamp(0, 1)


def drifting(clips: int, *, seed: int, size: int = 48, frames: int = 6) -> tuple[Tensor, Tensor]:
    """Waves that drift evenly, each clip its own way by up to three pixels a frame along x and y, in 8 bits.

    Returns:
        (clips, frames, 3, size, size) in [0, 1], and the displacements (clips, 2) a frame, (x, y) in pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    waves = 16
    speed = 6 * torch.rand(clips, 2, generator=generator) - 3
    direction, phase, strength = (torch.randn(clips, 3, waves, k, generator=generator) for k in (2, 1, 1))
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    places = torch.stack((x, y), dim=-1).flatten(0, 1).float()
    shots = []
    for t in range(frames):
        at = places - t * speed[:, None, :]  # (clips, H·W, 2)
        waved = torch.sin(0.35 * direction @ at.mT[:, None] + 6 * phase)
        shots.append((0.5 + 0.08 * (strength * waved).sum(dim=2)).clamp(0, 1).reshape(clips, 3, size, size))
    return to_uint8(torch.stack(shots, dim=1)).float() / 255, speed


def inside(frames: Tensor) -> Tensor:
    """Without the border, where what enters cannot be known."""
    return frames[..., 8:-8, 8:-8]


def distance(prediction: Tensor, target: Tensor) -> float:
    """The perceptual distance of what a user gets, (B, 3, H, W), inside."""
    shown = to_uint8(prediction).float() / 255
    return float(perceptual_distance_map(inside(shown), inside(target)).mean())


def predict(model: Predictor, context: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(context, flow_of(context, FLOW) if model.needs_flow else None).frames[:, 0]


def train(model: Predictor, clips: Tensor, *, steps: int, shuffled: bool = False) -> None:
    """A few steps on windows (N, 6, 3, H, W); `shuffled` gives each context the next frame of another clip."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=2e-3)
    context, target = clips[:, :5], clips[:, 5]
    flow = flow_of(context, FLOW)
    for step in range(steps):
        some = torch.arange(8 * step, 8 * step + 8) % len(clips)
        other = (some + len(clips) // 2) % len(clips) if shuffled else some
        frames = model(context[some], flow[some] if model.needs_flow else None).frames[:, 0]
        optimizer.zero_grad()
        perceptual(inside(frames), inside(target[other])).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


@cache
def trained() -> Predictor:
    """One that has seen nothing but drifts."""
    torch.manual_seed(0)
    model = zoo.build("warpmix", BY_FLOW, TASK)
    train(model, drifting(64, seed=0)[0], steps=50)
    return model


@pytest.mark.parametrize("size", [(32, 32), (48, 40), (37, 51)])
@pytest.mark.parametrize("autocast", [False, True])
def test_untrained_without_a_prior_it_is_copy_last(size: tuple[int, int], autocast: bool) -> None:
    model = zoo.build("warpmix", BY_MATCHING, TASK).eval()
    context = torch.rand(2, 5, 3, *size)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        frame = model(context).frames[:, 0]
    assert frame.dtype == torch.float32
    assert torch.equal(to_uint8(frame), to_uint8(context[:, -1]))
    assert (frame - context[:, -1]).abs().max() < 1e-6


def test_untrained_it_already_follows_the_flow() -> None:
    clips, _ = drifting(8, seed=1)
    model = zoo.build("warpmix", BY_FLOW, TASK)
    assert distance(predict(model, clips[:, :5]), clips[:, 5]) < 0.35 * distance(clips[:, 4], clips[:, 5])


def test_flow_is_asked_for_where_it_is_needed_only() -> None:
    assert zoo.build("warpmix", BY_FLOW, TASK).needs_flow
    assert not zoo.build("warpmix", BY_MATCHING, TASK).needs_flow
    with pytest.raises(ValueError, match="needs optical flow"):
        zoo.build("warpmix", BY_FLOW, TASK)(torch.rand(1, 5, 3, 32, 32))


@pytest.mark.parametrize("warps", [1, 2, 5])
def test_two_frames_and_any_number_of_warps_are_enough(warps: int) -> None:
    model = zoo.build(
        "warpmix", {**BY_FLOW, "frames": 2, "warps": warps}, Task(context=2, horizon=1, height=32, width=32)
    )
    clips, _ = drifting(2, seed=2)
    assert predict(model, clips[:, :2]).isfinite().all()


@pytest.mark.parametrize("config", [BY_MATCHING, BY_FLOW])
def test_the_warps_do_not_stay_equal(config: dict[str, object]) -> None:
    model = zoo.build("warpmix", {**config, "warps": 3}, TASK).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    context, target = torch.rand(2, 5, 3, 32, 32), torch.rand(2, 3, 32, 32)
    for _ in range(3):
        optimizer.zero_grad()
        frames = model(context, torch.zeros(2, 4, 2, 32, 32) if model.needs_flow else None).frames[:, 0]
        (frames - target).abs().mean().backward()
        optimizer.step()
    weight = model.get_submodule("flow").weight.detach()
    one, two, _ = weight.view(4, -1, 16)[:3]
    assert not torch.allclose(one, two)


def test_matching_costs_find_a_displacement() -> None:
    earlier = texture(48, 48)
    later = earlier.roll((2, -3), dims=(2, 3))  # what was at p + (3, -2) is now at p
    flow = expected_flow(matching_cost(later, earlier, radius=4), radius=4)
    found = flow[0, :, 8:-8, 8:-8].mean(dim=(1, 2))
    assert found.tolist() == pytest.approx([3, -2], abs=0.2)


def test_a_context_too_short_for_its_frames_is_refused() -> None:
    with pytest.raises(UserError, match=r"looks at 3 frames but the context has 2"):
        zoo.build("warpmix", {}, Task(context=2, horizon=1, height=32, width=32))


class TestSound:
    """It gains where motion can be known, and nowhere else."""

    def test_a_drift_by_parts_of_a_pixel_is_predicted_nearly_as_well_as_it_can_be(self) -> None:
        clips, speed = drifting(24, seed=100)
        last, target = clips[:, 4], clips[:, 5]
        copied = distance(last, target)
        known = distance(warp(last, -speed[:, :, None, None].expand(-1, 2, 48, 48)), target)
        gain = copied - distance(predict(trained(), clips[:, :5]), target)
        assert gain >= 0.95 * (copied - known)

    def test_where_nothing_moves_it_loses_nothing(self) -> None:
        still = drifting(4, seed=3)[0][:, :1].expand(-1, 6, -1, -1, -1)
        assert distance(predict(trained(), still[:, :5]), still[:, 5]) == 0
        grain = (still + 0.02 * torch.randn(still.shape, generator=torch.Generator().manual_seed(4))).clamp(0, 1)
        grain = to_uint8(grain).float() / 255
        copied = distance(grain[:, 4], grain[:, 5])
        assert distance(predict(trained(), grain[:, :5]), grain[:, 5]) <= 1.005 * copied

    def test_on_noise_it_loses_nothing(self) -> None:
        noise = to_uint8(torch.rand(8, 6, 3, 48, 48, generator=torch.Generator().manual_seed(5))).float() / 255
        assert distance(predict(trained(), noise[:, :5]), noise[:, 5]) <= 1.005 * distance(noise[:, 4], noise[:, 5])

    def test_from_their_own_contexts_it_learns_more_than_optical_flow_knows(self) -> None:
        clips, _ = drifting(24, seed=100)
        torch.manual_seed(0)
        untrained = zoo.build("warpmix", BY_FLOW, TASK)
        by_flow, learned = (distance(predict(model, clips[:, :5]), clips[:, 5]) for model in (untrained, trained()))
        assert learned < 0.9 * by_flow

    @pytest.mark.parametrize("config", [BY_MATCHING, BY_FLOW])
    def test_from_contexts_of_other_clips_it_learns_nothing(self, config: dict[str, object]) -> None:
        clips, _ = drifting(24, seed=100)
        torch.manual_seed(0)
        model = zoo.build("warpmix", config, TASK)
        # untrained it is `copy_last`, or as good as optical flow makes it: that it has learned from no clip
        untrained = distance(predict(model, clips[:, :5]), clips[:, 5])
        train(model, drifting(64, seed=0)[0], steps=25, shuffled=True)
        assert distance(predict(model, clips[:, :5]), clips[:, 5]) >= untrained
