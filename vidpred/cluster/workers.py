"""One trial on several workers: each trains the same model on its share of every batch (data parallelism).

In: what to do, given the other workers and a reporter. Ray Train starts the workers and connects them by gloo (on GPUs
by NCCL); it starts them again after one broke, from what was last saved.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vidpred.training.peers import Peers


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
    """A `Reporter`: all workers report, the first one saves."""

    def __init__(self, rank: int) -> None:
        self._rank = rank

    def resume_from(self) -> Path | None:
        from ray import train

        checkpoint = train.get_checkpoint()
        return Path(checkpoint.to_directory()) if checkpoint else None

    def __call__(self, figures: Mapping[str, Any], save: Callable[[Path], object]) -> None:
        from ray import train

        if self._rank != 0:
            train.report(dict(figures))
            return
        folder = Path(tempfile.mkdtemp(prefix="vidpred-trial-"))
        try:
            save(folder)
            train.report(dict(figures), checkpoint=train.Checkpoint.from_directory(str(folder)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def run_workers(
    work: Callable[[WorkersReporter, Peers], None],
    *,
    name: str,
    storage: Path,
    workers: int,
    cpus: float,
    gpus: float,
    max_failures: int,
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

    Raises:
        ray.train.TrainingFailedError: they broke too often.
    """
    from ray import train
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    def loop() -> None:
        peers = _Group()
        work(WorkersReporter(peers.rank), peers)

    TorchTrainer(
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
