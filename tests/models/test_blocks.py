"""The shared parts against what they should compute, by hand."""

from __future__ import annotations

import pytest
import torch

from vidpred.models.blocks.candidates import candidates, past_errors
from vidpred.models.blocks.distance import perceptual_distance_map
from vidpred.models.blocks.pooling import box_blur, halved
from vidpred.models.blocks.warp import warp


def test_warp_moves_by_whole_pixels_and_repeats_the_border() -> None:
    image = torch.arange(30.0).view(1, 1, 5, 6)
    flow = torch.zeros(1, 2, 5, 6)
    torch.testing.assert_close(warp(image, flow), image, atol=1e-4, rtol=0)
    flow[:, 0], flow[:, 1] = 2, -1
    moved = warp(image, flow)
    torch.testing.assert_close(moved[..., 1:, :4], image[..., :4, 2:], atol=1e-4, rtol=0)
    torch.testing.assert_close(moved[..., 1:, 4:], image[..., :4, 5:].expand(1, 1, 4, 2), atol=1e-4, rtol=0)


def test_warp_interpolates_linearly() -> None:
    image = torch.tensor([[0.0, 1.0, 3.0]]).expand(1, 1, 3, 3)
    flow = torch.tensor([0.25, 0.0]).view(1, 2, 1, 1).expand(1, 2, 3, 3)
    torch.testing.assert_close(warp(image, flow)[0, 0, 1], torch.tensor([0.25, 1.5, 3.0]))


def test_warp_is_float32_under_autocast() -> None:
    torch.manual_seed(0)
    image, flow = torch.rand(2, 3, 40, 200), 3 * torch.randn(2, 2, 40, 200)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = warp(image, flow)
        assert warp(image.bfloat16(), flow.bfloat16()).dtype == torch.float32
    assert torch.equal(rough, warp(image, flow))


def test_warp_s_gradient_tells_where_to_go() -> None:
    image = torch.arange(8.0).expand(1, 1, 8, 8)
    flow = torch.zeros(1, 2, 8, 8, requires_grad=True)
    warp(image, flow)[..., 2:6, 2:6].sum().backward()
    assert flow.grad is not None
    torch.testing.assert_close(flow.grad[0, 0, 2:6, 2:6], torch.ones(4, 4))
    assert not flow.grad[0, 1].any()


def test_candidates_copy_exactly_and_carry_on() -> None:
    frame = torch.arange(6.0).expand(1, 3, 6, 6)
    flow = torch.tensor([-2.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 6, 6)
    copied, half, whole = candidates(frame, flow, (0.0, 0.5, 1.0)).unbind(1)
    assert torch.equal(copied, frame)
    torch.testing.assert_close(half[0, 0, 0], torch.tensor([0.0, 0, 1, 2, 3, 4]))
    torch.testing.assert_close(whole[0, 0, 0], torch.tensor([0.0, 0, 0, 1, 2, 3]))


@pytest.mark.parametrize(("length", "used"), [(2, 0), (3, 1), (4, 2), (6, 2)])
def test_past_errors_are_a_mean_over_the_last_transitions(length: int, used: int) -> None:
    torch.manual_seed(1)
    context, flow = torch.rand(2, length, 3, 8, 8), torch.randn(2, length - 1, 2, 8, 8)
    errors = past_errors(context, flow, (0.0, 1.0))
    assert errors.shape == (2, 2, 8, 8)
    expected = torch.zeros(2, 2, 8, 8)
    for back in range(1, used + 1):
        before, truth, its_flow = context[:, -back - 1], context[:, -back], flow[:, -back - 1]
        for k, guess in enumerate((before, warp(before, its_flow))):
            expected[:, k] += perceptual_distance_map(guess, truth) / used
    torch.testing.assert_close(errors, expected)


@pytest.mark.parametrize("shape", [(1, 3, 2, 2), (2, 5, 64, 96), (1, 1, 18, 34)])
def test_halving_is_average_pooling_to_the_bit_and_has_its_gradient(shape: tuple[int, ...]) -> None:
    maps = torch.randn(shape)
    expected = torch.nn.functional.avg_pool2d(maps, 2)
    assert torch.equal(halved(maps), expected)
    trained = maps.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(halved(trained).sum(), trained)
    assert torch.equal(gradient, torch.full(shape, 0.25))
    assert torch.equal(halved(trained), expected)


def test_box_blur_takes_the_mean_of_the_pixels_there_are() -> None:
    maps = torch.zeros(1, 1, 5, 5)
    maps[0, 0, 0, 0] = 36
    blurred = box_blur(maps, 1)
    assert blurred[0, 0, :3, :3].tolist() == [[9, 6, 0], [6, 4, 0], [0, 0, 0]]
    assert torch.equal(box_blur(maps, 0), maps)
