"""Metrics of the pixels that move, against loops and scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from skimage.metrics import structural_similarity
from torch import Tensor

from vidpred.training.metrics import score

NAMES = ["pd_moving", "psnr_moving_db", "ssim_moving", "moving_share"]


def square(shift: int = 0, *, shade: float = 1.0) -> Tensor:
    """(1, 1, 3, 24, 30): a bright square of 6x6 on grey."""
    frame = torch.full((1, 1, 3, 24, 30), 0.4)
    frame[..., 9:15, 8 + shift : 14 + shift] = shade
    return frame


def test_moving_pixels_are_the_changed_ones_and_three_around_them() -> None:
    share = score(square(), square(4), only=["moving_share"], last=square()[:, 0])["moving_share"].item()
    # columns 8 to 11 and 14 to 17 of rows 9 to 14 change; with the margin rows 6 to 17, columns 5 to 20
    assert share == pytest.approx(12 * 16 / (24 * 30))


def test_a_change_of_ten_levels_does_not_count_and_one_of_eleven_in_any_channel_does() -> None:
    last = torch.full((1, 3, 12, 12), 100 / 255)
    for levels, expected in ((10, 0.0), (11, 49 / 144)):
        target = last[:, None].clone()
        target[0, 0, 2, 5, 5] += levels / 255
        assert score(target, target, only=["moving_share"], last=last)["moving_share"].item() == expected


def test_agree_with_loops_and_scikit_image() -> None:
    generator = torch.Generator().manual_seed(0)
    last = torch.rand(2, 3, 26, 31, generator=generator)
    target = last[:, None].repeat(1, 3, 1, 1, 1)
    for n, (row, column) in enumerate(((6, 7), (12, 20), (20, 25))):
        target[:, n, :, row : row + 3, column] = torch.rand(2, 3, 3, generator=generator)
    prediction = target + 0.1 * torch.randn(target.shape, generator=generator)
    found = score(prediction, target, only=NAMES, last=last)
    for b in range(2):
        before = np.rint(last[b].permute(1, 2, 0).numpy() * 255)
        for n in range(3):
            p, y = (np.rint(np.clip(x[b, n].permute(1, 2, 0).numpy(), 0, 1) * 255) for x in (prediction, target))
            moving = binary_dilation(np.abs(y - before).max(axis=-1) > 0.04 * 255, np.ones((7, 7)))
            assert 0.02 < moving.mean() < 0.2
            distances, squares = [], []
            for i, j in zip(*np.nonzero(moving), strict=True):
                (r, g, b_), (tr, tg, tb) = p[i, j], y[i, j]
                red = (r + tr) / 2
                weighted = (512 + red) * (r - tr) ** 2 / 256 + 4 * (g - tg) ** 2 + (767 - red) * (b_ - tb) ** 2 / 256
                distances.append(math.sqrt(weighted))
                squares.append(np.mean((p[i, j] - y[i, j]) ** 2) / 255**2)
            _, maps = structural_similarity(
                y / 255, p / 255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1,
                channel_axis=-1, full=True,
            )  # fmt: skip
            similar = maps.mean(axis=-1)[5:-5, 5:-5][moving[5:-5, 5:-5]].mean()
            expected = [np.mean(distances), -10 * math.log10(np.mean(squares)), similar, moving.mean()]
            for name, value in zip(NAMES, expected, strict=True):
                assert found[name][b, n].item() == pytest.approx(value, rel=1e-5), name


def test_what_does_not_move_does_not_count() -> None:
    last, target = square()[:, 0], square(4)
    wrong = target.clone()
    wrong[..., :5, :] = 0  # far from the square
    found = score(wrong, target, only=["pd_moving", "psnr_moving_db", "perceptual_distance"], last=last)
    assert found["pd_moving"].item() == 0
    assert found["psnr_moving_db"].item() == 60
    assert found["perceptual_distance"].item() > 10


def test_where_nothing_moves_there_is_no_figure() -> None:
    still = square()
    found = score(still + 0.1, still, only=NAMES, last=still[:, 0])
    assert found["moving_share"].item() == 0
    assert all(found[name].isnan().all() for name in NAMES[:3])
