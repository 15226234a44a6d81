"""Losses against plain loops over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from torch import Tensor
from torch.nn import functional as F

from vidpred.errors import UserError
from vidpred.training.losses import GIVEN, LOSSES, adversarial, discriminator, gdl, laplacian, weighted
from vidpred.training.metrics import score


def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 1, 3, 4, 5, generator=generator), torch.rand(2, 1, 3, 4, 5, generator=generator)


def by_hand(name: str, prediction: Tensor, target: Tensor) -> float:
    values = []
    for p, y in zip(prediction.flatten(0, 1).double().tolist(), target.flatten(0, 1).double().tolist(), strict=True):
        if name == "laplacian":
            values.append(laplacian_by_hand(np.array(p) - np.array(y)))
        elif name == "l2_sum":
            values.append(
                sum((a[i][j] - b[i][j]) ** 2 for a, b in zip(p, y, strict=True) for i in range(4) for j in range(5))
            )
        elif name in ("gdl", "gdl_sum"):
            rows, columns = [], []
            for a, b in zip(p, y, strict=True):
                for i in range(4):
                    for j in range(5):
                        if i > 0:
                            rows.append(abs(abs(b[i][j] - b[i - 1][j]) - abs(a[i][j] - a[i - 1][j])))
                        if j > 0:
                            columns.append(abs(abs(b[i][j] - b[i][j - 1]) - abs(a[i][j] - a[i][j - 1])))
            of_rows, of_columns = (len(rows), len(columns)) if name == "gdl" else (1, 1)
            values.append(sum(rows) / of_rows + sum(columns) / of_columns)
        elif name == "perceptual":
            for i in range(4):
                for j in range(5):
                    (r, g, b), (tr, tg, tb) = ([255 * c[i][j] for c in image] for image in (p, y))
                    red = (r + tr) / 2
                    squared = (512 + red) * (r - tr) ** 2 / 256 + 4 * (g - tg) ** 2 + (767 - red) * (b - tb) ** 2 / 256
                    values.append((math.sqrt(squared + 9) - 3) / 255)
        else:
            for a, b in zip(p, y, strict=True):
                for i in range(4):
                    for j in range(5):
                        error = a[i][j] - b[i][j]
                        smooth = math.sqrt(error**2 + (1 / 255) ** 2) - 1 / 255
                        values.append({"l1": abs(error), "mse": error**2, "charbonnier": smooth}[name])
    return sum(values) / len(values)


def laplacian_by_hand(error: np.ndarray) -> float:
    """Of (C, H, W): SciPy's convolution level by level."""
    line = np.array([1, 4, 6, 4, 1]) / 16
    total = 0.0
    for _ in range(5):
        if min(error.shape[1:]) == 1:
            break
        blurred = np.stack([convolve(channel, np.outer(line, line), mode="nearest") for channel in error])
        total += np.abs(error - blurred).mean()
        error = blurred[:, ::2, ::2]
    return float(total + np.abs(error).mean())


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_agrees_with_a_loop_over_pixels(name: str) -> None:
    prediction, target = images()
    assert LOSSES[name](prediction, target).item() == pytest.approx(by_hand(name, prediction, target), rel=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_is_zero_for_the_truth_with_finite_gradient(name: str) -> None:
    _, target = images()
    prediction = target.clone().requires_grad_()
    loss = LOSSES[name](prediction, target)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-8)
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_following_the_gradient_lowers_it(name: str) -> None:
    prediction, target = images()
    prediction.requires_grad_()
    before = LOSSES[name](prediction, target)
    (gradient,) = torch.autograd.grad(before, prediction)
    assert LOSSES[name](prediction - 0.01 * gradient / gradient.norm(), target) < before


def test_perceptual_gradient_is_that_of_the_distance_nearly() -> None:
    prediction, target = (x.double() for x in images())
    shifted = prediction.clone()
    shifted[0, 0, 1, 2, 2] += 1e-4  # green has no part in the weights, so here nothing is left out
    prediction.requires_grad_()
    loss = LOSSES["perceptual"](prediction, target)
    loss.backward()
    assert prediction.grad is not None
    rise = by_hand("perceptual", shifted, target) - by_hand("perceptual", prediction.detach(), target)
    assert prediction.grad[0, 0, 1, 2, 2].item() == pytest.approx(rise / 1e-4, rel=1e-2)


def test_perceptual_stays_finite_far_out_of_range() -> None:
    prediction = torch.full((1, 1, 3, 2, 2), -9.0, requires_grad=True)
    loss = LOSSES["perceptual"](prediction, torch.ones(1, 1, 3, 2, 2))
    loss.backward()
    assert loss.item() > 3
    assert prediction.grad is not None
    assert (prediction.grad < 0).all()


