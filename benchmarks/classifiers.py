"""What every classifier learns of the bundled shapes: `make bench-classify`.

In: the recipes of datasets/, made and split as the preset `moving_shapes` says. Out: a table on stdout, and the same as
JSON and Markdown. Each model is trained by the project's own loop with the preset's `train` and one number of steps for
all, and judged on test videos as the stage `evaluate` does. Where it was broken off it goes on: checkpoints, and the
rows of models that are done, lie in `VIDPRED_HOME/bench-classify`.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from benchmarks.contest import Clock, machine
from benchmarks.lessons import Columns, Row, at_least_one, carry_out, show, write
from vidpred.config import Params
from vidpred.data.clip_cache import local_engine
from vidpred.data.fetch import fetch
from vidpred.data.launch import ffmpeg_version
from vidpred.data.selection import choose
from vidpred.data.shards import Shards
from vidpred.data.split import make_split, write_groups, write_split
from vidpred.data.transcode import transcode
from vidpred.errors import UserError
from vidpred.evaluation.classes import MAJORITY
from vidpred.evaluation.classify import evaluate_classes
from vidpred.leaderboard.sources import code_digest
from vidpred.models import zoo
from vidpred.training.data import read_data
from vidpred.training.device import give_back_memory, set_threads
from vidpred.training.final import Choice, train_model, write_outputs
from vidpred.training.loop import Stopped
from vidpred.workspace import content_id, cores, digest, home, locked, write_json

log = logging.getLogger(__name__)

Set = Literal["moving_shapes", "still_shapes"]
STEPS = 2000
CHANCE = 1 / 8
"""Of the eight motions; of the shapes none is asked for."""
SAME: dict[str, dict[str, str]] = {"left_right": {}, "upside_down": {}, "transpose": {}, "reverse": {}}
"""Of the still shapes none becomes another one, however it is turned."""


@dataclass(frozen=True)
class Entry:
    """One line of the table."""

    name: str
    model: str
    config: dict[str, Any] = field(default_factory=dict)
    data: Set = "moving_shapes"
    least: float | None = 0.9
    """Top-1 that is to be passed; None: top-1 is to be chance, within its interval."""
    longer: float = 1
    """It takes so many times the steps of the others."""

    def met(self, top1: float, interval: Sequence[float]) -> bool:
        """Whether it does what is asked for."""
        return interval[0] <= CHANCE <= interval[1] if self.least is None else top1 > self.least


ENTRIES = (
    Entry("single_frame", "single_frame", least=None),
    Entry("late_fusion (pool)", "late_fusion", {"head": "pool"}, least=None),
    Entry("late_fusion (fc)", "late_fusion"),
    Entry("early_fusion", "early_fusion"),
    Entry("slow_fusion", "slow_fusion"),
    Entry("slow_fusion + non-local", "slow_fusion", {"nonlocal_after": ["stage3"]}),
    Entry("c3d", "c3d"),
    Entry("two_stream", "two_stream"),
    Entry("cnn_lstm", "cnn_lstm"),
    Entry("conv_rnn", "conv_rnn"),
    Entry("i3d", "i3d"),
    Entry("two_stream_i3d", "two_stream_i3d"),
    Entry("slowfast", "slowfast"),
    Entry("single_frame, still shapes", "single_frame", data="still_shapes", least=0.95, longer=2.5),
)


def params_of(data: Set, project: Path = Path()) -> Params:
    """params.yaml with the preset, on one of the sets.

    Raises:
        UserError: there is no project.
    """
    try:
        raw, preset = (
            yaml.safe_load((project / name).read_text()) for name in ("params.yaml", "presets/moving_shapes.yaml")
        )
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} not found: run this inside a vidpred project") from None
    raw |= {section: raw.get(section, {}) | values for section, values in preset.items()}
    raw["fetch"]["source"] = str(project / f"datasets/{data}.yaml")
    raw["train"] |= {"model": None, "config": {}, "init": None}
    if data == "still_shapes":  # at the size that they are drawn at: at half of it the smallest are 7 pixels wide
        raw["transcode"] |= {"height": 64, "width": 64}
        raw["train"]["augment"] |= {"labels": SAME}
    return Params.model_validate(raw)


def make_data(params: Params, folder: Path) -> None:
    """Shards and their split, where they are not there yet."""
    sections = [getattr(params, name).model_dump() for name in ("fetch", "transcode", "split", "task")]
    version = ffmpeg_version(params.transcode.ffmpeg)
    told = {"key": digest([*sections, version, content_id(Path(params.fetch.source))])}
    note = folder / "data.json"
    if note.is_file() and json.loads(note.read_text()) == told:
        return
    workers = cores()
    fetch(params.fetch, folder / "raw", home() / "downloads", workers=workers)
    transcode(
        folder / "raw", folder / "shards", home() / "clips", params.transcode,
        version=version, engine=local_engine(workers), workers=workers,
    )  # fmt: skip
    shards = Shards(folder / "shards")
    groups = [clip.group for clip in shards.clips]
    chosen = choose(shards.clips, params.split, span=params.task.span, labelled=True)
    _, split = make_split(
        shards.clips, params.split, span=params.task.span, groups=groups, rows=chosen.rows, labelled=True
    )
    write_split(folder / "split", split)
    write_groups(folder / "split", shards.clips, split, groups=groups, left_out=chosen.left_out)
    write_json(note, told)


def learn(
    entry: Entry, params: Params, data: Path, folder: Path, *, threads: int, should_stop: Callable[[], bool]
) -> Row:
    """Trains and judges, where that is not done yet; a row of the table.

    Raises:
        Stopped: `should_stop` said so; a checkpoint is written.
    """
    choice = Choice(entry.model, entry.config, params.train)
    found = read_data(data / "shards", data / "split", params)
    model = zoo.module(entry.model, "classify").__name__
    code = code_digest(model, train_model.__module__, evaluate_classes.__module__)
    told = [asdict(entry), params.train.model_dump(), found.shards.data_id, threads, code]
    state = folder / digest(told)[:16]
    row_path, spent_path = state / "row.json", state / "spent.json"
    if row_path.is_file():
        row: Row = json.loads(row_path.read_text())
        return row
    before = json.loads(spent_path.read_text()) if spent_path.is_file() else {"seconds": 0.0, "processor": 0.0}
    device = torch.device("cpu")
    began, used = time.monotonic(), time.process_time()

    def spent() -> dict[str, float]:
        return {
            "seconds": before["seconds"] + time.monotonic() - began,
            "processor": before["processor"] + time.process_time() - used,
        }

    def note() -> None:
        write_json(spent_path, spent())

    with locked(state):
        try:
            trainer = train_model(
                choice, found, folder=state / "run", device=device, checkpoint_every=params.train.evaluate_every,
                on_evaluation=lambda *_: note(), should_stop=should_stop,
            )  # fmt: skip
        except Stopped:
            note()
            raise
        used_up = spent()
        write_outputs(trainer, choice, out=state / "model", curves=state / "curves.csv")
        figures = evaluate_classes(
            state / "model", shards_folder=data / "shards", split=data / "split", by_time=False,
            out=state / "evaluation", params=params, device=device,
        )  # fmt: skip
        test, interval = figures["test"][entry.model], figures["top1_interval"]
        row = {
            "name": entry.name,
            "data": entry.data,
            "parameters": figures["model"]["parameters"],
            "operations": figures["model"]["operations"],
            "steps": params.train.steps,
            "minutes": used_up["seconds"] / 60,
            "processor_minutes": used_up["processor"] / 60,
            "top1": test["top1"],
            "interval": interval,
            "cross_entropy": test["cross_entropy"],
            MAJORITY: figures["test"][MAJORITY]["top1"],
            "videos": figures["videos"],
            "learning_rate": params.train.learning_rate,
            "wanted": "chance" if entry.least is None else entry.least,
            "met": entry.met(test["top1"], interval),
        }
        write_json(row_path, row)
    give_back_memory()
    return row


COLUMNS: Columns = {
    "model": lambda row: f"{row['name']}",
    "parameters": lambda row: f"{row['parameters']:,}",
    "multiply-adds, M": lambda row: f"{row['operations'] / 1e6:.1f}",
    "steps": lambda row: f"{row['steps']:,}",
    "minutes of one core": lambda row: f"{row['processor_minutes']:.1f}",
    "top-1, % (95 %)": lambda row: (
        f"{100 * row['top1']:.1f} ({100 * row['interval'][0]:.1f} to {100 * row['interval'][1]:.1f})"
    ),
    "wanted, %": lambda row: f"{100 * CHANCE:g}, chance" if row["wanted"] == "chance" else f"> {100 * row['wanted']:g}",
    "met": lambda row: "yes" if row["met"] else "no",
}
"""Of the table."""


def main() -> None:
    """Reads the options, trains and judges, prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classifiers", description=__doc__)
    parser.add_argument("--only", action="append", help="a line of the table, by its name or model; may be repeated")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of every model ({STEPS})")
    parser.add_argument("--threads", type=int, help="threads of torch (one a core)")
    parser.add_argument("--out", type=Path, default=Path("results/bench/classifiers.json"), help="where the figures go")
    chosen = parser.parse_args()
    carry_out(lambda should_stop: _run(chosen, should_stop))


