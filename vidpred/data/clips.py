"""Windows and batches for torch.

In: shards and the segments of one part of the split. Out: for training, batches that only (seed, step) decide, so that
a resumed run goes on exactly; for judging, windows in an order that never changes. Frames stay uint8 until they are on
the device.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from vidpred.config import Augment, FlowParams, TaskParams
from vidpred.data.shards import Shards
from vidpred.errors import UserError
from vidpred.types import Batch, Segment, Task, Window, to_float, to_uint8

_COLOUR_ORDERS = tuple(permutations(range(3)))


def task_of(shards: Shards, task: TaskParams) -> Task:
    """What a model for these shards is asked for."""
    return Task(
        context=task.context,
        horizon=task.horizon,
        height=shards.height,
        width=shards.width,
        interval=task.interval,
        kind=task.kind,
    )


def evenly(windows: Sequence[Window], n: int) -> list[Window]:
    """At most `n` of them, evenly spaced, in order."""
    if n >= len(windows):
        return list(windows)
    return [windows[(2 * i + 1) * len(windows) // (2 * n)] for i in range(n)]


def evaluation_windows(
    segments: Sequence[Segment], *, task: TaskParams, per_clip: int | None = None, frames: int | None = None
) -> list[Window]:
    """Windows that do not overlap, from the first frame of each segment; always the same, in the same order.

    Args:
        segments: One part of the split.
        task: Decides a window's span.
        per_clip: Windows of a clip at the most, evenly spaced; None takes all.
        frames: Frames that a window holds (context and what follows), for rollouts; None: the task's.
    """
    span = task.span if frames is None else (frames - 1) * task.interval + 1
    of_clip: dict[int, list[Window]] = defaultdict(list)
    for segment in sorted(segments, key=lambda s: (s.clip, s.start)):
        starts = range(segment.start, segment.start + segment.length - span + 1, span)
        of_clip[segment.clip] += [Window(segment.clip, start) for start in starts]
    return [w for windows in of_clip.values() for w in evenly(windows, len(windows) if per_clip is None else per_clip)]


def read_windows(shards: Shards, windows: Sequence[Window], *, count: int, interval: int = 1) -> np.ndarray:
    """Frames of several windows, copied: uint8 (B, count, H, W, 3)."""
    out = np.empty((len(windows), count, shards.height, shards.width, 3), np.uint8)
    for into, window in zip(out, windows, strict=True):
        into[...] = shards.frames(window.clip, window.start, count, interval)
    return out


def make_batch(
    frames: np.ndarray, *, context: int, device: torch.device | str = "cpu", flow: FlowParams | None = None
) -> Batch:
    """Frames on the device, cut into what a model sees and what follows.

    Args:
        frames: uint8 (B, T + horizon, H, W, 3).
        context: T.
        device: Where to; frames travel as uint8.
        flow: How flow of the context is computed; None: not.
    """
    if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[-1] != 3 or frames.shape[1] < context:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}, expected uint8 (B, >= {context}, H, W, 3)")
    moved: Tensor = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
    whole = to_float(moved)
    motion: Tensor | None = None
    if flow is not None:
        motion = _flow(frames[:, :context], flow).to(device)
    return Batch(context=whole[:, :context], target=whole[:, context:], flow=motion)


def flow_of(context: Tensor, flow: FlowParams) -> Tensor:
    """Flow of a context that is already on the device, such as one that holds predicted frames.

    Args:
        context: (B, T, C, H, W) float32 in [0, 1]; no gradient flows through.
        flow: How it is computed.

    Returns:
        (B, T-1, 2, H, W) float32, as `Batch.flow`.
    """
    frames = to_uint8(context.detach()).movedim(-3, -1).cpu().numpy()
    return _flow(frames, flow).to(context.device)


def _flow(frames: np.ndarray, flow: FlowParams) -> Tensor:
    from vidpred.data.flow import flow_to_previous  # imports cv2, which most models do without

    return torch.from_numpy(
        np.stack([flow_to_previous(window, method=flow.method, preset=flow.preset) for window in frames])
    )


class TrainSampler:
    """Batches of training windows, at random but stateless: (seed, step) decide everything.

    A share of each batch is drawn evenly over all windows, the rest in proportion to the motion of their clip, so that
    still clips do not fill the training.
    """

    def __init__(
        self,
        shards: Shards,
        segments: Sequence[Segment],
        *,
        context: int,
        horizon: int,
        interval: int = 1,
        batch_size: int,
        seed: int,
        motion_share: float = 0.0,
        augment: Augment | None = None,
    ) -> None:
        """Counts the windows.

        Raises:
            UserError: no segment is long enough for one.
        """
        self.count = context + horizon
        self.interval = interval
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment or Augment(flip=False, transpose=False, reverse=False, colour=False)
        self._shards = shards
        span = (self.count - 1) * interval + 1
        self._segments = [s for s in segments if s.length >= span]
        if not self._segments:
            longest = max((s.length for s in segments), default=0)
            raise UserError(
                f"no training clip holds a window of {span} frames (the longest has {longest}): "
                "add longer clips, or lower task.context, task.horizon or task.interval"
            )
        windows = np.array([s.length - span + 1 for s in self._segments], np.int64)
        self.windows = int(windows.sum())
        """Windows to draw from, augmentation not counted."""
        motion = np.array([shards.clips[s.clip].motion for s in self._segments])
        self._ends = np.cumsum(windows)
        self._windows = windows
        moving = np.cumsum(windows * motion)
        self._moving = moving / moving[-1] if moving[-1] > 0 else None
        self._by_motion = round(batch_size * motion_share) if self._moving is not None else 0

    def _draw(self, rng: np.random.Generator) -> list[tuple[Segment, int]]:
        """Segment and start of each window of a batch."""
        evens = rng.integers(0, self.windows, self.batch_size - self._by_motion)
        rows = np.searchsorted(self._ends, evens, side="right")
        starts = evens - (self._ends - self._windows)[rows]
        if self._by_motion and self._moving is not None:
            more = np.minimum(
                np.searchsorted(self._moving, rng.random(self._by_motion), side="right"), len(self._ends) - 1
            )
            rows = np.concatenate([rows, more])
            starts = np.concatenate([starts, rng.integers(0, self._windows[more])])
        return [(self._segments[r], int(s)) for r, s in zip(rows, starts, strict=True)]

    def batch(self, step: int) -> np.ndarray:
        """The batch of a step: uint8 (B, T + horizon, H, W, 3), the same whenever it is asked for."""
        rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, step], np.uint64)))
        drawn = self._draw(rng)
        tosses = rng.random((self.batch_size, 4)) < 0.5
        orders = rng.integers(0, len(_COLOUR_ORDERS), self.batch_size)
        shards = self._shards
        out = np.empty((self.batch_size, self.count, shards.height, shards.width, 3), np.uint8)
        for into, (segment, start), toss, order in zip(out, drawn, tosses, orders, strict=True):
            frames = shards.frames(segment.clip, segment.start + start, self.count, self.interval)
            self._change(frames, into, toss, int(order))
        return out

    def _change(self, frames: np.ndarray, into: np.ndarray, toss: np.ndarray, order: int) -> None:
        """Writes a window, changed at random but all its frames alike."""
        augment = self.augment
        if augment.reverse and toss[0]:
            frames = frames[::-1]
        if augment.transpose and toss[1] and frames.shape[1] == frames.shape[2]:
            frames = frames.swapaxes(1, 2)
        if augment.flip:
            frames = frames[:, :: -1 if toss[2] else 1, :: -1 if toss[3] else 1]
        if augment.colour and order:
            for channel, taken in enumerate(_COLOUR_ORDERS[order]):
                into[..., channel] = frames[..., taken]
        else:
            into[...] = frames


def prefetched(sampler: TrainSampler, first: int, last: int) -> Iterator[tuple[int, np.ndarray]]:
    """(step, batch) for each step from `first` up to, not including, `last`, read while the one before is used."""
    if first >= last:
        return
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        coming = pool.submit(sampler.batch, first)
        for step in range(first, last):
            batch = coming.result()
            if step + 1 < last:
                coming = pool.submit(sampler.batch, step + 1)
            yield step, batch
