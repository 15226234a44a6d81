"""The lecture's structures as predictors: sizes by hand, what each promises, and that each of them learns motion."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.blocks.attention import NonLocal
from vidpred.models.blocks.pathways import handed_over
from vidpred.models.blocks.recurrent import ConvLSTM
from vidpred.models.blocks.simple_recurrent import ConvGRU, ConvRNN
from vidpred.types import Predictor, Task

TASK = Task(context=5, horizon=1, height=32, width=32)
LECTURE = ["late_fusion", "two_stream", "conv_rnn", "nonlocal_net", "slowfast"]


def drifting(frames: int, *, batch: int = 2, size: int = 32) -> Tensor:
    """(B, frames, 3, size, size): slanted waves, others for every window and colour, that move right by 2 pixels."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    moved = x - 2 * torch.arange(frames).reshape(1, -1, 1, 1, 1)
    across, down, phase = 0.3 + 0.3 * torch.rand(3, batch, 1, 3, 1, 1)
    return 0.5 + 0.4 * torch.sin(across * moved + 10 * (down - 0.45) * y / 5 + 20 * phase)


def flow_of(context: Tensor) -> Tensor:
    """The true flow of `drifting`."""
    back = torch.tensor([-2.0, 0.0])[:, None, None]
    return back.expand(len(context), context.shape[1] - 1, 2, *context.shape[-2:])


def predict(model: Predictor, context: Tensor) -> Tensor:
    return model(context, flow_of(context) if model.needs_flow else None).frames


def train(model: Predictor, clip: Tensor, steps: int, rate: float = 3e-3) -> None:
    context, target = clip[:, : -model.steps], clip[:, -model.steps :]
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        F.l1_loss(predict(model, context), target).backward()
        optimizer.step()
    model.eval()


def weights(inputs: int, outputs: int, kernel: int = 3) -> int:
    """Of a convolution with a bias."""
    return inputs * outputs * kernel**2 + outputs


def up(seen: list[int], widths: list[int]) -> int:
    """Of a decoder."""
    return sum(weights(here + below, out) for here, below, out in zip(seen, [*widths[1:], 0], widths, strict=True))


@pytest.mark.parametrize(
    ("name", "config", "count"),
    [
        # two scales of two convolutions; the join has five times the channels; 12 = 3 colours of 2x2 pixels
        (
            "late_fusion",
            {},
            weights(12, 16) + weights(16, 16) + weights(16, 32) + weights(32, 32) + up([80, 160], [16, 32])
            + weights(16, 12),
        ),
        (
            "late_fusion",
            {"join": "pool", "scales": 1},
            weights(12, 16) + weights(16, 16) + weights(32, 16) + weights(16, 12),
        ),
        # each stream three scales of two; 32 = 4 flows of 2 components of 2x2 pixels; 24 = (2 + 1 + 3) of 2x2
        (
            "two_stream",
            {},
            sum(
                weights(first, 16) + weights(16, 16) + weights(16, 32) + weights(32, 32) + weights(32, 48)
                + weights(48, 48)
                for first in (12, 32)
            )
            + up([32, 64, 96], [16, 32, 48]) + weights(16, 24),
        ),
        # products with input (bias) and state (none), for state, reset and update
        ("conv_rnn", {}, weights(12, 48) + 16 * 48 * 9 + weights(16, 48) + 16 * 48 * 9 + weights(16, 12)),
        ("conv_rnn", {"cell": "rnn", "layers": 1}, weights(12, 16) + 16 * 16 * 9 + weights(16, 12)),
        ("conv_rnn", {"cell": "lstm", "layers": 1}, weights(12 + 16, 64) + weights(16, 12)),
        # 3x3x3 as 3x3 over three moments; query, value and output with a bias, the key without
        (
            "nonlocal_net",
            {},
            weights(36, 16) + weights(48, 32) + weights(96, 48) + 4 * 48 * 24 + 24 + 24 + 48
            + up([16, 32, 48], [16, 32, 48]) + weights(16, 12),
        ),
        # slow 32, 64, 96, with time only at the last; fast 4, 8, 12; handed over 8, 16, 24 of five moments
        (
            "slowfast",
            {},
            weights(12, 32) + weights(32 + 8, 64) + weights(3 * (64 + 16), 96)
            + weights(36, 4) + weights(12, 8) + weights(24, 12)
            + weights(20, 8, 1) + weights(40, 16, 1) + weights(60, 24, 1)
            + up([32 + 8 + 4, 64 + 16 + 8, 96 + 24 + 12], [32, 64, 96]) + weights(32, 12),
        ),
    ],
)  # fmt: skip
def test_parameters_by_hand(name: str, config: dict[str, object], count: int) -> None:
    assert zoo.parameters(zoo.build(name, config, TASK)) == count


