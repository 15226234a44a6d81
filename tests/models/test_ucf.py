"""The UCF-101 line: seq2seq, skip_autoencoder, multiscale and its adversaries."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.blocks.discriminators import resize
from vidpred.models.predict import multiscale
from vidpred.models.predict.multiscale import Multiscale
from vidpred.models.predict.seq2seq import Seq2seq
from vidpred.models.rollout import rollout
from vidpred.types import Task

NAMES = ("multiscale", "seq2seq", "skip_autoencoder")
TASK = Task(context=4, horizon=1, height=32, width=32)
FOUR = dataclasses.replace(TASK, horizon=4)


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    torch.manual_seed(0)


def sliding(frames: int, *, size: int = 32, batch: int = 4) -> Tensor:
    """(batch, frames, 3, size, size): textures that move 2 pixels to the right a frame."""
    wide = torch.rand(batch, 3, size // 4, size // 4 + 8, generator=torch.Generator().manual_seed(2))
    wide = F.interpolate(wide, scale_factor=4, mode="bicubic").clamp(0, 1)
    return torch.stack([wide[..., 32 - 2 * t : 32 - 2 * t + size] for t in range(frames)], dim=1)


def convolution(inputs: int, outputs: int, kernel: int) -> int:
    return inputs * outputs * kernel**2 + outputs


def linear(*sizes: int) -> int:
    return sum((before + 1) * after for before, after in pairwise(sizes))


SEQ2SEQ_SEED = (
    convolution(3, 32, 3)
    + convolution(32, 64, 3)
    + 2 * convolution(64 + 64, 4 * 64, 3)  # reader and writer: four gates of input and state
    + convolution(64, 32, 4)
    + convolution(32, 3, 4)
)
SEQ2SEQ_BETTER = (
    # batch norm has a scale and a shift a channel, and the convolution before it no bias
    (3 * 32 * 9 + 2 * 32)
    + (32 * 64 * 9 + 2 * 64)
    + (64 * 128 * 9 + 2 * 128)
    + 2 * convolution(128 + 128, 4 * 128, 3)
    + (128 * 64 * 16 + 2 * 64)
    + (64 * 32 * 16 + 2 * 32)
    + convolution(32, 3, 4)
)
SKIP_SEED = (
    convolution(12, 32, 4)
    + convolution(32, 64, 4)
    + convolution(64, 128, 4)
    + convolution(128, 256, 4)
    + convolution(256, 512, 4)
    + convolution(512, 256, 4)
    + convolution(256 + 256, 128, 4)
    + convolution(128 + 128, 64, 4)
    + convolution(64 + 64, 32, 4)
    + convolution(32 + 32, 3, 4)
)
MULTISCALE_SEED = (
    # the coarsest sees 4 frames, the others a guess beside them
    (13_952 + 295_168 + 295_040 + 3_459)
    + (48_128 + 295_168 + 295_040 + 9_603)
    + (48_128 + 295_168 + 1_180_160 + 1_179_904 + 295_040 + 9_603)
    + (94_208 + 819_456 + 3_277_312 + 3_277_056 + 819_328 + 18_819)
)


@pytest.mark.parametrize(
    ("name", "variant", "by_hand", "count"),
    [
        ("seq2seq", "seed", SEQ2SEQ_SEED, 644_067),
        ("seq2seq", "better", SEQ2SEQ_BETTER, 2_619_363),
        ("skip_autoencoder", "seed", SKIP_SEED, 6_269_379),
        ("multiscale", "seed", MULTISCALE_SEED, 12_569_740),
    ],
)
def test_the_sources_networks_have_their_sizes(name: str, variant: str, by_hand: int, count: int) -> None:
    assert zoo.parameters(zoo.build(name, {"variant": variant}, TASK)) == by_hand == count


@pytest.mark.parametrize("name", NAMES)
def test_default_is_small_and_starts_as_copy_last(name: str) -> None:
    model = zoo.build(name, {}, FOUR)
    assert zoo.parameters(model) <= 500_000
    context = sliding(4)
    frames = rollout(model, context, 4).frames
    assert torch.equal(frames, context[:, -1:].expand(-1, 4, -1, -1, -1))


@pytest.mark.parametrize("name", NAMES)
def test_one_batch_overfits(name: str) -> None:
    model = zoo.build(name, {}, TASK).train()
    clip = sliding(5, batch=2)
    context, target = clip[:, :4], clip[:, 4:]
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(50):
        optimizer.zero_grad()
        output = model(context)
        loss = F.l1_loss(output.frames, target) + sum(0.1 * F.l1_loss(a, target) for a in output.auxiliary)
        loss.backward()
        optimizer.step()
    copied = F.l1_loss(context[:, -1:], target)
    assert F.l1_loss(model.eval()(context).frames, target) < 0.4 * copied


@pytest.mark.parametrize(
    ("name", "variant"),
    [(name, variant) for name in NAMES for variant in ("default", "seed")] + [("seq2seq", "better")],
)
class TestEveryVariant:
    @pytest.mark.parametrize("size", [(32, 32), (37, 45)])
    def test_any_frame_size(self, name: str, variant: str, size: tuple[int, int]) -> None:
        model = zoo.build(name, {"variant": variant}, FOUR).eval()
        with torch.no_grad():
            frames = model(torch.rand(2, 4, 3, *size)).frames
        assert frames.shape == (2, model.steps, 3, *size)
        assert frames.dtype == torch.float32
        assert model.steps == (1 if name == "skip_autoencoder" else 4)
        if variant != "default":  # tanh, mapped back
            assert frames.min() >= 0
            assert frames.max() <= 1
            assert 0.3 < frames.mean() < 0.7

    def test_every_parameter_learns(self, name: str, variant: str) -> None:
        model = zoo.build(name, {"variant": variant}, TASK).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        clip = sliding(5, batch=1, size=16)
        reached = set()
        for _ in range(3):
            optimizer.zero_grad()
            F.mse_loss(model(clip[:, :4]).frames, clip[:, 4:]).backward()
            optimizer.step()
            reached |= {n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
        assert reached == {n for n, _ in model.named_parameters()}


@pytest.mark.parametrize("length", [1, 2, 7])
@pytest.mark.parametrize("variant", ["default", "seed", "better"])
def test_seq2seq_takes_any_context_length(length: int, variant: str) -> None:
    model = zoo.build("seq2seq", {"variant": variant}, FOUR).eval()
    with torch.no_grad():
        assert model(torch.rand(1, length, 3, 16, 16)).frames.shape == (1, 4, 3, 16, 16)


@pytest.mark.parametrize("name", ["multiscale", "skip_autoencoder"])
def test_stacked_frames_fix_the_context_length(name: str) -> None:
    with pytest.raises(UserError, match=r"built for 4 context frames and got 5: give 4"):
        zoo.build(name, {}, TASK)(torch.rand(1, 5, 3, 16, 16))


@pytest.mark.parametrize(
    ("name", "config", "complaint"),
    [
        ("seq2seq", {"variant": "seed", "depth": 3}, "depth of variant seed"),
        ("seq2seq", {"variant": "better", "teacher_forcing": 0.5}, "teacher_forcing of variant better"),
        ("seq2seq", {"teacher_forcing": 2}, "teacher_forcing is 2.0: give from 0 to 1"),
        ("seq2seq", {"depth": 0}, "depth is 0: give at least 1"),
        ("skip_autoencoder", {"variant": "seed", "filters": 8}, "leave them out"),
        ("skip_autoencoder", {"depth": 8}, "depth is 8: give from 1 to 7"),
        ("multiscale", {"variant": "seed", "kernel": 5}, "kernel of variant seed"),
        ("multiscale", {"kernel": 2}, "kernel is 2: give an odd number"),
        ("multiscale", {"scales": "two"}, "scales is 'two': give one of paper, blog"),
    ],
)
def test_impossible_values_are_named(name: str, config: dict[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        zoo.build(name, config, TASK)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("seq2seq", {"depth": 3, "filters": 4, "fold": 1, "batch_norm": True}),
        ("seq2seq", {"depth": 2, "filters": 8, "fold": 3}),
        ("skip_autoencoder", {"depth": 1, "filters": 4}),
        ("multiscale", {"depth": 2, "filters": 8, "kernel": 5, "scales": "blog"}),
    ],
)
def test_options_build_other_networks(name: str, config: dict[str, object]) -> None:
    model = zoo.build(name, config, TASK)
    assert zoo.parameters(model) != zoo.parameters(zoo.build(name, {}, TASK))
    context = torch.rand(2, 4, 3, 20, 28)
    assert torch.equal(model.eval()(context).frames, context[:, -1:])


class TestTeacherForcing:
    def model(self, **config: object) -> Seq2seq:
        model = zoo.build("seq2seq", config, FOUR)
        assert isinstance(model, Seq2seq)
        if "variant" not in config:
            torch.nn.init.normal_(model.get_submodule("head").weight, std=0.1)  # type: ignore[arg-type]
        return model.train()

    def test_every_step_follows_the_true_frame(self) -> None:
        model, clip = self.model(variant="seed"), sliding(8)
        forced = model(clip[:, :4], None, clip[:, 4:]).frames
        torch.testing.assert_close(forced[:, :1], model(clip[:, :4]).frames[:, :1])
        assert not torch.allclose(forced[:, 1:], model(clip[:, :4]).frames[:, 1:])
        other = clip[:, 4:].clone()
        other[:, 1] = 0  # the second target frame is seen from the third prediction on
        changed = model(clip[:, :4], None, other).frames
        assert torch.equal(changed[:, :2], forced[:, :2])
        assert not torch.allclose(changed[:, 2:], forced[:, 2:])
        other = clip[:, 4:].clone()
        other[:, 3] = 0  # nothing follows the last
        assert torch.equal(model(clip[:, :4], None, other).frames, forced)

    def test_the_residual_adds_to_the_true_frame(self) -> None:
        model, clip = self.model(teacher_forcing=1), sliding(8)
        model.get_submodule("head").weight.data.zero_()  # type: ignore[operator, union-attr]
        # with a residual of zero each prediction is the true frame before it
        frames = model(clip[:, :4], None, clip[:, 4:]).frames
        torch.testing.assert_close(frames, clip[:, 3:7])

    def test_only_while_training_and_only_where_asked(self) -> None:
        model, clip = self.model(teacher_forcing=1), sliding(8)
        model.eval()
        assert torch.equal(model(clip[:, :4], None, clip[:, 4:]).frames, model(clip[:, :4]).frames)
        never = self.model()
        assert torch.equal(never(clip[:, :4], None, clip[:, 4:]).frames, never(clip[:, :4]).frames)

    def test_a_share_is_drawn_for_every_window(self) -> None:
        model, clip = self.model(teacher_forcing=0.5), sliding(8, batch=1).expand(16, -1, -1, -1, -1)
        second = model(clip[:, :4], None, clip[:, 4:]).frames[:, 1].detach()
        forced = model(clip[:, :4]).frames[:, 1].detach()
        own = [bool(torch.allclose(one, other, atol=1e-6)) for one, other in zip(second, forced, strict=True)]
        assert 2 < sum(own) < 14

    def test_a_target_of_another_shape_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"target is \(2, 3, 3, 16, 16\)"):
            self.model(variant="seed")(torch.rand(2, 4, 3, 16, 16), None, torch.rand(2, 3, 3, 16, 16))


def test_skip_autoencoder_is_rolled_out_on_its_own_frames() -> None:
    model = zoo.build("skip_autoencoder", {"variant": "seed"}, FOUR).eval()
    context = sliding(4)
    with torch.no_grad():
        first = model(context).frames
        second = model(torch.cat((context[:, 1:], first), dim=1)).frames
        rolled = rollout(model, context, 32).frames
    assert rolled.shape[1] == 32
    torch.testing.assert_close(rolled[:, :2], torch.cat((first, second), dim=1))


class TestMultiscale:
    def model(self, task: Task = TASK, **config: object) -> Multiscale:
        model = zoo.build("multiscale", config, task)
        assert isinstance(model, Multiscale)
        for network in model.networks if config.get("variant") != "seed" else ():
            torch.nn.init.normal_(network.get_submodule("6").weight, std=0.02)  # type: ignore[arg-type]
        return model

    @pytest.mark.parametrize(("scales", "sides"), [("paper", (8, 16, 32, 64)), ("blog", (4, 16, 32, 64))])
    def test_scales_are_the_sources(self, scales: str, sides: tuple[int, ...]) -> None:
        model = self.model(scales=scales).eval()
        context = torch.rand(1, 4, 3, 64, 64)
        stages = model.train()(context).scales
        assert [tuple(stage.shape) for stage in stages] == [(1, 1, 3, side, side) for side in sides]
        torch.testing.assert_close(stages[-1], model(context).frames)
        for seen, side in zip(model.pyramid(context), sides, strict=True):
            torch.testing.assert_close(seen.flatten(0, 1), F.avg_pool2d(context.flatten(0, 1), 64 // side))

    @pytest.mark.parametrize("variant", ["default", "seed"])
    def test_auxiliary_are_the_coarser_stages(self, variant: str) -> None:
        model = self.model(FOUR, variant=variant).train()
        context = sliding(4, batch=1)
        output = model(context)
        assert len(output.auxiliary) == 3
        for auxiliary, stage in zip(output.auxiliary, model.train()(context).scales, strict=False):
            assert auxiliary.shape == output.frames.shape
            frames = stage
            if variant == "default":  # what is enlarged is the residual
                frames = stage - resize(context[:, -1:], (stage.shape[-2], stage.shape[-1]))
            larger = F.interpolate(frames.flatten(1, 2), size=(32, 32), mode="bilinear").unflatten(1, (4, 3))
            torch.testing.assert_close(auxiliary, larger + context[:, -1:] if variant == "default" else larger)

    def test_seed_stage_is_tanh_of_guess_and_network(self) -> None:
        model = self.model(variant="seed").eval()
        context = sliding(4, batch=1)
        with torch.no_grad():
            *_, third, fourth = model.train()(context).scales
            guess = F.interpolate(2 * third[:, 0] - 1, scale_factor=2, mode="bilinear")
            network = model.networks[3](torch.cat((2 * context.flatten(1, 2) - 1, guess), dim=1))
        torch.testing.assert_close(2 * fourth[:, 0] - 1, torch.tanh(guess + network), atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize(
        ("scales", "coarsest"),
        # 15 channels: four frames and a fifth; a 3x3 convolution and a pooling leave 1x1 of 4x4
        [("paper", convolution(15, 64, 3) + linear(64, 512, 256, 1)), ("blog", None)],
    )
    def test_the_papers_discriminators(self, scales: str, coarsest: int | None) -> None:
        config = multiscale.Config(variant="seed", scales=scales)  # type: ignore[arg-type]
        if coarsest is None:
            with pytest.raises(UserError, match=r"at least 4x4 at its scale, these are 2x2"):
                multiscale.discriminators(config, TASK)
            return
        judges = multiscale.discriminators(config, TASK).judges
        assert zoo.parameters(judges[0]) == coarsest
        second = convolution(15, 64, 3) + convolution(64, 128, 3) + convolution(128, 128, 3) + linear(128, 1024, 512, 1)
        assert zoo.parameters(judges[1]) == second
        finest = (
            convolution(15, 128, 7) + convolution(128, 256, 7) + convolution(256, 512, 5) + convolution(512, 128, 5)
        )
        assert zoo.parameters(judges[3]) == finest + linear(128 * 6 * 6, 1024, 512, 1)

    def test_adversaries_are_no_part_of_the_model(self) -> None:
        model = self.model()
        before = [name for name, _ in model.named_parameters()]
        multiscale.discriminators(multiscale.Config(), TASK)
        assert [name for name, _ in model.named_parameters()] == before
        assert not any("judge" in name for name in before)

    @pytest.mark.parametrize("size", [(32, 32), (45, 26)])
    def test_both_players_learn_at_every_scale(self, size: tuple[int, int]) -> None:
        task = dataclasses.replace(FOUR, height=size[0], width=size[1])
        model, adversaries = self.model(task).train(), multiscale.discriminators(multiscale.Config(), task)
        context, target = torch.rand(2, 4, 3, *size), torch.rand(2, 4, 3, *size)
        truth, stages = model.pyramid(target), model.train()(context).scales
        assert [part.shape for part in truth] == [part.shape for part in stages]
        logits = adversaries(context, truth)
        assert [logit.shape for logit in logits] == [(2,)] * 4
        fooled = adversaries(context, stages)
        F.binary_cross_entropy_with_logits(torch.cat(fooled), torch.ones(8)).backward()
        assert all(p.grad is not None and p.grad.any() for p in model.parameters())
        assert all(p.grad is not None and p.grad.any() for p in adversaries.parameters())
        with pytest.raises(ValueError, match="there are 4 scales but frames of 3"):
            adversaries(context, truth[1:])

    def test_adversaries_learn_to_tell(self) -> None:
        adversaries = multiscale.discriminators(multiscale.Config(filters=8), TASK)
        model, clip = self.model(filters=8), sliding(5)
        truth, wrong = model.pyramid(clip[:, 4:]), [part.detach() for part in model.train()(clip[:, :4]).scales]
        optimizer = torch.optim.AdamW(adversaries.parameters(), lr=1e-2)
        for _ in range(40):
            real, predicted = (torch.cat(adversaries(clip[:, :4], shown)) for shown in (truth, wrong))
            loss = F.softplus(-real).mean() + F.softplus(predicted).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert loss < 0.5
