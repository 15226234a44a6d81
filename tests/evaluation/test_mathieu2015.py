"""The protocol "UCF-101 in print", against the authors' formulas written out pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torch import Tensor

from vidpred.evaluation.mathieu2015 import UNITS, flow_colours, means, score_clips


def clips(height: int = 14, width: int = 18) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two clips: context, prediction, target, and flow images in which about half of the pixels move."""
    generator = torch.Generator().manual_seed(0)
    context = torch.rand(2, 4, 3, height, width, generator=generator)
    target = torch.rand(2, 2, 3, height, width, generator=generator)
    prediction = target + 0.1 * torch.randn(target.shape, generator=generator)
    flow_images = 0.1 + 0.9 * torch.rand(target.shape, generator=generator)
    return context, prediction, target, flow_images


def as_in_their_code(prediction: Tensor, target: Tensor, flow_image: Tensor) -> dict[str, float]:
    """Of one step: (3, H, W) each. Pixels in [-1, 1]; the constants and the crops are theirs."""
    p, y = (2 * x.clamp(0, 1).double().numpy() - 1 for x in (prediction, target))
    _, height, width = y.shape
    for j in range(height):
        for k in range(width):
            if not (flow_image[:, j, k] < 0.2).any():
                p[:, j, k] = y[:, j, k] = -1
    squares = sum(float((p[c, j, k] - y[c, j, k]) ** 2) for c in range(3) for j in range(height) for k in range(width))
    error = 128 * 128 * squares / (3 * height * width)

    sharp = 0.0
    for c in range(3):
        for j in range(1, height - 1):
            for k in range(1, width - 1):
                across = [abs(x[c, j, k - 1] - x[c, j, k]) for x in (p, y)]
                down = [abs(x[c, j - 1, k] - x[c, j, k]) for x in (p, y)]
                sharp += abs(across[0] - across[1]) + abs(down[0] - down[1])
    sharp = 128 * 128 * sharp / (3 * height * width)

    luma_p, luma_y = (255 * (np.tensordot([0.299, 0.587, 0.114], x, 1) + 1) / 2 for x in (p, y))
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2

    def blurred(image: np.ndarray) -> np.ndarray:
        return convolve2d(image, window, mode="full")

    mean_p, mean_y = blurred(luma_p), blurred(luma_y)
    variance_p, variance_y = blurred(luma_p**2) - mean_p**2, blurred(luma_y**2) - mean_y**2
    covariance = blurred(luma_p * luma_y) - mean_p * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean_p * mean_y + c1) * (2 * covariance + c2)
    below = (mean_p**2 + mean_y**2 + c1) * (variance_p + variance_y + c2)
    return {
        "psnr_db": 10 * math.log10(255**2 / max(error, 1e-4)),
        "ssim": float((above / below).mean()),
        "sharpness_db": 10 * math.log10(255**2 / max(sharp, 1e-4)),
    }


def test_agrees_with_their_code_written_out() -> None:
    context, prediction, target, flow_images = clips()
    found = score_clips(context, prediction, target, flow_images=flow_images)
    assert list(found) == list(UNITS)
    for b in range(2):
        for step in range(2):
            expected = as_in_their_code(prediction[b, step], target[b, step], flow_images[b, step])
            for name, value in expected.items():
                assert found[name][b, step].item() == pytest.approx(value, rel=1e-9), name


def test_psnr_by_hand() -> None:
    context, _, _, flow_images = clips()
    target = torch.full((2, 2, 3, 14, 18), 0.5)
    found = score_clips(context, target + 0.1, target, flow_images=torch.zeros_like(flow_images))
    assert found["psnr_db"][0, 0].item() == pytest.approx(20 + 20 * math.log10(255 / 256))  # theirs is short by a level
    assert found["sharpness_db"][0, 0].item() == pytest.approx(10 * math.log10(255**2 / 1e-4))


