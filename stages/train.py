"""train: the best configuration at the full budget; goes on where it was broken off."""

import signal
import sys
from pathlib import Path

from vidpred.config import load_params
from vidpred.tracking.download import download
from vidpred.tracking.runs import Tracker
from vidpred.training.data import read_data
from vidpred.training.device import choose_device, set_threads
from vidpred.training.filmstrip import add_row
from vidpred.training.final import choose, train_model, write_outputs
from vidpred.training.loop import Row, Stopped, Trainer
from vidpred.workspace import home, locked, run_stage, stage_key, write_json


def main() -> None:
    params = load_params()
    set_threads(params.resources.threads)
    choice = choose(params.train, Path("results/tune/best.yaml"), params.task.kind)
    data = read_data(Path("data/shards"), Path("data/split"), params)
    key = stage_key("train")
    folder = home() / "train" / key
    asked_to_stop: list[int] = []
    told = {"model": choice.model, "config": choice.config, "train": choice.params.model_dump(exclude={"config"})}
    with (
        locked(folder),
        Tracker.open(
            stage="train", key=key, params=told, tags={"data_id": data.shards.data_id}, note=folder / "run.json"
        ) as run,
    ):
        for name in (signal.SIGINT, signal.SIGTERM):  # only now: until the folder is ours they end the wait for it
            signal.signal(name, lambda number, _: asked_to_stop.append(number))

        def mirror(trainer: Trainer, row: Row) -> None:
            run.metrics(trainer.step, row)
            add_row(trainer)

        try:
            trainer = train_model(
                choice,
                data,
                folder=folder,
                device=choose_device(params.resources.device),
                checkpoint_every=params.resources.checkpoint_every,
                begin=download(params.train.init) if params.train.init else None,
                on_evaluation=mirror,
                should_stop=lambda: bool(asked_to_stop),
            )
        except Stopped:
            sys.exit("stopped; the checkpoint is written, and `dvc repro` goes on from it")
        summary = write_outputs(trainer, choice, out=Path("models/trained"), curves=Path("results/train/curves.csv"))
        run.mirror(folder / "metrics.jsonl")
        run.artifact(Path("models/trained"), "model")
    write_json(Path("results/train/summary.json"), summary)


if __name__ == "__main__":
    run_stage(main)
