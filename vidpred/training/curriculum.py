"""Which windows each step is trained on: how many frames they ask for, and which part of a batch is whose.

The horizon may grow in the last part of the run: there the model goes on from its own predictions and learns to live
with its own mistakes. (seed, step) decide a batch, whatever came before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from vidpred.config import TrainParams
from vidpred.data.clips import Sample, TrainSampler, prefetched
from vidpred.data.flow_store import Quantised, StoredFlow
from vidpred.data.labels import tables_of
from vidpred.training.data import Data


def horizons(data: Data, params: TrainParams, steps: int) -> list[tuple[int, int, int]]:
    """(horizon, first step, step that it ends before) of each part of a run, in order, without gaps.

    A horizon that no training clip has room for is replaced by the one before it.
    """
    task = data.task
    grows = [params.unroll_steps] if isinstance(params.unroll_steps, int) else params.unroll_steps
    turn = steps - round(steps * params.unroll_share)
    ends = [turn + round((steps - turn) * (i + 1) / len(grows)) for i in range(len(grows))]
    found = [(task.horizon, 0, turn)]
    for wanted, (first, last) in zip(grows, itertools.pairwise([turn, *ends]), strict=True):
        span = (task.context + wanted - 1) * task.interval + 1
        fits = wanted > task.horizon > 0 and not task.between and any(segment.length >= span for segment in data.train)
        found.append((wanted if fits else found[-1][0], first, last))
    return found


def batches(
    data: Data, params: TrainParams, flow: StoredFlow | None, *, first: int, steps: int
) -> Iterator[tuple[int, Sample]]:
    """Batches from a step to the last of a run.

    Args:
        data: What is drawn from.
        params: `train` of params.yaml.
        flow: Read with the windows; None: no flow.
        first: The step to begin with.
        steps: Of the whole run.

    Raises:
        UserError: augmentation would change a class, and nobody says to which.
    """
    labels = data.labels and replace(data.labels, tables=tables_of(params.augment, data.labels.classes))
    for horizon, begin, last in horizons(data, params, steps):
        if last <= first:
            continue
        sampler = TrainSampler(
            data.shards,
            data.train,
            context=data.task.context,
            horizon=horizon,
            interval=data.task.interval,
            between=data.task.between,
            batch_size=params.batch_size,
            seed=params.seed,
            motion_share=params.motion_share,
            augment=params.augment,
            flow=flow,
            labels=labels,
        )
        yield from prefetched(sampler, max(first, begin), last)


def parts(sample: Sample, *, rank: int, workers: int, accumulate: int) -> Iterator[tuple[Sample, float]]:
    """The windows of a batch that one worker takes, in so many goes.

    Yields:
        The windows of a go, and their weight: how many there are for each that a go would have if all goes of all
        workers were equal, divided by the number of goes. So losses times weights add up to a worker's loss, whose mean
        over workers is that of the batch.
    """
    windows = len(sample.frames)
    goes = workers * accumulate
    for go in range(rank * accumulate, (rank + 1) * accumulate):
        mine = slice(windows * go // goes, windows * (go + 1) // goes)
        flow = None if sample.flow is None else Quantised(sample.flow.values[mine], sample.flow.scales[mine])
        labels = None if sample.labels is None else sample.labels[mine]
        yield Sample(sample.frames[mine], flow, labels), (mine.stop - mine.start) * workers / windows
