"""The figures of other people's tables, against scikit-image and plain sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from vidpred.errors import UserError
from vidpred.training.metrics import score


def windows() -> tuple[Tensor, Tensor]:
    """(2, 2, 3, 9, 12), a prediction that leaves the range, and its truth."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 2, 3, 9, 12, generator=generator)
    return truth + 0.3 * torch.randn(truth.shape, generator=generator), truth


def test_ssim_openstl_is_scikit_image_s_default_at_a_data_range_of_two() -> None:
    prediction, target = windows()
    assert prediction.max() > 1
    found = score(prediction, target, only=["ssim_openstl"])["ssim_openstl"]
    for b in range(2):
        for n in range(2):
            p, y = (x[b, n].permute(1, 2, 0).double().numpy() for x in (prediction, target))
            expected = structural_similarity(p, y, data_range=2, channel_axis=-1)
            assert found[b, n].item() == pytest.approx(expected, abs=1e-9)


def test_sums_are_those_of_numpy() -> None:
    prediction, target = windows()
    names = ["mse_sum", "mae_sum", "l2_sum", "total_loss"]
    found = score(prediction, target, only=names)
    assert list(found) == names
    p, y = (x.double().numpy() for x in (prediction, target))
    error = p - y
    gradients = [np.abs(np.diff(y, axis=a)) - np.abs(np.diff(p, axis=a)) for a in (-2, -1)]
    gdl = sum(np.abs(g).sum(axis=(2, 3, 4)) for g in gradients)
    expected = {
        "mse_sum": (error**2).sum(axis=(2, 3, 4)) / 3,
        "mae_sum": np.abs(error).sum(axis=(2, 3, 4)) / 3,
        "l2_sum": (error**2).sum(axis=(2, 3, 4)),
        "total_loss": (error**2).sum(axis=(2, 3, 4)) + gdl,
    }
    for name in names:
        np.testing.assert_allclose(found[name].numpy(), expected[name], rtol=1e-5, err_msg=name)


def test_digits_stored_in_colour_have_the_sums_of_the_tables() -> None:
    digit = torch.zeros(1, 1, 1, 64, 64)
    digit[..., 10:30, 20:24] = 1
    colour = digit.expand(1, 1, 3, 64, 64)
    found = score(torch.zeros_like(colour), colour, only=["mse_sum", "mae_sum"])
    assert found["mse_sum"].item() == found["mae_sum"].item() == 80
    half = score(0.5 * colour, colour, only=["mse_sum", "mae_sum"])
    assert (half["mse_sum"].item(), half["mae_sum"].item()) == (20, 40)


def test_total_loss_of_one_wrong_pixel_by_hand() -> None:
    truth = torch.zeros(1, 1, 3, 5, 5)
    guess = truth.clone()
    guess[0, 0, 1, 2, 2] = 0.5  # four gradients of a half, and an error of a quarter
    assert score(guess, truth, only=["total_loss"])["total_loss"].item() == pytest.approx(0.25 + 4 * 0.5)


def test_frames_smaller_than_the_window_are_told() -> None:
    small = torch.rand(1, 1, 3, 6, 20)
    with pytest.raises(UserError, match="frames are 6x20, this SSIM's window is 7"):
        score(small, small, only=["ssim_openstl"])
