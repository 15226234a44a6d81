"""Losses against plain loops over pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vidpred.errors import UserError
from vidpred.training.losses import LOSSES, weighted


def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 1, 3, 4, 5, generator=generator), torch.rand(2, 1, 3, 4, 5, generator=generator)


def by_hand(name: str, prediction: Tensor, target: Tensor) -> float:
    values = []
    for p, y in zip(prediction.flatten(0, 1).double().tolist(), target.flatten(0, 1).double().tolist(), strict=True):
        if name == "gdl":
            rows, columns = [], []
            for a, b in zip(p, y, strict=True):
                for i in range(4):
                    for j in range(5):
                        if i > 0:
                            rows.append(abs(abs(b[i][j] - b[i - 1][j]) - abs(a[i][j] - a[i - 1][j])))
                        if j > 0:
                            columns.append(abs(abs(b[i][j] - b[i][j - 1]) - abs(a[i][j] - a[i][j - 1])))
            values.append(sum(rows) / len(rows) + sum(columns) / len(columns))
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


def test_unknown_or_no_loss_is_told() -> None:
    with pytest.raises(UserError, match="no loss is called l3: name some of l1, mse"):
        weighted({"l3": 1.0, "l1": 1.0})
    with pytest.raises(UserError, match="loss is empty"):
        weighted({})
