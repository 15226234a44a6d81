"""Windows and batches for torch.

In: shards and the segments of one part of the split. Out: for training, batches that only (seed, step) decide, so that
a resumed run goes on exactly; for judging, windows in an order that never changes. Frames stay uint8 until they are on
the device, and so does stored flow stay int8.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vidpred.config import Augment, FlowParams, TaskParams
from vidpred.data.augment import UNCHANGED, Change, change_flow, change_frames, draw_changes
from vidpred.data.flow_store import Quantised, StoredFlow
from vidpred.data.labels import Labels, classes_of
from vidpred.data.shards import Shards
from vidpred.data.split import read_split
from vidpred.errors import UserError
from vidpred.types import Batch, Segment, Task, Window, to_float, to_uint8
from vidpred.workspace import cores


def task_of(shards: Shards, task: TaskParams, split: Path | None = None) -> Task:
    """What a model for these shards is asked for.

    Args:
        shards: Of frames.
        task: Of params.yaml.
        split: Folder of the split, whose training part has the classes; needed where `task.kind` is `classify`.

    Raises:
        UserError: as `classes_of`.
    """
    return Task(
        context=task.context,
        horizon=task.ahead,
        height=shards.height,
        width=shards.width,
        interval=task.interval,
        kind=task.kind,
        classes=classes_of(shards, read_split(split, "train")) if task.kind == "classify" and split else (),
    )


def evenly(windows: Sequence[Window], n: int) -> list[Window]:
    """At most `n` of them, evenly spaced, in order."""
    if n >= len(windows):
        return list(windows)
    return [windows[(2 * i + 1) * len(windows) // (2 * n)] for i in range(n)]


def evaluation_windows(
    segments: Sequence[Segment],
    *,
    task: TaskParams,
    per_clip: int | None = None,
    frames: int | None = None,
    step: int | None = None,
) -> list[Window]:
    """Windows one after the other, from the first frame of each segment; always the same, in the same order.

    Args:
        segments: One part of the split.
        task: Decides a window's span.
        per_clip: Windows of a clip at the most, evenly spaced; None takes all.
        frames: Frames that a window holds (context and what follows), for rollouts; None: the task's.
        step: Frames from the start of one to the next; None: a window's span, so that they do not overlap.
    """
    span = task.span if frames is None else (frames - 1) * task.interval + 1
    of_clip: dict[int, list[Window]] = defaultdict(list)
    for segment in sorted(segments, key=lambda s: (s.clip, s.start)):
        starts = range(segment.start, segment.start + segment.length - span + 1, step or span)
        of_clip[segment.clip] += [Window(segment.clip, start) for start in starts]
    return [w for windows in of_clip.values() for w in evenly(windows, len(windows) if per_clip is None else per_clip)]


def read_windows(shards: Shards, windows: Sequence[Window], *, count: int, interval: int = 1) -> np.ndarray:
    """Frames of several windows, copied: uint8 (B, count, H, W, 3)."""
    out = np.empty((len(windows), count, shards.height, shards.width, 3), np.uint8)
    for into, window in zip(out, windows, strict=True):
        into[...] = shards.frames(window.clip, window.start, count, interval)
    return out


def make_batch(
    frames: np.ndarray,
    *,
    context: int,
    between: bool = False,
    device: torch.device | str = "cpu",
    flow: FlowParams | Quantised | None = None,
) -> Batch:
    """Frames on the device, cut into what a model sees and what follows.

    Args:
        frames: uint8 (B, T + horizon, H, W, 3), in the order of time.
        context: T.
        between: Whether every second frame is asked for, from those around it, instead of what follows the first T.
        device: Where to; frames travel as uint8.
        flow: How flow of the context is computed, or flow (B, T-1, 2, H, W) as it was stored; None: no flow.
    """
    if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[-1] != 3 or frames.shape[1] < context:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}, expected uint8 (B, >= {context}, H, W, 3)")
    whole = to_float(_moved(np.ascontiguousarray(frames), device))
    motion: Tensor | None = None
    if isinstance(flow, Quantised):
        scales = _moved(flow.scales, device)
        motion = _moved(flow.values, device).float().mul_(scales[..., None, None, None])
    elif flow is not None:
        motion = _flow(frames[:, ::2] if between else frames[:, :context], flow).to(device)
    if between:
        return Batch(context=whole[:, ::2], target=whole[:, 1::2], flow=motion)
    return Batch(context=whole[:, :context], target=whole[:, context:], flow=motion)


def _moved(array: np.ndarray, device: torch.device | str) -> Tensor:
    """An array on the device; a GPU fetches it while the processor goes on."""
    host = torch.from_numpy(array)
    if torch.device(device).type == "cuda":
        return host.pin_memory().to(device, non_blocking=True)
    return host.to(device)


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


def flow_for(batch: Batch | None, flow: FlowParams) -> Callable[[Tensor], Tensor]:
    """Flow for one rollout: a batch's own where the context is still its own; else computed, but for frames that the
    context before had too, whose flow is known."""
    before: tuple[Tensor, Tensor] | None = None

    def follow(context: Tensor) -> Tensor:
        nonlocal before
        if batch is not None and context is batch.context and batch.flow is not None:
            found = batch.flow
        else:
            found = _gone_on(context, before, flow)
        before = (context.detach(), found)
        return found

    return follow


def _gone_on(context: Tensor, before: tuple[Tensor, Tensor] | None, flow: FlowParams) -> Tensor:
    """Flow of a context, from that of the one before where all but its last frames are the same."""
    if before is not None and before[0].shape == context.shape:
        frames, known = before
        for new in range(1, context.shape[1] - 1):
            if torch.equal(context[:, :-new], frames[:, new:]):
                return torch.cat([known[:, new:], flow_of(context[:, -new - 1 :], flow)], dim=1)
    return flow_of(context, flow)


def _flow(frames: np.ndarray, flow: FlowParams) -> Tensor:
    from vidpred.data.flow import flow_to_previous  # imports cv2, which most models do without

    return torch.from_numpy(
        np.stack([flow_to_previous(window, method=flow.method, preset=flow.preset) for window in frames])
    )


class Sample(NamedTuple):
    """A batch of training windows on the host."""

    frames: np.ndarray
    """uint8 (B, T + horizon, H, W, 3)."""
    flow: Quantised | None
    """Of the context, int8 (B, T-1, 2, H, W), where it is stored and asked for."""
    labels: np.ndarray | None = None
    """int64 (B,): the number of each window's class, once the window is changed; where classes are asked for."""


