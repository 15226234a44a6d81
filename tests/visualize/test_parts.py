"""Ascent, saliency and kernels of small networks whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from vidpred.data.augment import Change, change_flow, change_frames
from vidpred.data.flow_store import Quantised
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.types import Classifier, Scores, Task
from vidpred.visualize.ascent import Ascent, ascend
from vidpred.visualize.drawing import flow_film, kernel_sheet, overlay
from vidpred.visualize.kernels import first_kernels
from vidpred.visualize.saliency import saliency
from vidpred.visualize.turns import Turns

TASK = Task(context=4, horizon=0, height=24, width=32, kind="classify", classes=("dark", "bright", "left"))
SHORT = Ascent(steps=40)


class Known(Classifier):
    """Dark and bright are the frames' mean; left is the mean flow, which leads back to the right."""

    def __init__(self, *, needs_flow: bool = True) -> None:
        super().__init__()
        self.needs_flow = needs_flow
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, clip: torch.Tensor, flow: torch.Tensor | None = None) -> Scores:
        light = 20 * self.weight * (clip[:, 1].mean(dim=(1, 2, 3)) - 0.5)
        left = 3 * flow[:, :, 0].mean(dim=(1, 2, 3)) if flow is not None else 0 * light
        return Scores(torch.stack([-light, light, left], dim=1))


def test_found_clips_are_what_the_classes_are() -> None:
    found = {one.label: one for one in ascend(Known(), TASK, range(3), SHORT)}
    assert list(found) == list(TASK.classes)
    assert found["dark"].clip.shape == (4, 24, 32, 3)
    assert found["dark"].clip.mean() < 100 < 155 < found["bright"].clip.mean()
    assert all(one.answer == label for label, one in found.items())
    assert found["left"].flow is not None
    assert found["left"].flow.shape == (3, 2, 24, 32)
    going = found["left"].going
    assert going is not None
    assert going[0] < -0.5  # things go left where flow leads back to the right
    assert abs(going[1]) < 0.2


def test_moments_that_the_model_does_not_look_at_repeat_the_nearest_one_that_it_does() -> None:
    (found,) = ascend(Known(needs_flow=False), TASK, [1], SHORT)
    assert found.seen == (1,)
    assert (found.clip == found.clip[1]).all()


def test_ascent_is_repeatable_and_leaves_the_model_as_it_was() -> None:
    torch.manual_seed(0)
    model = zoo.build("slow_fusion", {}, TASK, Classifier)
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    together = ascend(model, TASK, [0, 2], Ascent(steps=3))
    again = ascend(model, TASK, [2], Ascent(steps=3))
    assert np.abs(together[1].clip.astype(int) - again[0].clip).max() <= 1
    assert (together[0].clip != ascend(model, TASK, [0], Ascent(steps=3, seed=1))[0].clip).any()
    assert model.training
    assert all(module.training for module in model.modules())
    assert all(weight.requires_grad for weight in model.parameters())
    assert all((value == before[key]).all() for key, value in model.state_dict().items())


def test_slow_motion_changes_less_from_moment_to_moment() -> None:
    torch.manual_seed(0)
    model = zoo.build("two_stream", {}, TASK, Classifier)
    change = {}
    for motion in ("slow", "free"):
        (found,) = ascend(model, TASK, [1], Ascent(steps=30, motion=motion))  # type: ignore[arg-type]
        assert found.flow is not None
        change[motion] = np.abs(np.diff(found.flow, axis=0)).mean()
    assert change["slow"] < 0.75 * change["free"]


def test_a_clip_can_be_started_from() -> None:
    start = np.zeros((4, 24, 32, 3), np.uint8)
    start[:, :, :16] = 200
    (found,) = ascend(Known(needs_flow=False), TASK, [1], Ascent(steps=1), start=start)
    assert np.abs(found.clip.astype(int) - start).mean() < 12


@pytest.mark.parametrize("name", ["slow_fusion", "two_stream"])
@pytest.mark.parametrize("baseline", ["grey", "still"])
def test_integrated_gradients_add_up_to_what_the_clip_adds_to_the_logit(name: str, baseline: str) -> None:
    torch.manual_seed(0)
    model = zoo.build(name, {}, TASK, Classifier).eval()
    clip = torch.rand(1, 4, 3, 24, 32)
    flow = torch.randn(1, 3, 2, 24, 32) if model.needs_flow else None
    found = saliency(model, clip, flow, 2, points=128, baseline=baseline)  # type: ignore[arg-type]
    assert found.pixels.shape == (4, 24, 32)
    assert found.missing is not None
    assert found.missing < 0.02
    ground = torch.full_like(clip, 0.5) if baseline == "grey" else clip.mean(dim=1, keepdim=True).expand_as(clip)
    with torch.no_grad():
        gained = model(clip, flow).logits - model(ground, None if flow is None else 0 * flow).logits
    told = found.pixels.sum() + (0 if found.flow is None else found.flow.sum())
    assert told == pytest.approx(float(gained[0, 2]), rel=0.02, abs=1e-3)


@pytest.mark.parametrize("method", ["integrated", "smooth"])
def test_saliency_is_at_the_moment_that_the_model_looks_at(method: str) -> None:
    clip = torch.rand(1, 4, 3, 24, 32)
    found = saliency(Known(needs_flow=False), clip, None, 1, method=method, points=8)  # type: ignore[arg-type]
    assert np.abs(found.pixels[1]).min() > 0
    assert not found.pixels[[0, 2, 3]].any()


