"""Which processor a model runs on, and in which precision."""

from __future__ import annotations

import torch

from vidpred.errors import UserError
from vidpred.workspace import cores


def choose_device(wanted: str) -> torch.device:
    """`auto` takes a GPU where there is one.

    Raises:
        UserError: a GPU is asked for and none is there.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("resources.device is cuda, but torch sees no GPU: set it to auto, or see `vidpred doctor`")
    return torch.device(wanted)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the processor multiplies in bfloat16, rather than emulating it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """The dtype of autocast: torch.float32 means none."""
    if wanted == "auto":
        return torch.bfloat16 if computes_bfloat16(device) else torch.float32
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


def set_threads(threads: int | None) -> int:
    """Threads of torch on the CPU; None takes one a core. The same number gives the same bits."""
    count = threads or cores()
    torch.set_num_threads(count)
    return count
