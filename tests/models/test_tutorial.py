"""The tutorial's line: sizes counted by hand, what the seeds compute, noise, axes, pooling, sizes and lengths."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.blocks.learned_path import Noise, fold_pixels, unfold_pixels
from vidpred.models.blocks.recurrent import ConvLSTM
from vidpred.models.blocks.slow_fusion import Conv3x3x3, SlowFusion
from vidpred.types import Predictor, Task

TASK = Task(context=5, horizon=1, height=24, width=24)
LINE = ["conv2d", "conv3d", "convlstm", "convlstm_autoencoder", "parallel"]


def moving(frames: int, *, batch: int = 2, size: int = 24, shift: int = 2) -> Tensor:
    """(B, frames, 3, size, size): a smooth random texture that moves by `shift` pixels a frame to the right."""
    generator = torch.Generator().manual_seed(1)
    texture = torch.rand(batch, 3, size, size, generator=generator)
    texture = F.avg_pool2d(F.pad(texture, (1, 1, 1, 1), mode="circular"), 3, stride=1)
    return torch.stack([texture.roll(shift * t, dims=-1) for t in range(frames)], dim=1)


def fit(model: Predictor, context: Tensor, target: Tensor, steps: int, lr: float = 1e-2) -> float:
    """The loss in eval mode after so many steps on one batch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(steps):
        loss = F.l1_loss(model.train()(context).frames, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return F.l1_loss(model.eval()(context).frames, target).item()


def waken(model: Predictor) -> Predictor:
    """Draws the parameters that start at zero, so that the learned path shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return model


def conv(inputs: int, outputs: int, kernel: int = 3) -> int:
    """Parameters of a convolution with bias."""
    return outputs * (kernel**2 * inputs + 1)


def cell(inputs: int, filters: int, kernel: int = 3) -> int:
    """Parameters of a ConvLSTM: four gates from input and state, one bias each."""
    return 4 * conv(inputs + filters, filters, kernel)


C = 4
AUTOENCODER = (
    cell(3, C) + 2 * C  # 1,024 and batch norm's scale and shift
    + cell(C, 2 * C) + 4 * C  # 3,488
    + cell(2 * C, 4 * C)  # 13,888
    + cell(4 * C, 4 * C) + 8 * C  # 18,496
    + cell(4 * C, 2 * C) + 4 * C  # 6,944
    + cell(2 * C, C) + 2 * C  # 1,744
    + conv(C + 3, 3, 1)  # 24
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "config", "count", "by_hand"),
    [
        ("conv2d", {"variant": "seed"}, 408, conv(15, 3)),
        ("conv2d", {"variant": "starter"}, 14_467, conv(15, 32) + conv(32, 32) + conv(32, 3)),
        ("conv3d", {"variant": "seed"}, 136, 5 * 27 + 1),
        ("convlstm", {"variant": "seed"}, 2_133, cell(3, 6) + conv(6, 3)),
        ("convlstm_autoencoder", {"variant": "seed"}, 45_688, AUTOENCODER),
        ("conv2d", {"kernel": 5}, 65_699, conv(15, 32, 5) + 2 * conv(32, 32, 5) + conv(32, 3, 5)),
        ("conv3d", {"axes": "hwc", "filters": 4}, 1_525, 4 * (27 * 5 + 1) + 2 * 4 * (27 * 4 + 1) + 27 * 4 + 1),
        ("convlstm", {"layers": 2, "filters": 8}, 11_308, cell(12, 8) + cell(8, 8) + conv(8, 12)),
        ("convlstm_autoencoder", {"filters": 4, "fold": 1, "fine_skip": False}, 45_688, AUTOENCODER),
        (
            "convlstm_autoencoder",
            {},
            186_332,
            cell(12, 8) + 16 + cell(8, 16) + 32 + cell(16, 32)
            + cell(32, 32) + 64 + cell(32, 16) + 32
            + cell(16 + 8, 8) + 16 + conv(8 + 12, 12, 1),
        ),
        (
            "parallel",
            {},
            53_740,
            conv(60, 16) + 2 * conv(16, 16)  # 2D: five frames of 12 folded channels
            + conv(3 * 12, 16) + 2 * conv(3 * 16, 16)  # 3D
            + cell(12, 16) + conv(3 * 16, 12),
        ),
    ],
)  # fmt: skip
def test_sizes_are_those_counted_by_hand(name: str, config: dict[str, object], count: int, by_hand: int) -> None:
    assert by_hand == count
    assert zoo.parameters(zoo.build(name, config, TASK)) == count


@pytest.mark.parametrize("name", LINE)
class TestTheLine:
    def test_one_batch_overfits(self, name: str) -> None:
        clip = moving(6)
        context, target = clip[:, :5], clip[:, 5:]
        copied = F.l1_loss(context[:, -1:], target).item()
        assert fit(zoo.build(name, {}, TASK), context, target, 70) < 0.6 * copied

    def test_starts_as_copy_last(self, name: str) -> None:
        context = moving(5)
        for training in (True, False):
            model = zoo.build(name, {}, dataclasses.replace(TASK, horizon=2)).train(training)
            assert torch.equal(model(context).frames, context[:, -1:].expand(-1, 2, -1, -1, -1))

    def test_frames_of_other_sizes_are_cut_and_not_resized(self, name: str) -> None:
        model = waken(zoo.build(name, {}, TASK)).eval()
        wide = torch.rand(1, 5, 3, 64, 64)
        with torch.no_grad():
            whole, part = model(wide).frames, model(wide[..., :61, :59]).frames
        assert part.shape[-2:] == (61, 59)
        # the same where the border is out of sight
        torch.testing.assert_close(part[..., :16, :16], whole[..., :16, :16], atol=2e-3, rtol=0)

    @pytest.mark.parametrize("kind", ["gaussian", "drop_pixels"])
    def test_noise_stays_off_the_last_frame_unless_asked(self, name: str, kind: str) -> None:
        context = moving(5)
        options: dict[str, object] = {"noise": 0.2, "noise_kind": kind}
        clean = zoo.build(name, options, TASK).train()
        assert torch.equal(clean(context).frames, context[:, -1:])
        noisy = zoo.build(name, {**options, "noise_on": "all"}, TASK).train()
        assert not torch.equal(noisy(context).frames, context[:, -1:])
        assert torch.equal(noisy.eval()(context).frames, context[:, -1:])
        seen = waken(clean).train()
        assert not torch.equal(seen(context).frames, seen(context).frames)

    def test_noise_that_cannot_be_is_refused(self, name: str) -> None:
        with pytest.raises(UserError, match=f"{name}: noise is -0.1: give at least 0"):
            zoo.build(name, {"noise": -0.1}, TASK)
        with pytest.raises(UserError, match=f"{name}: noise is 1.5: give from 0 to 1"):
            zoo.build(name, {"noise": 1.5, "noise_kind": "drop_pixels"}, TASK)


def test_dropped_pixels_are_black_in_all_colours_and_every_frame_has_its_own() -> None:
    frames = torch.rand(4, 5, 3, 32, 32) + 0.1
    seen, carried = Noise(0.25, "drop_pixels", "learned_path").train()(frames)
    dropped = seen == 0
    assert torch.equal(dropped.all(dim=2), dropped.any(dim=2))
    assert torch.equal(seen[~dropped], frames[~dropped])
    assert abs(dropped.float().mean().item() - 0.25) < 0.02
    assert not torch.equal(dropped[:, 0], dropped[:, 1])
    assert carried is frames


def test_gaussian_noise_has_its_deviation() -> None:
    frames = torch.full((4, 5, 3, 32, 32), 0.5)
    seen, carried = Noise(0.1, "gaussian", "all").train()(frames)
    assert abs((seen - frames).std().item() - 0.1) < 0.005
    assert carried is seen


@pytest.mark.parametrize(("name", "noise"), [("convlstm_autoencoder", 0.1), ("convlstm", 0.0)])
def test_only_the_autoencoder_s_source_is_noisy_unasked(name: str, noise: float) -> None:
    context = torch.full((2, 5, 3, 64, 64), 0.5)
    built = zoo.build(name, {"variant": "seed"}, TASK).train()
    seen, carried = built.noise(context)  # type: ignore[operator]
    assert abs((seen - context).std().item() - noise) < 0.005
    assert carried is seen
    quiet = zoo.build(name, {"variant": "seed", "noise": 0}, TASK).train()
    assert torch.equal(quiet.noise(context)[0], context)  # type: ignore[operator]


def test_folding_and_back_changes_nothing() -> None:
    frames = torch.rand(2, 3, 3, 17, 22)
    for fold, multiple in itertools.product((1, 2, 3), (1, 4)):
        folded = fold_pixels(frames, fold, multiple)
        assert folded.shape[:3] == (2, 3, 3 * fold**2)
        assert folded.shape[-2] % multiple == folded.shape[-1] % multiple == 0
        assert torch.equal(unfold_pixels(folded[:, 1], fold, 17, 22), frames[:, 1])


class TestConv3d:
    def test_a_list_of_moments_is_torch_s_conv3d(self) -> None:
        ours, reference = Conv3x3x3(4, 6), nn.Conv3d(4, 6, 3, padding=1)
        with torch.no_grad():
            reference.weight.copy_(ours.conv.weight.reshape(6, 3, 4, 3, 3).transpose(1, 2))
            reference.bias.copy_(ours.conv.bias)  # type: ignore[union-attr,arg-type]
        frames = torch.rand(2, 5, 4, 9, 8)
        found = torch.stack(ours(list(frames.unbind(1))), dim=2)
        torch.testing.assert_close(found, reference(frames.transpose(1, 2)))

    @pytest.mark.parametrize(
        ("pool", "every", "left"), [("mean", 1, [3, 2, 1]), ("max", 1, [3, 2, 1]), ("mean", 2, [5, 3, 3])]
    )
    def test_time_is_pooled_step_by_step(self, pool: str, every: int, left: list[int]) -> None:
        net = SlowFusion(3, 4, 3, pool, every)  # type: ignore[arg-type]
        moments = []
        for layer in net.convs:
            layer.register_forward_hook(lambda _, inputs, __: moments.append(len(inputs[0])))
        assert net(torch.rand(2, 5, 3, 8, 8)).shape == (2, 4, 8, 8)
        assert moments == [5, *left[:2]]

    def test_pooling_by_maximum_keeps_the_newest_pair_together(self) -> None:
        moments = [torch.full((1, 1, 1, 1), value) for value in (1.0, 5.0, 2.0, 3.0, 4.0)]
        for pool, expected in (("mean", [1, 3.5, 3.5]), ("max", [1, 5, 4])):
            net = SlowFusion(1, 1, 1, pool, 1)  # type: ignore[arg-type]
            assert [moment.item() for moment in net._halve(moments)] == expected

    def test_any_depth_builds_and_trains(self) -> None:
        clip = moving(6)
        copied = F.l1_loss(clip[:, 4:5], clip[:, 5:]).item()
        for config in ({"depth": 1}, {"depth": 4, "pool": "none"}, {"depth": 5, "pool_every": 2, "pool": "max"}):
            model = zoo.build("conv3d", {"filters": 8, **config}, TASK)
            assert fit(model, clip[:, :5], clip[:, 5:], 60) < 0.95 * copied
        assert fit(zoo.build("conv3d", {"axes": "hwc"}, TASK), clip[:, :5], clip[:, 5:], 60) < 0.95 * copied

    def test_over_colours_knows_one_context_length_only(self) -> None:
        for config in ({"variant": "seed"}, {"axes": "hwc"}):
            with pytest.raises(UserError, match="built for 5 context frames and got 4: give 5, or train one with"):
                zoo.build("conv3d", config, TASK)(moving(4))

    @pytest.mark.parametrize(
        ("config", "complaint"),
        [
            ({"axes": "hwc", "pool": "max"}, "no time is pooled: leave pool out"),
            ({"variant": "seed", "pool_every": 2}, "pool_every of variant seed"),
            ({"pool_every": 0}, "pool_every is 0: give at least 1"),
        ],
    )
    def test_impossible_values_are_named(self, config: dict[str, object], complaint: str) -> None:
        with pytest.raises(UserError, match=complaint):
            zoo.build("conv3d", config, TASK)


def test_conv2d_knows_one_context_length_only() -> None:
    for variant in ("default", "seed", "starter"):
        with pytest.raises(UserError, match="conv2d was built for 5 context frames and got 6: give 5, or train one"):
            zoo.build("conv2d", {"variant": variant}, TASK)(moving(6))


@pytest.mark.parametrize("name", ["convlstm", "convlstm_autoencoder"])
@pytest.mark.parametrize("variant", ["default", "seed"])
def test_recurrent_models_take_any_number_of_frames(name: str, variant: str) -> None:
    model = waken(zoo.build(name, {"variant": variant}, TASK)).eval()
    long = moving(9)
    with torch.no_grad():
        assert model(long[:, -1:]).frames.isfinite().all()
        assert (model(long).frames - model(long[:, -2:]).frames).abs().max() > 0


class TestAutoencoder:
    def test_the_seed_computes_what_the_tutorial_draws(self) -> None:
        torch.manual_seed(4)
        model = zoo.build("convlstm_autoencoder", {"variant": "seed"}, TASK).eval()
        cells = [m for m in model.modules() if isinstance(m, ConvLSTM)]
        # in the order of the parameters: down c, 2c; bottom 4c; up wide 4c, 2c; last c
        assert [m.filters for m in cells] == [4, 8, 16, 16, 8, 4]
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        assert [m.num_features for m in norms] == [4, 8, 16, 8, 4]
        for norm in norms:  # as trained ones are: each does something of its own
            norm.running_mean.normal_(std=0.1)  # type: ignore[union-attr]
            norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]

        def each(layer: nn.Module, states: list[Tensor]) -> list[Tensor]:
            return [layer(state) for state in states]

        context = torch.rand(2, 5, 3, 16, 20)
        half, twice = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
        x = each(half, each(norms[0], cells[0](list(context.unbind(1)))))
        skip = each(norms[1], cells[1](x))
        x = each(twice, cells[2](each(half, skip)))
        x = each(norms[3], cells[4](each(norms[2], cells[3](x))))
        x = [a + b for a, b in zip(x, skip, strict=True)]
        state = norms[4](cells[5](each(twice, x))[-1])
        expected = model.head(torch.cat((state, context[:, -1]), dim=1))  # type: ignore[operator]
        torch.testing.assert_close(model(context).frames[:, 0], expected)

    @pytest.mark.parametrize(
        "config",
        [
            {"depth": 1},
            {"depth": 3, "norm": "none"},
            {"fold": 1, "dropout": 0.2, "kernel": 1, "fine_skip": False},
        ],
    )
    def test_options_build_networks_that_train(self, config: dict[str, object]) -> None:
        clip = moving(6, size=20)
        model = zoo.build("convlstm_autoencoder", {"filters": 4, **config}, TASK)
        fit(model, clip[:, :5], clip[:, 5:], 3)
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
        assert model.eval()(clip[:, :5]).frames.shape == (2, 1, 3, 20, 20)

    def test_the_source_s_sizes_are_fixed(self) -> None:
        with pytest.raises(UserError, match="depth, norm of variant seed"):
            zoo.build("convlstm_autoencoder", {"variant": "seed", "depth": 1, "norm": "none"}, TASK)
        with pytest.raises(UserError, match="kernel is 2: give an odd number"):
            zoo.build("convlstm_autoencoder", {"kernel": 2}, TASK)


class TestParallel:
    def test_each_branch_can_be_left_out(self) -> None:
        sizes = {}
        for kept in itertools.product((True, False), repeat=3):
            branches: dict[str, object] = dict(zip(("conv2d", "conv3d", "convlstm"), kept, strict=True))
            if not any(kept):
                with pytest.raises(UserError, match="give at least one branch"):
                    zoo.build("parallel", branches, TASK)
                continue
            model = waken(zoo.build("parallel", branches, TASK))
            sizes[kept] = zoo.parameters(model)
            assert model(moving(5)).frames.shape == (2, 1, 3, 24, 24)
        assert len(set(sizes.values())) == 7
        # what they share is the bias of the mix alone
        alone = [sizes[k] for k in ((True, False, False), (False, True, False), (False, False, True))]
        assert sizes[True, True, True] == sum(alone) - 2 * 12

    def test_only_the_2d_branch_binds_the_context_length(self) -> None:
        with pytest.raises(UserError, match="parallel with a conv2d branch was built for 5 context frames and got 8"):
            zoo.build("parallel", {}, TASK)(moving(8))
        assert zoo.build("parallel", {"conv2d": False}, TASK)(moving(8)).frames.shape == (2, 1, 3, 24, 24)

    def test_every_branch_sees_every_frame(self) -> None:
        for kept in ("conv2d", "conv3d", "convlstm"):
            branches: dict[str, object] = {name: name == kept for name in ("conv2d", "conv3d", "convlstm")}
            model = waken(zoo.build("parallel", branches, TASK)).eval()
            context = moving(5).requires_grad_()
            model(context).frames.square().sum().backward()
            assert context.grad is not None
            assert context.grad.abs().amax(dim=(0, 2, 3, 4)).gt(0).all()
