"""Which processor a model runs on, in which precision, and what the process does with memory."""

from __future__ import annotations

import ctypes
import gc
import os

import torch

from vidpred.errors import UserError
from vidpred.workspace import cores

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`, from its malloc.h."""


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


def keep_memory() -> None:
    """Lets this process keep what a training step frees, for the next one. glibc hands large blocks back to the system,
    and having them anew, page by page, takes a tenth to a quarter of a step on a CPU. Bits stay the same. Does nothing
    with another C library, nor where the environment says what is wanted (`MALLOC_TRIM_THRESHOLD_` and its like)."""
    told = any(name in os.environ for name in ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"))
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS; Windows
        return
    # blocks from the heap, at any size or up to glibc's limit; and then the heap never shrinks
    if not told and (mallopt(_MMAP_THRESHOLD, 1 << 30) or mallopt(_MMAP_THRESHOLD, 1 << 25)):
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def give_back_memory() -> None:
    """Hands back to the system and to the GPU what a training that has ended held and `keep_memory` kept: the next one
    in this process may be of another model, whose tensors do not fit into the holes that this one leaves."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # as above
        return
    trim(0)
