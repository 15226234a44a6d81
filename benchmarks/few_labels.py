"""What training on prediction first is worth where few clips have a class: `make bench-pretrain`.

In: the bundled moving shapes, as `benchmarks.classifiers` makes them. Out: a table on stdout, and the same as JSON and
Markdown. A model that predicts is trained on all clips of the training part, without their classes; a classifier of the
same name then learns from a few clips of each class, once from that model's weights (`train.init`) and once from
random ones, with all else alike. All test videos judge. What is done is kept in `VIDPRED_HOME/bench-pretrain`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.classifiers import make_data, params_of
from benchmarks.contest import Clock, machine
from benchmarks.lessons import Columns, Row, at_least_one, carry_out, show, write
from vidpred.config import Params
from vidpred.evaluation.classify import evaluate_classes
from vidpred.evaluation.intervals import paired_difference
from vidpred.leaderboard.sources import code_digest
from vidpred.models import zoo
from vidpred.training.data import Data, read_data
from vidpred.training.device import give_back_memory, set_threads
from vidpred.training.final import Choice, train_model, write_outputs
from vidpred.workspace import cores, digest, home, locked

log = logging.getLogger(__name__)

MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "conv_rnn": ({}, {}),
    "slowfast": ({"share": 4}, {"share": 4}),
    "late_fusion": ({"scales": 3, "depth": 1}, {"scales": 3, "depth": 1}),
}
"""Of models that are in both folders of the zoo: config of the one that predicts, and of the one that classifies, with
the same widths."""
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Setting:
    """How much of everything."""

    whole: Params
    """For the classifiers."""
    folder: Path
    """Holds shards and split."""
    state: Path
    """Where what is done is kept."""
    groups: int
    """Of the training part, whose clips have a class: one clip of each class in each."""
    pretrain: int
    """Steps of the model that predicts."""
    steps: int
    """Of each classifier."""
    seeds: int
    threads: int
    should_stop: Callable[[], bool] = lambda: False

    def params(self, kind: str, **train: object) -> Params:
        """For one of the tasks: the class of so many frames, or the last of them from those before."""
        raw = self.whole.model_dump(by_alias=True)
        if kind == "predict":
            raw["task"] |= {"kind": kind, "context": self.whole.task.context - 1, "horizon": 1}
        raw["train"] = self.whole.train.replaced(train)
        return Params.model_validate(raw)

    def data(self, params: Params) -> Data:
        """All of the training part, or what has a class of it."""
        found = read_data(self.folder / "shards", self.folder / "split", params)
        if params.task.kind == "predict":
            return found
        known = sorted({found.shards.clips[segment.clip].group for segment in found.train}, key=digest)[: self.groups]
        few = [segment for segment in found.train if found.shards.clips[segment.clip].group in known]
        return dataclasses.replace(found, train=few)


def trained(name: str, config: dict[str, Any], params: Params, setting: Setting, *, begin: Path | None) -> Path:
    """The folder of a run, with the trained `model` in it; trained where that is not done yet.

    Raises:
        Stopped: it was asked for; a checkpoint is written.
    """
    choice, data = Choice(name, config, params.train), setting.data(params)
    code = code_digest(zoo.module(name, params.task.kind).__name__, train_model.__module__)
    first = None if begin is None else json.loads((begin / "model.json").read_text())["weights_sha256"]
    told = [
        name,
        config,
        params.train.model_dump(),
        params.task.kind,
        len(data.train),
        data.shards.data_id,
        first,
        code,
    ]
    folder = setting.state / digest([told, setting.threads])[:16]
    with locked(folder):
        if not (folder / "model" / "model.json").is_file():
            trainer = train_model(
                choice, data, folder=folder / "run", device=CPU, checkpoint_every=params.train.evaluate_every,
                begin=begin, should_stop=setting.should_stop,
            )  # fmt: skip
            write_outputs(trainer, choice, out=folder / "model", curves=folder / "curves.csv")
            give_back_memory()
    return folder


def judged(folder: Path, params: Params, setting: Setting) -> pd.DataFrame:
    """Whether each test video is told right: its group, and `top1`."""
    path = folder / "evaluation" / "videos.parquet"
    with locked(folder):
        if not path.is_file():
            evaluate_classes(
                folder / "model", shards_folder=setting.folder / "shards", split=setting.folder / "split",
                by_time=False, out=folder / "evaluation", params=params, device=CPU,
            )  # fmt: skip
    return pd.read_parquet(path)


def compare(name: str, setting: Setting) -> Row:
    """A row of the table: both ways, over all seeds."""
    of_predictor, of_classifier = MODELS[name]
    params = setting.params("predict", steps=setting.pretrain, evaluate_every=max(1, setting.pretrain // 3))
    log.info("%s: predicting", name)
    begin = trained(name, of_predictor, params, setting, begin=None) / "model"
    right: dict[str, list[np.ndarray]] = {"scratch": [], "pretrained": []}
    init: dict[str, Any] = {}
    groups, clips = np.empty(0), 0
    for seed in range(setting.seeds):
        for way, start in (("scratch", None), ("pretrained", begin)):
            params = setting.params(
                "classify", steps=setting.steps, evaluate_every=max(1, setting.steps // 6), seed=seed
            )
            log.info("%s: %s, seed %d", name, way, seed)
            folder = trained(name, of_classifier, params, setting, begin=start)
            videos = judged(folder, params, setting)
            groups, clips = videos["group"].to_numpy(), len(setting.data(params).train)
            right[way].append(videos["top1"].to_numpy())
            if start is not None:
                init = json.loads((folder / "model" / "model.json").read_text())["training"]["init"]
    means = {way: np.mean(found, axis=0) for way, found in right.items()}
    over = paired_difference(means["pretrained"], means["scratch"], groups)
    return {
        "name": name,
        "clips": clips,
        "taken": init["taken"],
        "tensors": init["tensors"],
        "parameters": init["parameters"],
        **{way: [float(one.mean()) for one in found] for way, found in right.items()},
        "difference": over["pooled"],
        "interval": over["pooled_interval"],
    }


def _top1(seeds: Sequence[float]) -> str:
    return f"{100 * np.mean(seeds):.1f} ({100 * min(seeds):.1f} to {100 * max(seeds):.1f})"


COLUMNS: Columns = {
    "model": lambda row: f"{row['name']}",
    "clips with a class": lambda row: f"{row['clips']}",
    "tensors taken": lambda row: f"{row['taken']} of {row['tensors']} ({row['parameters']:,} parameters)",
    "from random weights: top-1, % (seeds)": lambda row: _top1(row["scratch"]),
    "from the predictor's: top-1, % (seeds)": lambda row: _top1(row["pretrained"]),
    "difference, points (95 %)": lambda row: (
        f"{100 * row['difference']:+.1f} ({100 * row['interval'][0]:+.1f} to {100 * row['interval'][1]:+.1f})"
    ),
}
"""Of the table."""


def main() -> None:
    """Reads the options, trains and judges, prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.few_labels", description=__doc__)
    parser.add_argument("--only", action="append", choices=MODELS, help="one of the models; may be repeated")
    parser.add_argument("--groups", type=int, default=8, help="clips of each class that have one (8)")
    parser.add_argument("--pretrain", type=int, default=1500, help="steps of the model that predicts (1500)")
    parser.add_argument("--steps", type=int, default=600, help="steps of each classifier (600)")
    parser.add_argument("--seeds", type=int, default=3, help="of the classifiers (3)")
    parser.add_argument("--threads", type=int, help="threads of torch (one a core)")
    parser.add_argument("--out", type=Path, default=Path("results/bench/few_labels.json"), help="where the figures go")
    chosen = parser.parse_args()
    carry_out(lambda should_stop: _run(chosen, should_stop))


def _run(chosen: argparse.Namespace, should_stop: Callable[[], bool]) -> None:
    at_least_one(chosen, "groups", "pretrain", "steps", "seeds", "threads")
    threads = set_threads(chosen.threads or cores())
    data = home() / "bench-classify" / "moving_shapes"
    whole = params_of("moving_shapes")
    with locked(data):
        make_data(whole, data)
    sizes = {name: getattr(chosen, name) for name in ("groups", "pretrain", "steps", "seeds")}
    setting = Setting(whole, data, home() / "bench-pretrain", **sizes, threads=threads, should_stop=should_stop)
    facts = machine(home()) | {"threads": threads, "torch": torch.__version__} | sizes
    began, rows = Clock.now(), []
    for name in chosen.only or MODELS:
        rows.append(compare(name, setting))
        facts["taken by others"] = began.others(Clock.now())
        write(chosen.out, rows, facts, COLUMNS)
    show(rows, facts, COLUMNS, title="predicting first, where few clips have a class")
    log.info("written to %s", chosen.out)


if __name__ == "__main__":
    main()
