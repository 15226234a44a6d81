"""The flagship's promises: it starts as copying, in any precision, and motion is what it learns."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.blocks.correlation import expected_flow, matching_cost
from vidpred.types import Task, to_uint8

TASK = Task(context=5, horizon=1, height=32, width=32)


def texture(height: int, width: int) -> Tensor:
    return F.interpolate(torch.rand(1, 3, height // 4, width // 4), size=(height, width), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("size", [(32, 32), (48, 40), (37, 51)])
@pytest.mark.parametrize("autocast", [False, True])
def test_untrained_it_is_copy_last(size: tuple[int, int], autocast: bool) -> None:
    model = zoo.build("warpmix", {"width": 8}, TASK).eval()
    context = torch.rand(2, 5, 3, *size)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        frame = model(context).frames[:, 0]
    assert frame.dtype == torch.float32
    assert torch.equal(to_uint8(frame), to_uint8(context[:, -1]))
    assert (frame - context[:, -1]).abs().max() < 1e-6


def test_the_warps_do_not_stay_equal() -> None:
    model = zoo.build("warpmix", {"width": 8, "warps": 3}, TASK).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    context, target = torch.rand(2, 5, 3, 32, 32), torch.rand(2, 3, 32, 32)
    for _ in range(3):
        optimizer.zero_grad()
        (model(context).frames[:, 0] - target).abs().mean().backward()
        optimizer.step()
    one, two, _ = model.get_submodule("flow").weight.detach().view(4, 6, 16)[:3]
    assert not torch.allclose(one, two)


def test_matching_costs_find_a_displacement() -> None:
    earlier = texture(48, 48)
    later = earlier.roll((2, -3), dims=(2, 3))  # what was at p + (3, -2) is now at p
    flow = expected_flow(matching_cost(later, earlier, radius=4), radius=4)
    inside = flow[0, :, 8:-8, 8:-8].mean(dim=(1, 2))
    assert inside.tolist() == pytest.approx([3, -2], abs=0.2)


def test_a_context_too_short_for_its_frames_is_refused() -> None:
    with pytest.raises(UserError, match=r"looks at 3 frames but the context has 2"):
        zoo.build("warpmix", {}, Task(context=2, horizon=1, height=32, width=32))
