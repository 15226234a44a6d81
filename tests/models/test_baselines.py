"""The baselines: what each predicts, by hand and on a true flow; and how `flow_gate` is fitted."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.models.waves import TASK, flow_of, moving, predict
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.predict import flow_gate
from vidpred.training.metrics import score
from vidpred.types import Batch


def test_linear_goes_on_as_it_changed() -> None:
    context = torch.tensor([0.1, 0.4, 0.9]).reshape(1, 3, 1, 1, 1).expand(1, 3, 3, 4, 4)
    assert torch.equal(predict(zoo.build("linear", {}, TASK), context), torch.ones(1, 1, 3, 4, 4))
    torch.testing.assert_close(predict(zoo.build("linear", {}, TASK), context[:, :2]), torch.full((1, 1, 3, 4, 4), 0.7))


@pytest.mark.parametrize(("name", "bound"), [("flow_extrapolation", 0.15), ("flow_gate", 0.6)])
def test_flow_baselines_follow_a_translation(name: str, bound: float) -> None:
    clip = moving(6)
    context, target = clip[:, :5], clip[:, 5:]
    predicted = predict(zoo.build(name, {}, TASK), context)
    inside = (..., slice(4, -4), slice(4, -4))
    error, copied = ((p - target)[inside].abs().mean() for p in (predicted, context[:, -1:]))
    assert error < bound * copied


def test_flow_gate_copies_what_stands_still_though_the_flow_is_wrong() -> None:
    context = moving(1).expand(-1, 5, -1, -1, -1)
    wrong = flow_of(context)
    gate, flow = (zoo.build(n, {"p": 6} if n == "flow_gate" else {}, TASK) for n in ("flow_gate", "flow_extrapolation"))
    error, carried = ((m(context, wrong).frames - context[:, -1:]).abs().mean() for m in (gate, flow))
    assert error < 0.05 * carried


def test_flow_gate_with_two_frames_goes_by_its_prior() -> None:
    context = moving(2)
    flow = flow_of(context)
    guesses = [zoo.module("flow_gate").candidates(context[:, -1], flow[:, -1], (part,))[:, 0] for part in (0, 0.5, 1)]
    expected = 0.6 * guesses[0] + 0.2 * guesses[1] + 0.2 * guesses[2]
    torch.testing.assert_close(zoo.build("flow_gate", {"prior": 0.6}, TASK)(context, flow).frames[:, 0], expected)


def test_flow_gate_weighs_by_past_errors_as_told() -> None:
    context, flow = moving(3), flow_of(moving(3))
    predicted = zoo.build("flow_gate", {"p": 2, "blur": 0, "prior": 0.5}, TASK)(context, flow).frames[0, 0]
    # one pixel, by hand: only the transition from the second to the third frame has a flow before it
    y, x = 9, 13
    module = zoo.module("flow_gate")
    past, now = (module.candidates(context[:, i], flow[:, i - 1], (0, 0.5, 1))[0, :, :, y, x] for i in (1, 2))
    weights = []
    for k, prior in enumerate((0.5, 0.25, 0.25)):
        (r, g, b), (tr, tg, tb) = (255 * past[k]).tolist(), (255 * context[0, 2, :, y, x]).tolist()
        red = (r + tr) / 2
        distance = ((512 + red) * (r - tr) ** 2 / 256 + 4 * (g - tg) ** 2 + (767 - red) * (b - tb) ** 2 / 256) ** 0.5
        weights.append(prior * (distance + 1) ** -2)
    expected = sum(w * colour for w, colour in zip(weights, now, strict=True)) / sum(weights)
    torch.testing.assert_close(predicted[:, y, x], expected, atol=1e-4, rtol=1e-4)


def distance(config: flow_gate.Config, batch: Batch) -> float:
    found = flow_gate.FlowGate(config)(batch.context, batch.flow).frames
    return score(found, batch.target, only=["perceptual_distance"])["perceptual_distance"].mean().item()


def test_flow_gate_fit_prefers_what_predicts_best() -> None:
    clip = moving(6)
    still = clip[:, :1].expand(-1, 6, -1, -1, -1)
    moves = Batch(clip[:, :5], clip[:, 5:], flow_of(clip[:, :5]))
    misled = Batch(still[:, :5], still[:, 5:], flow_of(clip[:, :5]))
    follows = flow_gate.fit([moves], TASK)
    assert distance(follows, moves) < distance(flow_gate.Config(), moves)
    assert flow_gate.fit(iter([moves]), TASK) == follows
    # two frames show no error yet, so that the prior decides alone
    first, pair = (Batch(b.context[:, -2:], b.target, flow_of(b.context[:, -2:])) for b in (misled, moves))
    two = dataclasses.replace(TASK, context=2)
    assert flow_gate.fit([first], two).prior == 0.8
    assert flow_gate.fit([pair], two).prior == 0.2
    with pytest.raises(UserError, match="there are none"):
        flow_gate.fit([], TASK)
    with pytest.raises(ValueError, match="with flow"):
        flow_gate.fit([moves._replace(flow=None)], TASK)


def test_models_that_need_flow_say_so() -> None:
    for name in ("flow_extrapolation", "flow_gate"):
        with pytest.raises(ValueError, match="needs optical flow"):
            zoo.build(name, {}, TASK)(moving(5))
    with pytest.raises(UserError, match="give at least 2"):
        zoo.build("flow_gate", {}, dataclasses.replace(TASK, context=1))