@pytest.mark.parametrize("name", LECTURE)
def test_starts_as_copy_last_and_overfits_one_batch(name: str) -> None:
    clip = drifting(7)
    model = zoo.build(name, {}, dataclasses.replace(TASK, horizon=2))
    context, target = clip[:, :5], clip[:, 5:]
    assert torch.equal(predict(model, context), context[:, -1:].expand(-1, 2, -1, -1, -1))
    train(model, clip, 60)
    copied = F.l1_loss(context[:, -1:].expand_as(target), target)
    assert F.l1_loss(predict(model, context), target) < 0.3 * copied


@pytest.mark.parametrize("name", LECTURE)
@pytest.mark.parametrize("size", [(24, 40), (37, 51), (5, 3)])
def test_frames_of_any_size(name: str, size: tuple[int, int]) -> None:
    model = zoo.build(name, {}, TASK)
    context = torch.rand(1, 5, 3, *size)
    train(model, torch.cat((context, torch.rand(1, 1, 3, *size)), dim=1), 1)
    assert predict(model, context).shape == (1, 1, 3, *size)
    assert predict(model, context).isfinite().all()


@pytest.mark.parametrize("length", [1, 2, 9])
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("late_fusion", {"join": "pool"}),
        ("conv_rnn", {"cell": "rnn"}),
        ("conv_rnn", {"cell": "gru"}),
        ("conv_rnn", {"cell": "lstm"}),
        ("nonlocal_net", {}),
        ("slowfast", {}),
    ],
)
def test_contexts_of_any_length(name: str, config: dict[str, object], length: int) -> None:
    assert predict(zoo.build(name, config, TASK), torch.rand(1, length, 3, 16, 16)).shape == (1, 1, 3, 16, 16)


@pytest.mark.parametrize("name", ["late_fusion", "two_stream"])
def test_another_length_is_refused_where_the_structure_fixes_it(name: str) -> None:
    model = zoo.build(name, {}, TASK)
    with pytest.raises(UserError, match=f"{name}.* was built for 5 context frames and got 4"):
        predict(model, torch.rand(1, 4, 3, 16, 16))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("late_fusion", {"join": "pool"}),
        ("late_fusion", {"scales": 1, "fold": 1}),
        ("two_stream", {"scales": 1, "depth": 1}),
        ("conv_rnn", {"cell": "rnn", "kernel": 5}),
        ("conv_rnn", {"cell": "lstm", "layers": 1}),
        ("nonlocal_net", {"blocks": 0}),
        ("nonlocal_net", {"scales": 1, "fold": 4}),
        ("slowfast", {"scales": 1}),
        ("slowfast", {"every": 1, "share": 4, "fusion": 1}),
    ],
)
def test_options_build_networks_whose_every_parameter_learns(name: str, config: dict[str, object]) -> None:
    model = zoo.build(name, config, TASK)
    before = {key: value.clone() for key, value in model.named_parameters()}
    train(model, drifting(6), 3, rate=1e-2)
    moved = {key for key, value in model.named_parameters() if value.grad is not None and value.grad.any()}
    assert moved == set(before)
    assert zoo.parameters(model) != zoo.parameters(zoo.build(name, {}, TASK))


