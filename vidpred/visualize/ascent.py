"""What a classifier would like to see: gradient ascent on a clip, and on optical flow where it takes some.

After Simonyan et al. 2014 (arXiv 1312.6034), for two streams after Feichtenhofer et al. 2018 (arXiv 1801.01415): how
much the input may vary from pixel to pixel and from moment to moment is held apart, so that slow and fast motion show
separately. So that a clip means something to other models too, it is drawn as waves of which low ones move first
(`canvas.py`), and judged shifted, scaled and noisy (Olah et al. 2017, distill.pub/2017/feature-visualization), turned
as in training (`turns.py`), by a model that is a little off in every step.

In: a classifier and the numbers of classes. Out: a `Found` each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vidpred.types import Classifier, Task, to_float, to_uint8
from vidpred.visualize.canvas import Canvas, View, draw_view
from vidpred.visualize.streams import differentiable, disturbed, log_odds, parts
from vidpred.visualize.turns import Turns

MOST_AT_ONCE = 8
"""Classes whose clips are found together."""


@dataclass(frozen=True)
class Ascent:
    """How a clip is looked for."""

    steps: int = 256
    """Of Adam."""
    motion: Literal["slow", "free"] = "free"
    """`slow`: change from moment to moment costs, of flow where the model takes it, else of frames."""
    seed: int = 0
    """Of the noise it starts from, of the copies, and of how the model is off."""
    learning_rate: float = 0.05
    """Of Adam, falling to nothing by a cosine."""
    views: int = 3
    """Shifted and scaled copies of each clip that are judged in a step."""
    shift: float = 0.2
    """Share of a frame's side by which copies are shifted at the most."""
    scale: float = 0.2
    """By which share they are larger or smaller at the most."""
    noise: float = 0.15
    """Deviation of the noise on copies, in units of full scale."""
    disturb: float = 0.2
    """Share of its size by which every weight is off, another way in every step."""
    enough: float = 20.0
    """Log-odds of the class beyond which more is worth less and less."""
    smooth: float = 40.0
    """Weight of the total variation in space: the mean difference of neighbouring pixels, in units of full scale."""
    pull: float = 30.0
    """Weight of the mean square distance from what it starts from: grey, no motion, or a clip."""
    slowness: float = 40.0
    """Weight of the mean difference of neighbouring moments where `motion` is `slow`."""


@dataclass(frozen=True)
class Found:
    """What speaks most for a class."""

    label: str
    clip: np.ndarray
    """uint8 (T, H, W, 3); moments that the model does not look at repeat the nearest that it does."""
    flow: np.ndarray | None
    """float32 (T-1, 2, H, W) in pixels, as `Batch.flow`: back to where things were; None: the model takes none."""
    seen: tuple[int, ...]
    """Moments of the clip that the model looks at."""
    believed: float
    """By the model itself, of the class."""
    answer: str
    """The class that it takes it for."""

    @property
    def going(self) -> tuple[float, float] | None:
        """Mean (dx, dy) of the flow the way things go, in pixels a frame: left and up are negative."""
        return None if self.flow is None else (float(-self.flow[:, 0].mean()), float(-self.flow[:, 1].mean()))