def test_what_does_not_move_is_black_in_both() -> None:
    context, prediction, target, flow_images = clips()
    found = score_clips(context, prediction, target, flow_images=flow_images)
    still = (flow_images >= 0.2).all(dim=2, keepdim=True)
    elsewhere = score_clips(context, prediction + still * 0.5, target - still * 0.5, flow_images=flow_images)
    for name, value in found.items():
        assert torch.equal(value, elsewhere[name])


def test_steps_that_are_all_but_still_are_skipped_one_by_one() -> None:
    context, prediction, target, flow_images = clips()
    flow_images[0, 1] = 1
    found = score_clips(context, prediction, target, flow_images=flow_images)
    for value in found.values():
        assert value.isnan().tolist() == [[False, True], [False, False]]
    first, second = means(found)
    assert (first["step"], first["clips"], second["step"], second["clips"]) == (1, 2, 2, 1)
    assert first["psnr_db"] == pytest.approx(found["psnr_db"][:, 0].mean().item())
    assert second["ssim"] == found["ssim"][1, 1].item()
    nothing = means({name: torch.full((3, 2), torch.nan) for name in UNITS})
    assert nothing[0]["clips"] == 0
    assert math.isnan(nothing[0]["psnr_db"])


def test_a_prediction_of_no_numbers_is_black_and_not_skipped() -> None:
    context, prediction, target, flow_images = clips()
    found = score_clips(context, torch.full_like(prediction, torch.nan), target, flow_images=flow_images)
    black = score_clips(context, torch.zeros_like(prediction), target, flow_images=flow_images)
    assert torch.equal(found["psnr_db"], black["psnr_db"])
    assert found["psnr_db"].isfinite().all()


def test_our_own_flow_images_are_of_the_step_that_is_predicted() -> None:
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(90), indexing="ij")
    texture = 0.5 + 0.2 * torch.sin(rows * 0.5) * torch.cos(columns * 0.4) + 0.2 * torch.sin(rows * 0.2 + columns * 0.3)
    still, moved = texture[:, :80].expand(3, 64, 80), texture[:, 3:83].expand(3, 64, 80)
    context = still.expand(1, 4, 3, 64, 80)
    target = torch.stack([still, moved])[None]  # nothing moves at first, then all by three pixels
    images = flow_colours(context[:, -1], target)
    assert images.shape == target.shape
    assert images[0, 0].min() > 0.9
    moves = (images[0, 1] < 0.2).any(dim=0).float()
    assert moves.mean() > 0.8
    found = score_clips(context, context[:, -2:], target)
    given = score_clips(context, context[:, -2:], target, flow_images=images)
    assert found["psnr_db"].isnan().tolist() == [[True, False]]
    for name, value in found.items():
        torch.testing.assert_close(value, given[name], equal_nan=True)


def test_our_own_flow_images_have_full_colours_where_motion_is_fastest_only() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 1, 8, 24, generator=generator)
    texture = torch.nn.functional.interpolate(noise, (64, 192), mode="bicubic", align_corners=False)[0, 0].clamp(0, 1)
    # the upper half moves by four pixels a step, the lower one by one
    frames = [torch.cat([texture[:32, 20 + 4 * i : 116 + 4 * i], texture[32:, 20 + i : 116 + i]]) for i in range(3)]
    clip = torch.stack(frames)[:, None].expand(3, 3, 64, 96)
    moves = (flow_colours(clip[None, 0], clip[None, 1:]) < 0.2).any(dim=2)[0].float()
    assert moves[:, 4:24, 8:-8].mean() > 0.8
    assert moves[:, 40:].mean() == 0


def test_shapes_are_checked() -> None:
    context, prediction, target, flow_images = clips()
    with pytest.raises(ValueError, match="context is"):
        score_clips(context[:, :3], prediction, target, flow_images=flow_images)
    with pytest.raises(ValueError, match="flow images"):
        score_clips(context, prediction, target, flow_images=flow_images[:, :1])
