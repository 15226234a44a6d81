"""Guesses at the next frame by optical flow, and how well each would have predicted the frames just seen."""

from __future__ import annotations

import torch
from torch import Tensor

from vidpred.models.blocks.distance import perceptual_distance_map
from vidpred.models.blocks.warp import warp


def candidates(frame: Tensor, flow: Tensor, parts: tuple[float, ...]) -> Tensor:
    """The frame carried on by parts of the flow that led to it; a part of 0 copies it bit by bit.

    Args:
        frame: (B, C, H, W).
        flow: (B, 2, H, W) in pixels, from `frame` back to the one before.
        parts: Multiples of the flow, one a candidate.

    Returns:
        (B, len(parts), C, H, W) float32.
    """
    return torch.stack([warp(frame, part * flow) if part else frame.float() for part in parts], dim=1)


def midway_candidates(context: Tensor, flow: Tensor, parts: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Guesses at the frame between two: the mean of both, each carried half the way along parts of the flow.

    Where a guess is right, what is carried from either side agrees: how little it does is the error.

    Args:
        context: (B, 2, C, H, W) in [0, 1].
        flow: (B, 2, H, W) in pixels, from the second frame back to the first.
        parts: Multiples of the flow, one a guess.

    Returns:
        Guesses (B, len(parts), C, H, W) float32 and errors (B, len(parts), H, W) float32 in grey levels.
    """
    halves = tuple(part / 2 for part in parts)
    first, last = candidates(context[:, 0], flow, halves), candidates(context[:, 1], -flow, halves)
    return (first + last) / 2, perceptual_distance_map(first, last)


def past_errors(context: Tensor, flow: Tensor, parts: tuple[float, ...], *, transitions: int = 2) -> Tensor:
    """The perceptual distance, pixel by pixel, that each candidate would have had on the last observed transitions.

    A transition needs a frame, the one before it and the flow between that one and a third; where the context is too
    short for as many as asked, the mean is over those there are, and without any the errors are zero.

    Args:
        context: (B, T, C, H, W) in [0, 1].
        flow: (B, T-1, 2, H, W), as in `Batch.flow`.
        parts: As for `candidates`.
        transitions: How many to look back.

    Returns:
        (B, len(parts), H, W) float32 in grey levels.
    """
    batch, length, _, height, width = context.shape
    found = min(transitions, length - 2)
    errors = torch.zeros(batch, len(parts), height, width, device=context.device)
    for end in range(length - 1, length - 1 - found, -1):
        # flow[:, i] leads from frame i+1 back to frame i
        guesses = candidates(context[:, end - 1], flow[:, end - 2], parts)
        errors = errors + perceptual_distance_map(guesses, context[:, end, None]) / found
    return errors