def test_gdl_as_a_sum_is_that_of_the_paper() -> None:
    target = torch.zeros(1, 1, 3, 3)
    prediction = target.clone()
    prediction[0, 0, 1, 1] = 2.0  # four gradients of 2
    assert gdl(prediction, target, reduction="sum").item() == 8
    assert gdl(prediction, target).item() == pytest.approx(2 * 4 / 6)
    both = torch.cat([prediction, target])
    assert gdl(both, torch.zeros_like(both), reduction="sum").item() == 4  # the sum is a frame's


def test_the_blog_s_loss_is_its_metric() -> None:
    prediction, target = images()
    loss = weighted({"l2_sum": 1.0, "gdl_sum": 1.0})(prediction, target)
    assert loss.item() == pytest.approx(score(prediction, target, only=["total_loss"])["total_loss"].mean().item())


def test_laplacian_sees_errors_of_every_size() -> None:
    truth = torch.zeros(1, 3, 64, 64)
    places = torch.arange(64)[:, None] + torch.arange(64)
    fine, coarse = 0.1 - 0.2 * (places % 2).expand_as(truth), torch.full_like(truth, 0.1)
    stripes = 0.1 - 0.2 * (torch.arange(64) // 8 % 2).expand_as(truth)
    assert LOSSES["l1"](fine, truth) == LOSSES["l1"](coarse, truth) == LOSSES["l1"](stripes, truth)
    assert laplacian(fine, truth).item() == pytest.approx(0.1, rel=0.1)  # all of it is in the first level
    assert laplacian(coarse, truth).item() == pytest.approx(0.1)  # in what is left after the last
    assert 0.1 < laplacian(stripes, truth).item() < 0.13  # in several between
    odd = torch.rand(2, 3, 37, 50)
    assert laplacian(odd, torch.zeros_like(odd)).isfinite()


def test_adversarial_losses_by_hand() -> None:
    real, predicted = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0])
    ones, zeros = torch.ones(2), torch.zeros(2)
    cross = F.binary_cross_entropy_with_logits
    torch.testing.assert_close(adversarial(predicted), cross(predicted, ones))
    torch.testing.assert_close(discriminator(real, predicted), (cross(real, ones) + cross(predicted, zeros)) / 2)
    assert discriminator(zeros, zeros).item() == pytest.approx(math.log(2))


def test_both_players_learn_against_each_other() -> None:
    real, predicted = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    discriminator(real, predicted).backward()
    assert real.grad is not None
    assert predicted.grad is not None
    assert (real.grad < 0).all()
    assert (predicted.grad > 0).all()
    predicted.grad = None
    adversarial(predicted).backward()
    assert (predicted.grad < 0).all()
    wild = torch.tensor([-1e4, 1e4])
    assert adversarial(wild).isfinite()


def test_computes_in_float32_under_autocast() -> None:
    prediction, target = images()
    loss = weighted(dict.fromkeys(LOSSES, 1.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = loss(prediction, target)
    assert rough.dtype == torch.float32
    assert torch.equal(rough, loss(prediction, target))


def test_weighted_is_the_weighted_sum() -> None:
    prediction, target = images()
    total = weighted({"l1": 2.0, "gdl": 0.25})(prediction, target)
    assert total.item() == pytest.approx(
        2 * by_hand("l1", prediction, target) + 0.25 * by_hand("gdl", prediction, target), rel=1e-5
    )


def test_what_is_not_of_frames_is_given() -> None:
    prediction, target = images()
    value = torch.tensor(2.0, requires_grad=True)
    loss = weighted({"l1": 1.0, "kl": 0.5, "adversarial": 0.05})
    total = loss(prediction, target, {"kl": value, "adversarial": 3 * value, "other": value})
    total.backward()
    assert total.item() == pytest.approx(by_hand("l1", prediction, target) + 0.5 * 2 + 0.05 * 6)
    assert value.grad is not None
    assert value.grad.item() == pytest.approx(0.5 + 0.15)
    assert not set(GIVEN) & set(LOSSES)
    with pytest.raises(UserError, match=r"this model gives no kl and no adversarial: leave it out of train\.loss"):
        loss(prediction, target)
    with pytest.raises(UserError, match="gives no adversarial"):
        loss(prediction, target, {"kl": value})


def test_unknown_or_no_loss_is_told() -> None:
    with pytest.raises(UserError, match="no loss is called l3: name some of l1, mse"):
        weighted({"l3": 1.0, "l1": 1.0})
    with pytest.raises(UserError, match="loss is empty"):
        weighted({})