def test_grad_cam_has_the_size_of_the_clip_and_wants_a_convolution() -> None:
    model = zoo.build("c3d", {}, TASK, Classifier)
    found = saliency(model, torch.rand(1, 4, 3, 24, 32), None, 0, method="cam")
    assert found.pixels.shape == (4, 24, 32)
    assert (found.pixels >= 0).all()
    with pytest.raises(UserError, match="--method"):
        saliency(Known(needs_flow=False), torch.rand(1, 4, 3, 24, 32), None, 0, method="cam")


def test_a_3d_kernel_is_its_weights() -> None:
    model = zoo.build("c3d", {"fold": 1}, TASK, Classifier)
    (kernels,) = first_kernels(model, TASK)
    first = next(module for module in model.modules() if isinstance(module, nn.Conv3d))
    weights = 4 * first.weight.detach().numpy().transpose(0, 2, 1, 3, 4)  # frames are standardised by a factor of 4
    order = np.argsort(-np.square(weights).sum(axis=(1, 2, 3, 4)), kind="stable")
    assert kernels.weights.shape == (16, 3, 3, 3, 3)
    np.testing.assert_allclose(kernels.weights, weights[order], atol=1e-5)


def test_first_layers_are_found_in_streams_pathways_and_over_folded_pixels() -> None:
    found = first_kernels(zoo.build("two_stream", {}, TASK, Classifier), TASK)
    assert [(one.of, one.weights.shape[1:3]) for one in found] == [("clip", (1, 3)), ("flow", (3, 2))]
    (slow_fusion,) = first_kernels(zoo.build("slow_fusion", {"fold": 2}, TASK, Classifier), TASK)
    assert slow_fusion.weights.shape[1:] == (3, 3, 6, 6)
    pathways = first_kernels(zoo.build("slowfast", {}, TASK, Classifier), TASK)
    assert len(pathways) >= 2
    assert all(one.of == "clip" for one in pathways)


@pytest.mark.parametrize("name", zoo.names("classify"))
def test_every_classifier_can_be_looked_into(name: str) -> None:
    torch.manual_seed(0)
    model = zoo.build(name, {}, TASK, Classifier)
    (found,) = ascend(model, TASK, [1], Ascent(steps=2, views=1))
    assert (found.flow is not None) == model.needs_flow
    assert first_kernels(model, TASK, most=2)
    flow = torch.randn(1, 3, 2, 24, 32) if model.needs_flow else None
    assert np.isfinite(saliency(model, torch.rand(1, 4, 3, 24, 32), flow, 0, points=4).pixels).all()


def test_drawings_are_frames() -> None:
    flow = np.zeros((3, 2, 24, 32), np.float32)
    flow[:, 0] = 2.0  # back to the right: things go left
    film = flow_film(flow, arrows=False)
    assert film.shape[0] == 3
    assert film[0, 0, 0].tolist() == [0, 255, 255]  # cyan
    assert (flow_film(flow, arrows=True) != film).any()
    drawn = overlay(np.full((4, 24, 32, 3), 128, np.uint8), np.ones((4, 24, 32)))
    assert drawn.shape[0] == 4
    right = drawn[:, :, drawn.shape[2] // 2 :].reshape(-1, 3).astype(int)
    assert (right[:, 0] > right[:, 2]).all()  # red: it speaks for the class
    sheet = kernel_sheet(np.random.default_rng(0).normal(size=(5, 3, 3, 3, 3)).astype(np.float32), of_flow=False)
    assert len(sheet) == 4  # and a pause
    assert len(kernel_sheet(np.ones((5, 1, 3, 7, 7), np.float32), of_flow=False)) == 1


def test_copies_are_turned_as_training_turns_windows_and_their_flow() -> None:
    task = Task(context=4, horizon=0, height=6, width=6, kind="classify", classes=("down", "left", "right", "up"))
    labels = {
        "left_right": {"left": "right"},
        "upside_down": {"up": "down"},
        "transpose": {"left": "up", "right": "down"},
        "reverse": {"left": "right", "up": "down"},
    }
    augment = {"flip": True, "transpose": True, "reverse": True, "colour": True, "labels": labels}
    turns = Turns.of({"params": {"augment": augment}}, task, flow=False)
    rng, draw = np.random.default_rng(0), torch.Generator().manual_seed(0)
    frames = rng.integers(0, 255, (4, 6, 6, 3), dtype=np.uint8)
    field = rng.integers(-100, 100, (3, 2, 6, 6)).astype(np.int8)
    for _ in range(30):
        turned = turns.draw(draw)
        flags = {name: name in turned.done for name in ("reverse", "transpose", "upside_down", "left_right")}
        change = Change(stride=0.0, region=None, colours=turned.colours, **flags)
        change_frames(frames, change, into := np.empty_like(frames))
        mine = turned.clip(torch.from_numpy(frames).movedim(-1, 1)[None])[0].movedim(1, -1)
        assert (mine.numpy() == into).all()
        if not flags["reverse"]:
            flow = Quantised(np.empty_like(field), np.empty(3, np.float32))
            change_flow(Quantised(field, np.ones(3, np.float32)), change, flow)
            assert (turned.flow(torch.from_numpy(field).float()[None])[0].numpy() == flow.values).all()
        if flags == {"reverse": True, "transpose": True, "upside_down": False, "left_right": False}:
            assert [task.classes[i] for i in turned.becomes] == ["left", "down", "up", "right"]
    assert "reverse" not in Turns.of({"params": {"augment": augment}}, task, flow=True).tables
    assert not Turns.of({}, task, flow=False).tables