@pytest.mark.parametrize(
    ("name", "config", "complaint"),
    [
        ("late_fusion", {"width": 0}, "width is 0: give at least 1"),
        ("late_fusion", {"scales": 7}, "scales is 7: give from 1 to 6"),
        ("late_fusion", {"join": "sum"}, "join is 'sum': give one of concat, pool"),
        ("two_stream", {"max_flow": 0}, "max_flow is 0.0: give at least 0.5"),
        ("conv_rnn", {"kernel": 4}, "kernel is 4: give an odd number"),
        ("conv_rnn", {"cell": "elman"}, "cell is 'elman': give one of rnn, gru, lstm"),
        ("nonlocal_net", {"blocks": -1}, "blocks is -1: give at least 0"),
        ("nonlocal_net", {"inner": 0}, "inner is 0.0: give from 0.01 to 4"),
        ("slowfast", {"fusion": 2}, "fusion is 2: give an odd number"),
        ("slowfast", {"width": 20}, "width is 20: give a multiple of share, 8"),
    ],
)
def test_impossible_values_are_named(name: str, config: dict[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        zoo.build(name, config, TASK)


class TestLateFusion:
    def test_features_of_a_frame_know_of_no_other(self) -> None:
        model = zoo.build("late_fusion", {}, TASK)
        seen: list[Tensor] = []
        model.get_submodule("look.stages.1").register_forward_hook(lambda _, __, found: seen.append(found))
        context = torch.rand(1, 5, 3, 16, 16)
        model(context)
        context[:, 2] = torch.rand(1, 3, 16, 16)
        model(context)
        changed = (seen[0] != seen[1]).flatten(1).any(dim=1)
        assert changed.tolist() == [False, False, True, False, False]

    @pytest.mark.parametrize(("join", "matters"), [("concat", True), ("pool", False)])
    def test_pooling_is_blind_to_the_order_of_what_came_before(self, join: str, matters: bool) -> None:
        model = zoo.build("late_fusion", {"join": join}, TASK)
        train(model, drifting(6), 3)
        context = drifting(5)
        shuffled = context[:, [2, 0, 3, 1, 4]]
        differs = (predict(model, context) - predict(model, shuffled)).abs().max() > 1e-4
        assert bool(differs) == matters


class TestTwoStream:
    def test_needs_flow_and_two_frames(self) -> None:
        assert zoo.build("two_stream", {}, TASK).needs_flow
        with pytest.raises(ValueError, match="needs optical flow"):
            zoo.build("two_stream", {}, TASK)(torch.rand(1, 5, 3, 16, 16))
        with pytest.raises(UserError, match=r"the context has 1: give at least 2"):
            zoo.build("two_stream", {}, dataclasses.replace(TASK, context=1))

    def test_a_share_of_one_carries_the_last_frame_on_by_its_flow(self) -> None:
        model = zoo.build("two_stream", {"max_flow": 100, "fold": 1}, dataclasses.replace(TASK, horizon=2))
        bias = model.get_submodule("head").bias
        assert isinstance(bias, nn.Parameter)
        with torch.no_grad():  # a frame's outputs: a displacement along x and y, a share, a residual for each colour
            bias[2], bias[8] = 1, 2
        clip = drifting(7)
        inside = (..., slice(None), slice(4, -4))
        torch.testing.assert_close(predict(model, clip[:, :5])[inside], clip[:, 5:][inside], atol=5e-3, rtol=0)

    def test_displacements_are_bounded(self) -> None:
        model = zoo.build("two_stream", {"max_flow": 2}, TASK)
        context, flow = torch.zeros(1, 5, 3, 32, 32), torch.zeros(1, 4, 2, 32, 32)
        context[:, -1, :, :, 16:] = 1
        flow[:, :, 0] = 30
        with torch.no_grad():
            model.get_submodule("head").bias[8:12] = 1  # type: ignore[index, operator, union-attr]
            predicted = model(context, flow).frames
        assert torch.equal(predicted[..., 14:], torch.ones_like(predicted[..., 14:]))
        assert not predicted[..., :13].any()

    def test_the_motion_stream_is_heard(self) -> None:
        model = zoo.build("two_stream", {}, TASK)
        train(model, drifting(6), 3)
        context = drifting(5)
        still = torch.zeros_like(flow_of(context))
        earlier = flow_of(context).clone()
        earlier[:, 0] = 0  # the share is of the last flow; the first can be seen by the stream only
        found = [model(context, flow).frames for flow in (flow_of(context), earlier, still)]
        assert not torch.equal(found[0], found[1])
        assert not torch.equal(found[0], found[2])

    def test_bfloat16_moves_by_the_same_pixels(self) -> None:
        model = zoo.build("two_stream", {}, TASK)
        train(model, drifting(6), 20)
        context = drifting(5)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            rough = predict(model, context)
        assert rough.dtype == torch.float32
        torch.testing.assert_close(rough, predict(model, context), atol=0.02, rtol=0)


class TestConvRnn:
    def test_gru_by_hand(self) -> None:
        """On 1x1 frames a convolution is the matrix of its middle: torch's own cell, which has the same form."""
        cell, reference = ConvGRU(3, 4, 3), nn.GRUCell(3, 4)
        with torch.no_grad():
            reference.weight_ih.copy_(cell.input.weight[:, :, 1, 1])
            reference.weight_hh.copy_(cell.recurrent.weight[:, :, 1, 1])
            reference.bias_ih.copy_(cell.input.bias)  # type: ignore[arg-type]
            reference.bias_hh.zero_()
        frames = torch.randn(6, 2, 3)
        states = cell([frame[..., None, None] for frame in frames])
        expected = None
        for frame, state in zip(frames, states, strict=True):
            expected = reference(frame, expected)
            torch.testing.assert_close(state[..., 0, 0], expected)

    def test_rnn_by_hand(self) -> None:
        cell, reference = ConvRNN(3, 4, 3), nn.RNNCell(3, 4)
        with torch.no_grad():
            reference.weight_ih.copy_(cell.input.weight[:, :, 1, 1])
            reference.weight_hh.copy_(cell.recurrent.weight[:, :, 1, 1])
            reference.bias_ih.copy_(cell.input.bias)  # type: ignore[arg-type]
            reference.bias_hh.zero_()
        frames = torch.randn(6, 2, 3)
        expected = None
        for frame, state in zip(frames, cell([frame[..., None, None] for frame in frames]), strict=True):
            expected = reference(frame, expected)
            torch.testing.assert_close(state[..., 0, 0], expected)

    @pytest.mark.parametrize("kind", [ConvRNN, ConvGRU, ConvLSTM])
    def test_a_state_knows_the_past_and_not_the_future(self, kind: type[ConvRNN]) -> None:
        cell = kind(3, 4, 3)
        frames = list(torch.rand(5, 1, 3, 8, 8))
        before = cell(frames)
        frames[2] = torch.rand(1, 3, 8, 8)
        changed = [not torch.equal(a, b) for a, b in zip(before, cell(frames), strict=True)]
        assert changed == [False, False, True, True, True]


class TestNonLocal:
    def test_an_inserted_block_starts_as_the_identity(self) -> None:
        x = torch.randn(2, 3, 6, 5, 4)
        assert torch.equal(NonLocal(6, 3)(x), x)
        plain, inserted = (zoo.build("nonlocal_net", {"blocks": blocks}, TASK) for blocks in (0, 2))
        clip = drifting(6)
        train(plain, clip, 3)  # a head of zeros would hide a difference
        missing, unexpected = inserted.load_state_dict(plain.state_dict(), strict=False)
        assert not unexpected
        assert all(name.startswith("attend.") for name in missing)
        assert torch.equal(predict(inserted.eval(), clip[:, :5]), predict(plain, clip[:, :5]))

    def test_by_hand(self) -> None:
        block = NonLocal(6, 3)
        nn.init.normal_(block.out.weight)
        x = torch.randn(2, 3, 6, 5, 4)
        places = x.permute(0, 1, 3, 4, 2).reshape(2, 60, 6)
        query, key, value = (
            places @ layer.weight[:, :, 0, 0].T + (0 if layer.bias is None else layer.bias)
            for layer in (block.query, block.key, block.value)
        )
        attended = torch.softmax(query @ key.transpose(1, 2) / 3**0.5, dim=2) @ value
        added = (attended @ block.out.weight[:, :, 0, 0].T).reshape(2, 3, 5, 4, 6).permute(0, 1, 4, 2, 3)
        torch.testing.assert_close(block(x), x + added)

    def test_every_place_at_every_moment_is_seen(self) -> None:
        block = NonLocal(4, 4)
        nn.init.normal_(block.out.weight)
        x = torch.randn(1, 3, 4, 5, 5, requires_grad=True)
        block(x)[0, 2, :, 0, 0].sum().backward()
        assert x.grad is not None
        assert bool((x.grad.abs().sum(dim=2) > 0).all())


class TestSlowfast:
    @pytest.mark.parametrize(("length", "slow"), [(5, [0, 4]), (8, [3, 7]), (3, [2]), (9, [0, 4, 8])])
    def test_the_slow_pathway_sees_every_fourth_frame_back_from_the_newest(self, length: int, slow: list[int]) -> None:
        model = zoo.build("slowfast", {}, TASK)
        seen: list[Tensor] = []
        model.get_submodule("slow.0").register_forward_hook(lambda _, given, __: seen.append(given[0]))
        context = torch.rand(2, length, 3, 16, 16)
        model(context)
        expected = F.pixel_unshuffle(4 * (context[:, slow].flatten(0, 1) - 0.5), 2)
        torch.testing.assert_close(seen[0], expected)

    def test_the_slow_pathway_hears_frames_it_does_not_see(self) -> None:
        model = zoo.build("slowfast", {}, TASK)
        seen: list[Tensor] = []
        model.get_submodule("slow.1").register_forward_hook(lambda _, given, __: seen.append(given[0]))
        context = torch.rand(1, 5, 3, 16, 16)
        model(context)
        context[:, 3] = torch.rand(1, 3, 16, 16)
        model(context)
        own, handed = (seen[0] != seen[1]).split([32, 8], dim=1)
        assert not own.any()
        assert handed.any()

    def test_what_is_handed_over_is_the_paper_s_strided_convolution(self) -> None:
        model = zoo.build("slowfast", {"every": 2}, TASK)
        lateral = model.get_submodule("lateral.0")
        assert isinstance(lateral, nn.Conv2d)
        reference = nn.Conv3d(4, 8, (5, 1, 1), stride=(2, 1, 1), padding=(2, 0, 0))
        with torch.no_grad():
            reference.weight.copy_(lateral.weight.reshape(8, 5, 4, 1, 1).transpose(1, 2))
            reference.bias.copy_(lateral.bias)  # type: ignore[union-attr, arg-type]
        fast = torch.randn(2, 5, 4, 8, 8)
        handed = handed_over(lateral, fast, [0, 2, 4], 5)
        torch.testing.assert_close(handed, F.silu(reference(fast.transpose(1, 2)).transpose(1, 2)))


def test_attention_is_counted() -> None:
    """It grows with the square of the area, all else with the area."""
    small, large = (Task(context=5, horizon=1, height=side, width=side) for side in (32, 64))
    counts = [zoo.operations(zoo.build("nonlocal_net", {}, task), task) for task in (small, large)]
    assert counts[1] > 4.1 * counts[0]