def _run(chosen: argparse.Namespace, should_stop: Callable[[], bool]) -> None:
    at_least_one(chosen, "steps", "threads")
    wanted = [entry for entry in ENTRIES if not chosen.only or {entry.name, entry.model} & set(chosen.only)]
    known = {name for entry in ENTRIES for name in (entry.name, entry.model)}
    if unknown := sorted(set(chosen.only or ()) - known):
        raise UserError(f"--only {unknown[0]}: there are {', '.join(sorted(known))}")
    threads = set_threads(chosen.threads or cores())
    folder = home() / "bench-classify"
    facts = machine(folder.parent) | {"threads": threads, "torch": torch.__version__, "steps": chosen.steps}
    began, rows = Clock.now(), []
    for entry in wanted:
        params = params_of(entry.data)
        steps = round(chosen.steps * entry.longer)
        params = params.model_copy(update={"train": params.train.changed({"steps": steps})})
        facts["batch"] = params.train.batch_size
        data = folder / entry.data
        with locked(data):
            make_data(params, data)
        if should_stop():
            raise Stopped
        log.info("%s:", entry.name)
        rows.append(learn(entry, params, data, folder, threads=threads, should_stop=should_stop))
        facts["taken by others"] = began.others(Clock.now())
        write(chosen.out, rows, facts, COLUMNS)
    show(rows, facts, COLUMNS, title=f"classifiers, {facts['steps']} steps of {facts['batch']} windows")
    log.info("written to %s", chosen.out)


if __name__ == "__main__":
    main()
