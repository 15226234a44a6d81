"""One trial on several workers: each trains the same model on its share of every batch (data parallelism).

In: what to do, given the other workers and a reporter. Ray Train starts the workers and connects them by gloo (on GPUs
by NCCL); it starts them again after one broke, from what was last saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vidpred.cluster.clock import Clock, saved, whereabouts
from vidpred.cluster.scratch import scratch
from vidpred.training.peers import Peers

_CLEANER = "PlacementGroupCleanerCallback"


class _Group:
    """The workers of torch's process group."""

    def __init__(self) -> None:
        from torch import distributed

        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()

    def average(self, numbers: Tensor) -> Tensor:
        from torch import distributed

        total = numbers.clone()
        distributed.all_reduce(total)
        return total / self.size


class WorkersReporter:
    """A `Reporter`: all workers report, the first one saves.

    Args:
        rank: Of this worker.
        resume: Path or URI of a checkpoint to go on from, where these workers have not saved one.
        folder: For a copy of it.
    """

    def __init__(self, rank: int, resume: str | None, folder: Path) -> None:
        self._rank, self._resume, self._folder, self._clock = rank, resume, folder, Clock()

    def resume_from(self) -> Path | None:
        from ray import train

        checkpoint = train.get_checkpoint() or (train.Checkpoint(self._resume) if self._resume else None)
        if checkpoint is None:
            return None
        folder = Path(checkpoint.to_directory(self._folder / "resume"))
        self._clock.go_on(folder)
        return folder

    def __call__(self, figures: Mapping[str, Any], save: Callable[[Path], object]) -> None:
        from ray import train

        told = dict(figures) | {"seconds": self._clock.seconds} | whereabouts()
        if self._rank != 0:
            train.report(told)
            return
        with saved(save, self._clock) as folder:
            train.report(told, checkpoint=train.Checkpoint.from_directory(str(folder)))


def run_workers(
    work: Callable[[WorkersReporter, Peers], None],
    *,
    name: str,
    storage: Path,
    workers: int,
    cpus: float,
    gpus: float,
    max_failures: int,
    resume: str | None = None,
) -> None:
    """Runs `work` on every worker at once, inside a trial of Ray Tune, to which the first worker's reports go.

    Args:
        work: Given a reporter and the peers; survives pickling.
        name: Of the trial: workers that were broken off and have this name go on from what was saved.
        storage: Where Ray keeps their state, the same on every machine.
        workers: How many.
        cpus: That Ray sets aside for each.
        gpus: That Ray sets aside for each.
        max_failures: Times that they are started again.
        resume: Path or URI of a checkpoint that they start from.

    Raises:
        ray.train.TrainingFailedError: they broke too often.
    """
    from ray import train
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    class Trainer(TorchTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            # Ray's cleaner of placement groups asks the dashboard, of which there may be none, and would then never
            # end; `orphans.py` does its work
            made: list[Any] = super()._create_default_callbacks()  # type: ignore[misc]  # of its newer Train
            return [each for each in made if type(each).__name__ != _CLEANER]

    def loop() -> None:
        peers = _Group()
        with scratch() as folder:
            work(WorkersReporter(peers.rank, resume, Path(folder)), peers)

    Trainer(
        loop,
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if gpus else "gloo"),
        scaling_config=train.ScalingConfig(
            num_workers=workers, use_gpu=gpus > 0, resources_per_worker={"CPU": cpus} | ({"GPU": gpus} if gpus else {})
        ),
        run_config=train.RunConfig(
            name=name,
            storage_path=str(storage),
            callbacks=[TuneReportCallback()],  # type: ignore[list-item]  # Ray's types are those of its older Train
            failure_config=train.FailureConfig(max_failures=max_failures),
            checkpoint_config=train.CheckpointConfig(num_to_keep=1),
        ),
    ).fit()
