"""How the learning rate moves over a run."""

import math


def learning_rate(step: int, *, peak: float, warmup_steps: int, steps: int) -> float:
    """Linear warm-up to `peak`, then a half cosine to zero.

    Args:
        step: From 0; the rate that this step is taken with.
        peak: Rate at the end of warm-up.
        warmup_steps: Steps of warm-up; at most half of the run is spent on it.
        steps: Steps of the whole run.
    """
    warmup = min(warmup_steps, steps // 2)
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))
