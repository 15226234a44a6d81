"""Metrics against plain loops over pixels, and against scikit-image and torchmetrics."""

from __future__ import annotations

import math
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from skimage.measure import block_reduce, shannon_entropy
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from vidpred.errors import UserError
from vidpred.training import learned
from vidpred.training.figures import (
    FURTHER_HIGHER_IS_BETTER,
    FURTHER_UNITS,
    HIGHER_IS_BETTER,
    UNITS,
    relative_gain,
)
from vidpred.training.metrics import score


def windows(height: int = 20, width: int = 17) -> tuple[Tensor, Tensor]:
    """(2, 3, 3, H, W), a smooth truth and a noisy guess that leaves the range here and there."""
    generator = torch.Generator().manual_seed(0)
    waves = torch.linspace(0, 9, height)[:, None] + torch.linspace(0, 5, width)
    truth = 0.5 + 0.5 * torch.sin(waves + 6 * torch.rand(2, 3, 3, 1, 1, generator=generator))
    return truth + 0.1 * torch.randn(truth.shape, generator=generator), truth


def eight_bits(frames: Tensor) -> np.ndarray:
    """(H, W, 3) as a user would get it, in 0..255."""
    return np.rint(np.clip(frames.permute(1, 2, 0).double().numpy(), 0, 1) * 255)


def loop_over_pixels(prediction: Tensor, target: Tensor) -> dict[str, float]:
    p, y = eight_bits(prediction), eight_bits(target)
    height, width, _ = p.shape
    distances, absolute, squares, rows, columns, sharp, edges = ([] for _ in range(7))
    for i in range(height):
        for j in range(width):
            (r, g, b), (tr, tg, tb) = p[i, j], y[i, j]
            red = (r + tr) / 2
            weighted = (512 + red) * (r - tr) ** 2 / 256 + 4 * (g - tg) ** 2 + (767 - red) * (b - tb) ** 2 / 256
            distances.append(math.sqrt(weighted))
            for c in range(3):
                absolute.append(abs(p[i, j, c] - y[i, j, c]) / 255)
                squares.append(((p[i, j, c] - y[i, j, c]) / 255) ** 2)
                down = [abs(x[i, j, c] - x[i - 1, j, c]) / 255 for x in (p, y)] if i else [0, 0]
                right = [abs(x[i, j, c] - x[i, j - 1, c]) / 255 for x in (p, y)] if j else [0, 0]
                if i:
                    rows.append(abs(down[1] - down[0]))
                if j:
                    columns.append(abs(right[1] - right[0]))
                if i and j:
                    sharp.append(abs(down[1] + right[1] - down[0] - right[0]))
                    edges.append(down[0] + right[0])
    return {
        "perceptual_distance": float(np.mean(distances)),
        "psnr_db": 10 * math.log10(1 / np.mean(squares)),
        "l1": float(np.mean(absolute)),
        "mse": float(np.mean(squares)),
        "gdl": float(np.mean(rows) + np.mean(columns)),
        "sharpness_db": 10 * math.log10(1 / np.mean(sharp)),
        "edge_contrast": float(np.mean(edges)),
    }


def test_metrics_asked_for_by_name_come_in_order_and_the_others_are_as_ever() -> None:
    prediction, target = windows(44, 47)
    names = [*UNITS, *(name for name in FURTHER_UNITS if name != "lpips")]
    found = score(prediction, target, only=reversed(names), last=target[:, 0])
    assert list(found) == names
    assert list(FURTHER_UNITS) == list(FURTHER_HIGHER_IS_BETTER)
    for name, value in score(prediction, target).items():
        assert torch.equal(value, found[name]), name
    for name, value in found.items():
        assert value.shape == (2, 3), name
        assert value.dtype == torch.float64, name
        assert not value[:, 1:].isnan().any(), name


def test_agree_with_a_loop_over_pixels() -> None:
    prediction, target = windows()
    found = score(prediction, target)
    assert list(found) == list(UNITS) == list(HIGHER_IS_BETTER)
    for b in range(2):
        for n in range(3):
            for name, value in loop_over_pixels(prediction[b, n], target[b, n]).items():
                assert found[name][b, n].item() == pytest.approx(value, rel=1e-5), name


def test_psnr_and_ssim_agree_with_scikit_image() -> None:
    prediction, target = windows()
    found = score(prediction, target)
    for b in range(2):
        for n in range(3):
            p, y = (eight_bits(x[b, n]) / 255 for x in (prediction, target))
            assert found["psnr_db"][b, n].item() == pytest.approx(peak_signal_noise_ratio(y, p, data_range=1), rel=1e-6)
            expected = structural_similarity(
                y, p, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=-1
            )
            assert found["ssim"][b, n].item() == pytest.approx(expected, abs=1e-6)