class TrainSampler:
    """Batches of training windows, at random but stateless: (seed, step) decide everything.

    A share of each batch is drawn evenly over all windows, the rest in proportion to the motion of their clip, so that
    still clips do not fill the training. Frames and their flow are changed alike (`vidpred.data.augment`). Stored flow
    leads back in time only, and by one interval: with it no window is played backwards, and strides stay 1.
    """

    def __init__(
        self,
        shards: Shards,
        segments: Sequence[Segment],
        *,
        context: int,
        horizon: int,
        interval: int = 1,
        between: bool = False,
        batch_size: int,
        seed: int,
        motion_share: float = 0.0,
        augment: Augment | None = None,
        flow: StoredFlow | None = None,
        labels: Labels | None = None,
    ) -> None:
        """Counts the windows.

        Args:
            shards: Where they are read.
            segments: Of the training part.
            context: Frames that the model sees.
            horizon: Frames that follow.
            interval: Distance between two frames.
            between: Whether the model is asked for what lies between its frames: then flow leads back from each of
                them to the one before, over the one between.
            batch_size: Windows of a batch.
            seed: Of the draws.
            motion_share: Share of the windows drawn in proportion to motion.
            augment: Random changes; None: none.
            flow: Read with the windows; None: no flow. At the distance of two context frames.
            labels: Classes, and what augmentation makes of them; None: windows have none.

        Raises:
            ValueError: the flow is for another interval.
            UserError: no segment is long enough for one.
        """
        apart = 2 * interval if between else interval
        if flow is not None and flow.interval != apart:
            raise ValueError(f"the flow leads back {flow.interval} frames, the windows have an interval of {apart}")
        self.count = context + horizon
        self.context = context
        self.interval = interval
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment or UNCHANGED
        self._shards, self._flow, self._labels = shards, flow, labels
        crop = self.augment.crop
        self._size = (shards.height, shards.width) if crop is None else (crop, crop)
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
        """Frames of the batch of a step: uint8 (B, T + horizon, H, W, 3), the same whenever it is asked for."""
        return self.sample(step).frames

    def sample(self, step: int) -> Sample:
        """The batch of a step, the same whenever it is asked for."""
        rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, step], np.uint64)))
        drawn = self._draw(rng)
        shards = self._shards
        changes = draw_changes(
            self.augment,
            rng,
            seed=self.seed,
            step=step,
            count=self.batch_size,
            height=shards.height,
            width=shards.width,
        )
        if self._flow is not None:  # as it is stored
            changes = [change._replace(reverse=False) for change in changes]
        out = np.empty((self.batch_size, self.count, *self._size, 3), np.uint8)
        for into, (segment, start), change in zip(out, drawn, changes, strict=True):
            if self._flow is None:
                first, interval = self._strided(segment, start, change.stride)
            else:
                first, interval = start, self.interval
            frames = shards.frames(segment.clip, segment.start + first, self.count, interval)
            change_frames(frames, change, into)
        flow = None if self._flow is None else self._flow_of(self._flow, drawn, changes)
        if self._labels is None:
            return Sample(out, flow)
        known = [self._labels.after(segment.clip, change) for (segment, _), change in zip(drawn, changes, strict=True)]
        return Sample(out, flow, np.array(known, np.int64))

    def _strided(self, segment: Segment, start: int, draw: float) -> tuple[int, int]:
        """First frame and interval of a window with a random stride, of those that the segment has room for.

        The start keeps its place among the windows that there are, so all parts of a clip are still drawn evenly.
        """
        if self.augment.stride == 1:
            return start, self.interval
        step = (self.count - 1) * self.interval
        fitting = min(self.augment.stride, (segment.length - 1) // step)
        stride = 1 + int(draw * fitting)
        return start * (segment.length - stride * step) // (segment.length - step), stride * self.interval

    def _flow_of(self, flow: StoredFlow, drawn: Sequence[tuple[Segment, int]], changes: Sequence[Change]) -> Quantised:
        """Flow of the contexts of drawn windows, changed as their frames are."""
        fields = (self.batch_size, self.context - 1)
        out = Quantised(np.empty((*fields, 2, *self._size), np.int8), np.empty(fields, np.float32))
        for values, scales, (segment, start), change in zip(*out, drawn, changes, strict=True):
            found = flow.fields(segment.clip, segment.start + start, self.context)
            change_flow(found, change, Quantised(values, scales))
        return out


def prefetched(sampler: TrainSampler, first: int, last: int) -> Iterator[tuple[int, Sample]]:
    """(step, sample) for each step from `first` up to, not including, `last`, read while those before are used.

    Read by one thread, or up to four where there are four cores for each: a GPU takes batches faster than one
    thread scales their frames.
    """
    threads = max(1, min(4, cores() // 4))
    with ThreadPoolExecutor(threads, thread_name_prefix="batches") as pool:
        steps = iter(range(first, last))
        coming = deque((step, pool.submit(sampler.sample, step)) for step in islice(steps, threads))
        while coming:
            step, next_one = coming.popleft()
            sample = next_one.result()
            coming.extend((later, pool.submit(sampler.sample, later)) for later in islice(steps, 1))
            yield step, sample
