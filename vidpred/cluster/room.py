"""How many trials fit on the cluster, and what part of a GPU each takes."""

from __future__ import annotations

import logging
import time

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vidpred.cluster.contract import Point, Search

log = logging.getLogger(__name__)

_COUNT_SECONDS = 5
_ASK_SECONDS = 60
_MOST_PER_GPU = 8


class Room:
    """On the cluster that is connected.

    Args:
        search: What its trials take.
    """

    def __init__(self, search: Search) -> None:
        self._search = search
        self._known, self._until = 0, 0.0
        self._has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        by_need = search.gpus_per_trial is None and search.gpu_bytes is not None and self._has_gpus
        self._gpu_bytes = _smallest_gpu() if by_need else None

    def __call__(self) -> int | None:
        """How many trials may be open at once; None: all."""
        search = self._search
        if search.scheduler in ("pbt", "pb2"):  # they wait for each other, and free what they took while they do
            return None
        if (now := time.monotonic()) >= self._until:
            self._known, self._until = self._fits(), now + _COUNT_SECONDS
        if search.workers_per_trial > 1:
            # more would start, and then wait for each other's CPUs for good
            return min(self._known, search.trials_at_once or self._known)
        return search.trials_at_once or self._known

    def gpus(self, point: Point) -> float:
        """What a trial, or each of its workers, takes."""
        search = self._search
        if search.gpus_per_trial is not None:
            return search.gpus_per_trial
        if not self._has_gpus or self._gpu_bytes is None or search.gpu_bytes is None:
            return float(self._has_gpus)
        return part_of(self._gpu_bytes, search.gpu_bytes(point))

    def _fits(self) -> int:
        there = ray.cluster_resources()
        room = [there.get("CPU", 0) / self._search.cpus_per_trial]
        if self._search.gpus_per_trial:
            room.append(there.get("GPU", 0) / self._search.gpus_per_trial)
        elif self._search.gpus_per_trial is None and self._has_gpus and self._gpu_bytes is None:
            room.append(there.get("GPU", 0))
        return max(1, int(min(room)) // self._search.workers_per_trial)


def part_of(there: int, needed: int) -> float:
    """The part of a GPU for a trial: one in as many as fit, at most 8; a whole one where none would.

    Args:
        there: Bytes of its memory.
        needed: Bytes that a trial takes.
    """
    return 1 / min(_MOST_PER_GPU, max(1, there // max(1, needed)))


def _smallest_gpu() -> int | None:
    """Bytes of the smallest GPU of the cluster; None: nobody answered."""
    asked = ray.remote(num_cpus=0, num_gpus=0.01)(_bytes_here)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) > 0]
    answers = [
        asked.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote() for node in nodes
    ]
    try:
        return min(ray.get(answers, timeout=_ASK_SECONDS))
    except (ray.exceptions.RayError, ValueError) as error:
        log.warning("the memory of the GPUs is unknown (%s): each trial takes a whole one", error)
        return None


def _bytes_here() -> int:
    import torch

    return min(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count()))