def ascend(
    model: Classifier,
    task: Task,
    classes: Sequence[int],
    how: Ascent,
    *,
    start: np.ndarray | None = None,
    start_flow: np.ndarray | None = None,
    turns: Turns | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> list[Found]:
    """For each class the clip, and the flow, that the model finds most like it.

    Args:
        model: On the device where to compute; is left as it is.
        task: What it was trained for.
        classes: Places in `task.classes`.
        how: See `Ascent`.
        start: uint8 (T, H, W, 3) to start from; None: faint noise on grey.
        start_flow: float32 (T-1, 2, H, W) of `start`; None: faint noise.
        turns: How copies are turned; None: not at all.
        on_step: Called after every step of every `MOST_AT_ONCE` classes.

    Returns:
        In the order of `classes`; the same for the same seed, whichever classes are asked for together but for the
        rounding of sums.
    """
    found: list[Found] = []
    with differentiable(model):
        for first in range(0, len(classes), MOST_AT_ONCE):
            some = list(classes[first : first + MOST_AT_ONCE])
            found += _Search(model, task, some, how, start, start_flow, turns).run(on_step)
    return found


def rounds(classes: int, how: Ascent) -> int:
    """How often `ascend` calls `on_step`."""
    return how.steps * -(-classes // MOST_AT_ONCE)


class _Search:
    """Of a few classes at once."""

    def __init__(
        self,
        model: Classifier,
        task: Task,
        classes: list[int],
        how: Ascent,
        start: np.ndarray | None,
        start_flow: np.ndarray | None,
        turns: Turns | None,
    ) -> None:
        self.model, self.task, self.classes, self.how = model, task, classes, how
        self.device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
        self.turns = turns or Turns(len(task.classes))
        self.draw = torch.Generator().manual_seed(how.seed)
        self.fastest = max(task.height, task.width) / 16
        """Pixels a frame that are full scale of flow."""
        frames = torch.full((1, task.context, task.channels, task.height, task.width), 0.5)
        if start is not None:
            frames = to_float(torch.from_numpy(start))[None]
        self.clip = self._canvas(frames, of_flow=False, still=start is not None)
        self.flow: Canvas | None = None
        if model.needs_flow:
            fields = torch.zeros(1, task.context - 1, 2, task.height, task.width)
            if start_flow is not None:
                fields = torch.from_numpy(start_flow)[None] / self.fastest
            self.flow = self._canvas(fields, of_flow=True, still=start is not None)
        self.seen = self._looked_at()

    def run(self, on_step: Callable[[], None]) -> list[Found]:
        waves = [canvas.waves for canvas in (self.clip, self.flow) if canvas is not None]
        optimiser = torch.optim.Adam(waves, lr=self.how.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.how.steps)
        for _ in range(self.how.steps):
            # weights are put back only after the way back through them
            with disturbed(self.model, self.how.disturb, self.draw):
                optimiser.zero_grad()
                self._loss().backward()
            optimiser.step()
            schedule.step()
            on_step()
        return self._found()

    def _canvas(self, base: Tensor, *, of_flow: bool, still: bool) -> Canvas:
        margin = int(np.ceil(max(base.shape[-2:]) * (self.how.shift + self.how.scale / 2)))
        return Canvas(
            base.to(self.device), len(self.classes), margin=margin, of_flow=of_flow,
            noise=0.0 if still else _NOISE, draw=self.draw,
        )  # fmt: skip

    def _loss(self) -> Tensor:
        """The sum over classes; alike in scale whatever else is looked for."""
        how = self.how
        view = draw_view(how.views, shift=how.shift, scale=how.scale, draw=self.draw)
        shown = self._shown()
        turned = [self.turns.draw(self.draw) for _ in range(how.views)]
        copies = self._copies(self.clip, shown, view)
        copies = torch.cat([turn.clip(some) for turn, some in zip(turned, copies.chunk(how.views), strict=True)])
        cost = how.smooth * _rough(shown) + how.pull * _away(shown, self.clip.base)
        moved = self.flow.drawn() if self.flow is not None else None
        flow = None
        if self.flow is not None and moved is not None:
            # flow grows and shrinks with what it moves
            larger = view.larger.to(self.device).repeat_interleave(len(shown)).reshape(-1, 1, 1, 1, 1)
            flow = self._copies(self.flow, moved, view) * larger * self.fastest
            flow = torch.cat([turn.flow(some) for turn, some in zip(turned, flow.chunk(how.views), strict=True)])
            cost = cost + how.smooth * _rough(moved) + how.pull * _away(moved, self.flow.base)
        if how.motion == "slow":
            cost = cost + how.slowness * (shown if moved is None else moved).diff(dim=1).abs().mean(dim=(1, 2, 3, 4))
        odds = self._odds(copies, flow, np.concatenate([turn.becomes[self.classes] for turn in turned]))
        return F.softplus(how.enough - odds).sum() / how.views + cost.sum()

    def _copies(self, canvas: Canvas, fields: Tensor, view: View) -> Tensor:
        """(views·N, …) of a canvas' fields, with noise that is alike for all classes."""
        seen = canvas.seen(fields, view)
        noise = torch.randn(self.how.views, 1, *seen.shape[1:], generator=self.draw)
        return seen + self.how.noise * noise.expand(-1, len(fields), *noise.shape[2:]).flatten(0, 1).to(self.device)

    def _odds(self, clip: Tensor, flow: Tensor | None, classes: Sequence[int] | np.ndarray) -> Tensor:
        """(B,), the mean over the model's parts."""
        wanted = torch.as_tensor(np.asarray(classes), device=self.device)
        return torch.stack([log_odds(logits, wanted) for logits in parts(self.model, clip, flow)]).mean(dim=0)

    def _shown(self) -> Tensor:
        """The clip, of which every moment is the nearest one that the model looks at."""
        frames = self.clip.drawn()
        if len(self.seen) == frames.shape[1]:
            return frames
        return frames[:, [min(self.seen, key=lambda one: abs(one - at)) for at in range(frames.shape[1])]]

    def _looked_at(self) -> tuple[int, ...]:
        """Moments that the scores depend on."""
        frames = self.clip.cut(self.clip.drawn().detach()).requires_grad_(True)
        flow = None if self.flow is None else self.flow.cut(self.flow.drawn().detach()) * self.fastest
        (slope,) = torch.autograd.grad(self._odds(frames, flow, self.classes).sum(), frames)
        felt = slope.abs().amax(dim=(0, 2, 3, 4)) > 0
        return tuple(int(moment) for moment in felt.nonzero()[:, 0]) or tuple(range(frames.shape[1]))

    @torch.no_grad()
    def _found(self) -> list[Found]:
        frames = to_uint8(self.clip.cut(self._shown())).movedim(2, -1)
        flow = None if self.flow is None else self.flow.cut(self.flow.drawn()) * self.fastest
        believed = self.model(to_float(frames), flow).logits.softmax(dim=1)
        return [
            Found(
                label=self.task.classes[number],
                clip=frames[i].cpu().numpy(),
                flow=None if flow is None else flow[i].cpu().numpy(),
                seen=self.seen,
                believed=float(believed[i, number]),
                answer=self.task.classes[int(believed[i].argmax())],
            )
            for i, number in enumerate(self.classes)
        ]


_NOISE = 0.05
"""Deviation of the noise that is started from, in units of full scale."""


def _rough(fields: Tensor) -> Tensor:
    """Mean difference of neighbouring pixels, down and across: (N,)."""
    return sum((fields.diff(dim=axis).abs().mean(dim=(1, 2, 3, 4)) for axis in (-1, -2)), fields.new_zeros(()))


def _away(fields: Tensor, base: Tensor) -> Tensor:
    """Mean square distance: (N,)."""
    return (fields - base).square().mean(dim=(1, 2, 3, 4))
