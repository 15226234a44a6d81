"""The device that a person names on a command line."""

from __future__ import annotations

import torch

from vidpred.errors import UserError
from vidpred.training.device import choose_device


def device_of(wanted: str) -> torch.device:
    """`auto` takes a GPU where there is one; else what torch calls a device, such as `cpu` or `cuda:1`.

    Raises:
        UserError: there is none of that name here.
    """
    try:
        if wanted == "auto":
            return choose_device(wanted)
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError, NotImplementedError):  # whichever a build of torch has for it
        raise UserError(f"torch has no device {wanted} here: take auto or cpu, or see `vidpred doctor`") from None
    return torch.device(wanted)
