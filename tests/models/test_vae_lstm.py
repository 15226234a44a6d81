"""The latent line: its published sizes, its losses against torch's own, its stages, and what each option changes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, distributions

from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.blocks.gaussians import Belief, kl_divergence
from vidpred.models.predict.vae_lstm import VaeLstm
from vidpred.types import Batch, Task

TASK = Task(context=5, horizon=1, height=32, width=32)
SIXTYFOUR = Task(context=5, horizon=1, height=64, width=64)
STAGES = {"none": ("autoencoder", "latent"), "conv": ("features", "autoencoder", "deconvoluter", "latent")}


def built(config: dict[str, object], task: Task = TASK) -> VaeLstm:
    model = zoo.build("vae_lstm", config, task)
    assert isinstance(model, VaeLstm)
    return model


def squares(batch: int = 4, frames: int = 6, size: int = 32) -> Tensor:
    """(B, frames, 3, size, size): a light square on grey that moves two pixels a frame to the right."""
    clip = torch.full((batch, frames, 3, size, size), 0.3)
    for b in range(batch):
        for t in range(frames):
            clip[b, t, :, 4 + 3 * b : 12 + 3 * b, 2 * t + b : 2 * t + b + 8] = 0.8
    return clip


def batch_of(clip: Tensor) -> Batch:
    return Batch(clip[:, :5], clip[:, 5:], None)


def train(model: VaeLstm, stage: str, batch: Batch, steps: int, rate: float = 3e-3) -> list[float]:
    optimizer = torch.optim.AdamW(model.stage_parameters(stage), rate)
    losses = []
    for _ in range(steps):
        loss = model.stage_loss(stage, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def conv(inputs: int, outputs: int, kernel: int) -> int:
    return inputs * outputs * kernel**2 + outputs


def test_seed_has_the_world_models_sizes() -> None:
    encoder = conv(3, 32, 4) + conv(32, 64, 4) + conv(64, 128, 4) + conv(128, 256, 4)
    latent = 2 * (2 * 2 * 256 * 32 + 32) + (32 * 1024 + 1024)
    decoder = conv(1024, 128, 5) + conv(128, 64, 5) + conv(64, 32, 6) + conv(32, 3, 6)
    assert encoder + latent + decoder == 4_348_547  # as printed in arXiv 1803.10122
    lstm = 4 * 256 * (32 + 256 + 2)  # torch has two biases
    heads = {"point": 256 * 32 + 32, "gaussian": 256 * 64 + 64, "mdn": 256 * 5 * 65 + 5 * 65}
    for head, numbers in heads.items():
        model = built({"variant": "seed", "head": head}, SIXTYFOUR)
        assert zoo.parameters(model) == 4_348_547 + lstm + numbers
    assert model(torch.rand(1, 5, 3, 64, 64)).frames.shape == (1, 1, 3, 64, 64)


def test_seed_paints_outright_and_default_starts_as_copy_last() -> None:
    context = torch.rand(2, 5, 3, 64, 64)
    seed = built({"variant": "seed"}, SIXTYFOUR).eval()
    torch.testing.assert_close(
        seed(context).frames[:, 0], seed.decode(seed._believe(seed.encode(context)[0])[0].mean[:, -1])
    )
    assert not torch.equal(seed(context).frames, context[:, -1:])
    for head in ("point", "gaussian", "mdn"):
        for horizon in (1, 3):
            model = built({"head": head}, dataclasses.replace(SIXTYFOUR, horizon=horizon))
            assert torch.equal(model(context).frames, context[:, -1:].expand(-1, horizon, -1, -1, -1))


def test_auxiliary_is_the_prediction_without_the_last_frame() -> None:
    context = torch.rand(2, 5, 3, 32, 32)
    output = built({}, dataclasses.replace(TASK, horizon=2))(context)
    assert [a.shape for a in output.auxiliary] == [output.frames.shape]
    assert 0 < output.auxiliary[0].min() < output.auxiliary[0].max() < 1
    assert built({"variant": "seed"}, SIXTYFOUR)(torch.rand(1, 2, 3, 64, 64)).auxiliary == ()


@pytest.mark.parametrize("length", [1, 2, 9])
def test_any_context_length(length: int) -> None:
    assert built({})(torch.rand(2, length, 3, 32, 32)).frames.shape == (2, 1, 3, 32, 32)


def test_thirty_frames_follow_thirty() -> None:
    model = built({"head": "mdn"}).eval()
    context = torch.rand(1, 30, 3, 32, 32)
    with torch.no_grad():
        assert model.imagine(context, 30).frames.shape == (1, 30, 3, 32, 32)
        primed = model.primed(context)
        assert primed is not None
        assert primed.shape == (1, 29, 3, 32, 32)
        # what was expected of the last frame is what follows the ones before it
        torch.nn.init.normal_(model.head.weight, std=0.1)
        primed = model.primed(context)
        assert primed is not None
        outright = primed[:, -1]
        before = model.imagine(context[:, :-1], 1).frames[:, 0]
        decoded = model.decode(model.encode(context[:, -2])[0])
        torch.testing.assert_close(outright - decoded, before - context[:, -2], atol=1e-5, rtol=1e-5)


def test_encode_and_decode_keep_leading_dimensions() -> None:
    model = built({"latent_size": 7}, dataclasses.replace(TASK, height=36, width=28)).eval()
    frames = torch.rand(2, 3, 3, 36, 28)
    mean, log_variance = model.encode(frames)
    assert mean.shape == log_variance.shape == (2, 3, 7)
    assert model.decode(mean).shape == frames.shape
    torch.testing.assert_close(model.decode(mean), model.reconstruct(frames))
    torch.testing.assert_close(model.reconstruct(frames[0, 0]), model.reconstruct(frames)[0, 0])


def test_kl_divergence_is_torch_s() -> None:
    mean, log_variance, other_mean, other = torch.randn(4, 3, 5)
    p = distributions.Normal(mean, torch.exp(log_variance / 2))
    q = distributions.Normal(other_mean, torch.exp(other / 2))
    torch.testing.assert_close(kl_divergence(mean, log_variance, other_mean, other), distributions.kl_divergence(p, q))


def test_a_mixture_s_likelihood_and_mean_are_torch_s() -> None:
    belief = Belief(torch.randn(3, 4), torch.randn(3, 4, 6), torch.randn(3, 4, 6))
    parts = distributions.Independent(distributions.Normal(belief.means, torch.exp(belief.log_variances / 2)), 1)
    mixture = distributions.MixtureSameFamily(distributions.Categorical(logits=belief.logits), parts)
    latent = torch.randn(3, 6)
    torch.testing.assert_close(belief.log_likelihood(latent), mixture.log_prob(latent))
    torch.testing.assert_close(belief.mean, mixture.mean)


def test_latent_losses_are_what_they_say() -> None:
    frames = squares()
    for head in ("point", "gaussian", "mdn"):
        model = built({"head": head}).eval()
        torch.nn.init.normal_(model.head.weight, std=0.1)
        mean, log_variance = model.encode(frames)
        believed, _ = model._believe(mean[:, :-1])
        expected = {
            "point": (believed.mean - mean[:, 1:]).square().mean(),
            "gaussian": distributions.kl_divergence(
                distributions.Normal(mean[:, 1:], torch.exp(log_variance[:, 1:] / 2)),
                distributions.Normal(believed.means[:, :, 0], torch.exp(believed.log_variances[:, :, 0] / 2)),
            ).mean(),
            "mdn": -believed.log_likelihood(mean[:, 1:]).mean() / 32,
        }
        torch.testing.assert_close(model.latent_loss(frames), expected[head])


def test_latent_difference_is_added_to_the_latent() -> None:
    torch.manual_seed(0)
    absolute, difference = (built({"latent": kind}).eval() for kind in ("absolute", "difference"))
    difference.load_state_dict(absolute.state_dict())
    latents = torch.randn(2, 4, 32)
    outright, added = (model._believe(latents)[0].mean for model in (absolute, difference))
    torch.testing.assert_close(added, latents + outright)


@pytest.mark.parametrize("features", ["none", "conv"])
def test_a_stage_trains_its_parameters_and_no_others(features: str) -> None:
    model = built({"features": features, "head": "mdn"})
    assert model.stages == STAGES[features]
    assert model.latent_size == (256 if features == "conv" else 32)
    batch = batch_of(squares())
    everything = {p for stage in model.stages for p in model.stage_parameters(stage)}
    assert everything == set(model.parameters())
    for stage in model.stages:
        mine = set(model.stage_parameters(stage))
        before = {p: p.detach().clone() for p in model.parameters()}
        train(model, stage, batch, 3)
        for parameter, old in before.items():
            assert torch.equal(parameter, old) == (parameter not in mine)


@pytest.mark.parametrize("head", ["point", "gaussian", "mdn"])
def test_the_latent_stage_leaves_the_autoencoder_without_gradient(head: str) -> None:
    model = built({"head": head})
    model.stage_loss("latent", batch_of(squares())).backward()
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None} == {"lstm", "head"}


@pytest.mark.parametrize("options", [{}, {"head": "gaussian"}, {"head": "mdn"}, {"features": "conv"}])
def test_stages_reconstruct_before_they_predict(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = built({"filters": 8, "hidden": 64, "kl_weight": 0.01} | options)
    batch = batch_of(squares())
    *first, latent = model.stages
    for stage in first:
        train(model, stage, batch, 240)
    frames = torch.cat((batch.context, batch.target), dim=1)
    model.eval()
    still = frames.mean(dim=(0, 1), keepdim=True).expand_as(frames)
    assert F.mse_loss(model.reconstruct(frames), frames) < 0.5 * F.mse_loss(still, frames)
    model.train()
    losses = train(model, latent, batch, 120)
    assert sum(losses[-5:]) / 5 < losses[0] - 0.1 * abs(losses[0])
    copied = F.mse_loss(batch.context[:, -1:], batch.target)
    assert F.mse_loss(model.eval()(batch.context).frames, batch.target) < copied


def test_without_stages_a_batch_is_learned_too() -> None:
    torch.manual_seed(0)
    model = built({})
    batch = batch_of(squares())
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        output = model(batch.context)
        loss = F.mse_loss(output.frames, batch.target) + 0.1 * F.mse_loss(output.auxiliary[0], batch.target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    learned, copied = (F.mse_loss(p, batch.target) for p in (model.eval()(batch.context).frames, batch.context[:, -1:]))
    assert learned < 0.5 * copied


def test_equal_gaussians_part() -> None:
    model = built({"head": "mdn", "mixtures": 3})
    train(model, "latent", batch_of(squares()), 3)
    means = model._believe(model.encode(squares())[0])[0].means
    assert not torch.allclose(means[..., 0, :], means[..., 1, :], atol=1e-5)


@pytest.mark.parametrize(
    ("config", "task", "complaint"),
    [
        ({"variant": "seed"}, TASK, "variant seed is for frames of 64x64, not 32x32: .*variant default"),
        ({"variant": "seed", "hidden": 64}, SIXTYFOUR, "hidden of variant seed is its source's"),
        ({"latent_size": 0}, TASK, "latent_size is 0: give at least 1"),
        ({"kl_weight": -1}, TASK, "kl_weight is -1.0: give at least 0"),
        ({"head": "mnd"}, TASK, "head is 'mnd': give one of point, gaussian, mdn"),
    ],
)
def test_impossible_values_are_named(config: dict[str, object], task: Task, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        zoo.build("vae_lstm", config, task)


def test_other_sizes_and_stages_are_refused_with_a_way_out() -> None:
    model = built({})
    with pytest.raises(UserError, match="built for frames of 32x32, not 40x32: resize them"):
        model(torch.rand(1, 5, 3, 40, 32))
    with pytest.raises(UserError, match="no stage 'features' here: give one of autoencoder, latent"):
        model.stage_loss("features", batch_of(squares()))