def contrast_and_structure(y: np.ndarray, p: np.ndarray, *, luminance: bool) -> list[float]:
    """Scikit-image's SSIM of each channel; without luminance where its constant outweighs all."""
    return [
        structural_similarity(
            y[..., c], p[..., c], gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1,
            K1=0.01 if luminance else 1e6,
        )
        for c in range(3)
    ]  # fmt: skip


def test_ms_ssim3_is_scikit_image_s_ssim_at_three_scales() -> None:
    prediction, target = windows(50, 45)  # odd sides: a row and a column are left out
    found = score(prediction, target, only=["ms_ssim3"])["ms_ssim3"]
    for b in range(2):
        for n in range(3):
            p, y = (eight_bits(x[b, n]) / 255 for x in (prediction, target))
            product = np.ones(3)
            for scale, weight in enumerate((0.0448, 0.2856, 0.3001)):
                product *= np.array(contrast_and_structure(y, p, luminance=scale == 2)) ** (weight / 0.6305)
                p, y = (block_reduce(x[: len(x) // 2 * 2, : x.shape[1] // 2 * 2], (2, 2, 1), np.mean) for x in (p, y))
            assert found[b, n].item() == pytest.approx(product.mean(), abs=1e-6)
    assert 0.3 < found.mean() < 0.99


def test_ms_ssim3_of_opposites_is_nothing_and_of_small_frames_is_told() -> None:
    ramp = torch.linspace(0, 1, 44).expand(1, 1, 3, 44, 44)
    assert score(1 - ramp, ramp, only=["ms_ssim3"])["ms_ssim3"].item() == 0
    small = torch.rand(1, 1, 3, 43, 60)
    with pytest.raises(UserError, match="frames are 43x60, SSIM at 3 scales needs 44 pixels"):
        score(small, small, only=["ms_ssim3"])


def test_residual_bpp_is_the_entropy_of_each_channel() -> None:
    prediction, target = windows()
    found = score(prediction, target, only=["residual_bpp"])["residual_bpp"]
    for b in range(2):
        for n in range(3):
            residual = eight_bits(target[b, n]) - eight_bits(prediction[b, n])
            expected = sum(shannon_entropy(residual[..., c]) for c in range(3))
            assert found[b, n].item() == pytest.approx(expected, rel=1e-9)


def test_residual_bpp_by_hand() -> None:
    truth = torch.zeros(1, 1, 3, 2, 4)
    guess = truth.clone()
    guess[0, 0, 0] = torch.tensor([[0, 0, 0, 0], [1.0, 1.0, 1.0, 1.0]])  # half and half: 1 bit
    guess[0, 0, 1, 0, :2] = torch.tensor([1 / 255, 2 / 255])  # 6/8, 1/8, 1/8
    bits = score(guess, truth, only=["residual_bpp"])["residual_bpp"].item()
    assert bits == pytest.approx(1 + 0.75 * math.log2(8 / 6) + 2 * 3 / 8)
    assert score(truth, truth, only=["residual_bpp"])["residual_bpp"].item() == 0


def test_capped_share_tells_how_many_frames_are_frozen() -> None:
    _, target = windows()
    guess = target.clone()
    guess[:, 1:] += 0.1
    found = score(guess, target, only=["capped_share", "psnr_db"])
    assert found["capped_share"].tolist() == [[1, 0, 0]] * 2
    assert (found["psnr_db"] == 60).tolist() == [[True, False, False]] * 2


def test_float_metrics_are_of_frames_as_they_were_given() -> None:
    truth = torch.full((1, 1, 3, 12, 12), 0.5)
    found = score(truth + 0.6, truth, only=["l1", "mse_float", "l1_float", "psnr_db_float"])
    assert found["l1"].item() == pytest.approx(127 / 255)
    assert found["l1_float"].item() == pytest.approx(0.6)
    assert found["mse_float"].item() == pytest.approx(0.36)
    assert found["psnr_db_float"].item() == pytest.approx(-10 * math.log10(0.36))


@pytest.fixture
def no_network() -> None:
    learned._network.cache_clear()


@pytest.mark.usefixtures("no_network")
def test_lpips_tells_when_its_weights_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(UserError, match="pretrained weights that vidpred does not bundle"):
        score(*windows(), only=["lpips"])


@pytest.mark.usefixtures("no_network")
def test_lpips_gives_its_network_what_it_was_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class LPIPS(torch.nn.Module):
        def __init__(self, net: str, verbose: bool) -> None:
            super().__init__()
            assert (net, verbose) == ("alex", False)

        def forward(self, p: Tensor, y: Tensor) -> Tensor:
            return (p - y).abs().mean(dim=(1, 2, 3), keepdim=True)

    stand_in = ModuleType("lpips")
    stand_in.LPIPS = LPIPS  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", stand_in)
    found = score(*windows(), only=["lpips", "l1"])
    torch.testing.assert_close(found["lpips"], 2 * found["l1"], atol=1e-6, rtol=0)  # pixels in [-1, 1]
    learned._network.cache_clear()


def test_ssim_agrees_with_torchmetrics_off_the_border() -> None:
    prediction, target = windows()
    p, y = (x.clamp(0, 1).mul(255).round().div(255) for x in (prediction, target))
    _, maps = structural_similarity_index_measure(
        p.flatten(0, 1), y.flatten(0, 1), sigma=1.5, data_range=1.0, reduction="none", return_full_image=True
    )
    inside = maps[..., 5:-5, 5:-5].mean(dim=(1, 2, 3)).view(2, 3)
    torch.testing.assert_close(score(prediction, target)["ssim"].float(), inside, atol=1e-4, rtol=0)


def test_a_grey_error_of_d_levels_is_about_three_d() -> None:
    target = torch.full((1, 1, 3, 12, 12), 100 / 255)
    found = score(target + 10 / 255, target, only=["perceptual_distance", "l1"])
    assert found["perceptual_distance"].item() == pytest.approx(10 * math.sqrt(1279 / 256 + 4), rel=1e-6)
    assert found["l1"].item() == pytest.approx(10 / 255)
    assert set(found) == {"perceptual_distance", "l1"}


def test_the_truth_scores_perfectly() -> None:
    _, target = windows()
    best = {"perceptual_distance": 0, "psnr_db": 60, "ssim": 1, "l1": 0, "mse": 0, "gdl": 0, "sharpness_db": 60}
    found = score(target, target)
    for name, value in best.items():
        torch.testing.assert_close(found[name], torch.full((2, 3), float(value), dtype=torch.float64), msg=name)


def test_what_is_scored_is_what_a_user_gets() -> None:
    _, target = windows()
    on_the_grid = target.mul(255).round().div(255)
    for name, value in score(on_the_grid + 0.4 / 255, on_the_grid).items():
        torch.testing.assert_close(value, score(on_the_grid, on_the_grid)[name], msg=name)
    white = torch.ones(1, 1, 3, 12, 12)
    assert score(7 * white, white)["l1"].item() == 0


def test_is_float32_under_autocast_and_carries_no_gradient() -> None:
    prediction, target = windows()
    exact = score(prediction, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = score(prediction.requires_grad_(), target)
    for name, value in found.items():
        assert torch.equal(value, exact[name])
        assert not value.requires_grad


def test_small_frames_are_told_only_where_ssim_is_wanted() -> None:
    small = torch.rand(1, 2, 3, 10, 30)
    with pytest.raises(UserError, match="frames are 10x30, SSIM's window is 11"):
        score(small, small)
    assert score(small, small, only=["psnr_db"])["psnr_db"].shape == (1, 2)
    edge = torch.rand(1, 2, 3, 11, 11)
    assert score(edge, edge)["ssim"].tolist() == [[pytest.approx(1), pytest.approx(1)]]


def test_shapes_and_names_are_checked() -> None:
    with pytest.raises(ValueError, match="prediction is"):
        score(torch.rand(1, 1, 3, 12, 12), torch.rand(1, 2, 3, 12, 12))
    with pytest.raises(ValueError, match="no metric is called pd"):
        score(torch.rand(1, 1, 3, 12, 12), torch.rand(1, 1, 3, 12, 12), only=["pd"])


def test_metrics_of_moving_pixels_need_the_last_frame() -> None:
    prediction, target = windows()
    with pytest.raises(ValueError, match="pd_moving: give the last frame of the context"):
        score(prediction, target, only=["pd_moving"])
    with pytest.raises(ValueError, match="last is"):
        score(prediction, target, only=["pd_moving"], last=target)


def test_gain_is_a_share_of_the_baseline_and_nothing_where_nothing_moves() -> None:
    assert relative_gain(5.0, 20.0) == 0.75
    assert relative_gain(30.0, 20.0) == -0.5
    assert relative_gain(10.0, 0.0) is None
    assert relative_gain(10.0, 1e-7) is None
