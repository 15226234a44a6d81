"""Rolling out: any number of frames, from models that give one or several at a time."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from vidpred.models import zoo
from vidpred.models.rollout import rollout
from vidpred.types import Output, Predictor, Task


class Adds(Predictor):
    """Gives last + 1·gain, last + 2·gain, ... and keeps what it was shown."""

    def __init__(self, steps: int = 1) -> None:
        super().__init__()
        self.steps = steps
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.seen: list[Tensor] = []

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        self.seen.append(context.detach())
        ahead = torch.arange(1, self.steps + 1).view(1, -1, 1, 1, 1)
        frames = context[:, -1:] + self.gain * ahead
        return Output(frames, (frames + 100,))


class Follows(Predictor):
    """Adds the last flow's x to the last frame."""

    needs_flow: ClassVar[bool] = True

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        assert flow is not None
        return Output(context[:, -1:] + flow[:, -1:, :1])


def ramp(length: int) -> Tensor:
    """(1, length, 1, 1, 1): 0, 1, 2, ..."""
    return torch.arange(float(length)).view(1, -1, 1, 1, 1)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_gives_as_many_frames_as_asked_each_from_the_one_before(steps: int, frames: int) -> None:
    output = rollout(Adds(steps), ramp(4), frames)
    assert output.frames.flatten().tolist() == [4.0 + i for i in range(frames)]
    # of the first call, and of no more frames than were asked for
    assert output.auxiliary[0].flatten().tolist() == [104.0 + i for i in range(min(steps, frames))]


def test_context_keeps_its_length_and_moves_on() -> None:
    model = Adds(2)
    rollout(model, ramp(3), 5)
    assert [seen.flatten().tolist() for seen in model.seen] == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]


def test_context_shorter_than_a_call_s_frames() -> None:
    model = Adds(3)
    rollout(model, ramp(2), 6)
    assert [seen.flatten().tolist() for seen in model.seen] == [[0, 1], [3, 4]]


def test_gradient_flows_through_every_step() -> None:
    model = Adds()
    context = ramp(3).requires_grad_()
    rollout(model, context, 4).frames[:, -1].sum().backward()
    assert model.gain.grad is not None
    assert model.gain.grad.item() == 4
    assert context.grad is not None
    assert context.grad.flatten().tolist() == [0, 0, 1]


def test_clamped_frames_are_fed_back_but_not_returned() -> None:
    model = Adds()
    output = rollout(model, torch.full((1, 2, 1, 1, 1), 0.5), 3, clamp=True)
    assert output.frames.flatten().tolist() == [1.5, 2.0, 2.0]
    assert model.seen[1].flatten().tolist() == [0.5, 1.0]


def test_flow_is_of_the_context_at_hand() -> None:
    def flow(context: Tensor) -> Tensor:
        return context.diff(dim=1).expand(-1, -1, 2, -1, -1)

    context = torch.tensor([0.0, 1.0, 3.0]).view(1, 3, 1, 1, 1)
    assert rollout(Follows(), context, 3, flow=flow).frames.flatten().tolist() == [5, 7, 9]
    with pytest.raises(ValueError, match="Follows needs optical flow"):
        rollout(Follows(), context, 1)


def test_flow_is_not_computed_for_nothing() -> None:
    def flow(context: Tensor) -> Tensor:
        raise AssertionError(f"asked for, of {len(context)} windows")

    rollout(Adds(), ramp(3), 2, flow=flow)


def test_no_frames_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        rollout(Adds(), ramp(3), 0)


def test_a_model_that_is_taught_is_told_the_truth_while_training() -> None:
    task = Task(context=4, horizon=3, height=16, width=16)
    model = zoo.build("seq2seq", {"variant": "seed"}, task).train()
    context, target = torch.rand(2, 4, 3, 16, 16), torch.rand(2, 3, 3, 16, 16)
    told, alone = (rollout(model, context, 3, target=truth).frames for truth in (target, None))
    assert torch.equal(told[:, 0], alone[:, 0])
    assert not torch.equal(told[:, 1:], alone[:, 1:])
    assert torch.equal(rollout(model.eval(), context, 3, target=target).frames, alone)
