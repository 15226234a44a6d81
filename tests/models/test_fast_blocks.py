"""What is written for speed computes what the textbook has: values, and the gradients that are worked out by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.models.blocks.depthwise import Depthwise
from vidpred.models.blocks.recurrent import ConvLSTM


@pytest.mark.parametrize("size", [(16, 16), (9, 14), (3, 2)])
@pytest.mark.parametrize(("kernel", "dilation"), [(7, 3), (5, 1), (3, 1), (3, 3)])
def test_depthwise_is_torch_s_grouped_convolution(size: tuple[int, int], kernel: int, dilation: int) -> None:
    conv = Depthwise(6, kernel, dilation=dilation).double()
    x = torch.rand(2, 6, *size, dtype=torch.float64, requires_grad=True)
    inputs = [x, *conv.parameters()]
    ours = conv(x)
    theirs = F.conv2d(x, conv.weight, conv.bias, padding=conv.padding, dilation=dilation, groups=6)  # type: ignore[arg-type]
    torch.testing.assert_close(ours, theirs)
    grad = torch.rand_like(ours)
    torch.testing.assert_close(torch.autograd.grad(ours, inputs, grad), torch.autograd.grad(theirs, inputs, grad))


def test_depthwise_under_autocast_is_near() -> None:
    conv = Depthwise(6, 7, dilation=3)
    x = torch.rand(2, 6, 16, 16)
    grads = []
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
            made = conv(x.to(dtype))
        assert made.dtype == dtype
        grads.append(torch.autograd.grad(made.float().square().sum(), list(conv.parameters())))
    for wide, narrow in zip(*grads, strict=True):
        assert narrow.dtype == torch.float32
        torch.testing.assert_close(narrow, wide, rtol=0.05, atol=0.05 * wide.abs().max().item())


def textbook(cell: ConvLSTM, sequence: list[Tensor]) -> list[Tensor]:
    """Shi et al. 2015 with the gates in the order input, forget, candidate, output."""
    batch, _, height, width = sequence[0].shape
    hidden = c = sequence[0].new_zeros(batch, cell.filters, height, width)
    states = []
    for frame in sequence:
        i, f, g, o = cell.gates(torch.cat((frame, hidden), dim=1)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(c)
        states.append(hidden)
    return states


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("length", [1, 4])
def test_convlstm_is_the_textbook_s(kernel: int, length: int) -> None:
    cell = ConvLSTM(3, 4, kernel).double()
    nn.init.normal_(cell.gates.weight, std=0.5)
    sequence = [torch.rand(2, 3, 7, 6, dtype=torch.float64, requires_grad=True) for _ in range(length)]
    inputs = [*sequence, *cell.parameters()]
    ours, theirs = cell(sequence), textbook(cell, sequence)
    torch.testing.assert_close(ours, theirs)
    grads = [torch.rand_like(state) for state in ours]
    torch.testing.assert_close(torch.autograd.grad(ours, inputs, grads), torch.autograd.grad(theirs, inputs, grads))


def test_convlstm_under_autocast_is_near_and_keeps_float32() -> None:
    cell = ConvLSTM(3, 4, 3)
    sequence = list(torch.rand(5, 2, 3, 8, 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = cell(sequence)
    assert states[-1].dtype == torch.float32
    torch.testing.assert_close(states, textbook(cell, sequence), rtol=0, atol=0.02)
    states[-1].sum().backward()
    assert cell.gates.weight.grad is not None
    assert cell.gates.weight.grad.dtype == torch.float32
