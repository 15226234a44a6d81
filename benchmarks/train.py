"""How fast a training step is, beside the same network written plainly in PyTorch: `make bench-train`.

In: clips made from a seed, in shards. Out: a table on stdout, and the same as JSON. Ours is the real `Trainer` on real
batches of a `TrainSampler`; the other side is `benchmarks/plain.py` on the same batches, with a copy of the weights,
and the benchmark is void unless both give the same frames and the same loss. Contestants are processes of their own,
since how memory is kept is a process's own affair. They take turns (A B C A B C), and what counts is the ratio of
neighbouring turns.
"""

from __future__ import annotations

import argparse
import copy
import logging
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import material, plain
from benchmarks.contest import Clock, Row, Turn, machine, show, take_turns, versus, write
from vidpred.config import FlowParams, TaskParams, TrainParams
from vidpred.data.clips import TrainSampler, evaluation_windows, evenly, task_of
from vidpred.data.shards import RawClip, Shards, write_shards
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.predict import convlstm, simvp
from vidpred.training.data import Data
from vidpred.training.device import computes_bfloat16, keep_memory, set_threads
from vidpred.training.loop import Trainer
from vidpred.types import Output, Predictor, Segment, Task
from vidpred.workspace import cores, set_up_logging

log = logging.getLogger(__name__)

SIZE = 64
"""Rows and columns of the frames."""
_CLIPS, _FRAMES = 8, 40
_TOLERANCE = 1e-4
"""Largest difference between frames of ours and of the plain one, full scale being 1, and between their losses."""
_LIMITS = {"bfloat16": 2.2, "float32": 1.3}
_WAIT = 5
"""Per cent of the time that training may wait for its input."""
_OPENSTL = 14.7
"""Clips a second that OpenSTL's own SimVP trained on a machine of this kind with two cores, in float32."""
_CPU = torch.device("cpu")
PLAIN = "plain"
"""The contestant that is not ours."""

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Setting:
    """How much of everything."""

    folder: Path
    """An empty one."""
    steps: int = 8
    """Of a turn."""
    repeats: int = 9
    """Turns of each contestant."""
    threads: int = 1
    """Of each contestant."""


@dataclass(frozen=True)
class Case:
    """A network and what it is trained on."""

    model: Literal["convlstm", "simvp"]
    config: convlstm.Config | simvp.Config
    told: dict[str, Any]
    """The config as `train.config` has it."""
    what: str
    context: int = 5
    horizon: int = 1
    batch: int = 8
    channels: int = 3
    loss: tuple[tuple[Literal["perceptual", "gdl", "mse"], float], ...] = (("perceptual", 1.0), ("gdl", 0.25))

    def params(self, precision: Precision, **changes: object) -> TrainParams:
        """`train` of params.yaml."""
        fields = {"batch_size": self.batch, "precision": precision, "loss": dict(self.loss), "unroll_share": 0}
        return TrainParams.model_validate(fields | changes)


_SMALL_SIMVP: dict[str, Any] = {
    "variant": "seed", "filters": 32, "translator_filters": 128, "depth": 4, "translator_depth": 4
}  # fmt: skip
CASES = {
    "convlstm": Case("convlstm", convlstm.Config(), {}, "convlstm as it is by default, 5→1, 64x64, batches of 8"),
    "simvp": Case("simvp", simvp.Config(), {}, "simvp as it is by default, 5→1, 64x64, batches of 8"),
    "openstl": Case(
        "simvp", simvp.Config(**_SMALL_SIMVP), _SMALL_SIMVP,
        "SimVP gSTA of 3.36 M parameters, 10→10, 64x64, 1 channel, batches of 4",
        context=10, horizon=10, batch=4, channels=1, loss=(("mse", 1.0),),
    ),
}  # fmt: skip


class _Grey(Predictor):
    """A model of one channel where batches have three: it sees the first, and its frames stand for all."""

    def __init__(self, model: Predictor) -> None:
        super().__init__()
        self.model = model
        self.steps = model.steps

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        frames = self.model(context[:, :, :1], flow).frames
        return Output(frames.expand(-1, -1, context.shape[2], -1, -1))


def _make_shards(folder: Path) -> None:
    """Shards of textured scenes that move."""
    clips = []
    for seed in range(_CLIPS):
        path = folder / f"{seed}.raw"
        path.write_bytes(np.stack(list(material.moving(seed, _FRAMES, SIZE, SIZE))).tobytes())
        digits = f"{seed:064x}"
        clips.append(
            RawClip(
                source=f"{seed}.mp4", sha256=digits, key=digits, number=0, group=str(seed), label="", fps=10.0,
                motion=5.0, frames=path, length=_FRAMES,
            )
        )  # fmt: skip
    write_shards(
        folder / "shards", clips, [], height=SIZE, width=SIZE, fps=10.0, buckets=2, parameters={}, ffmpeg="none"
    )


def _data(folder: Path, case: Case) -> Data:
    """Those shards, with windows to train and to validate on."""
    shards = Shards(folder / "shards")
    task = TaskParams(context=case.context, horizon=case.horizon)
    segments = [Segment(number, 0, clip.length) for number, clip in enumerate(shards.clips)]
    windows = evenly(evaluation_windows(segments, task=task), 4)
    return Data(shards, segments, windows, task_of(shards, task), FlowParams())


def _built(case: Case, task: Task) -> Predictor:
    """The model with random weights throughout: a head of zeros would leave what is before it untested."""
    torch.manual_seed(0)
    model = zoo.build(case.model, case.told, task)
    head = model.get_submodule("head")
    if isinstance(head, nn.Conv2d) and not head.weight.any():
        nn.init.normal_(head.weight, std=0.02)
    return model


class Contest:
    """One case: the plain trainer and ours, at the same weights, on the same batches.

    Args:
        case: Which.
        folder: Holds the shards.
    """

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.folder = case, folder
        self.data = _data(folder, case)
        self.task = Task(
            context=case.context, horizon=case.horizon, height=SIZE, width=SIZE, channels=case.channels
        )  # fmt: skip
        self.model = _built(case, self.task)
        sampler = TrainSampler(
            self.data.shards, self.data.train, context=case.context, horizon=case.horizon, batch_size=case.batch, seed=0
        )
        self.batches = [sampler.batch(step) for step in range(4)]
        if case.channels == 1:
            self.batches = [np.repeat(batch[..., :1], batch.shape[-1], axis=-1) for batch in self.batches]

    def plain(self) -> plain.Plain:
        """The plain trainer."""
        return plain.Plain(plain.same(self.model, self.case.config, self.task), context=self.case.context)

    def trainer(self, precision: Precision, *, steps: int = 1_000_000, **changes: object) -> Trainer:
        """Ours."""
        model = copy.deepcopy(self.model)
        shown = _Grey(model) if self.case.channels == 1 else model
        params = self.case.params(precision, **changes)
        folder = self.folder / f"{precision}-{steps}"
        return Trainer(shown, self.data, params, steps=steps, device=_CPU, folder=folder)

    def step(self, who: str) -> Callable[[int], float]:
        """What a contestant does with the number of a batch: a training step; gives the loss."""
        if who == PLAIN:
            theirs = self.plain()
            return lambda number: theirs.train_step(self._batch(number)[..., : self.case.channels])
        ours = self.trainer("bfloat16" if who == "bfloat16" else "float32")
        return lambda number: ours.train_step(self._batch(number))

    def _batch(self, number: int) -> np.ndarray:
        return self.batches[number % len(self.batches)]

    def check(self) -> None:
        """Both are the same function, and their first steps have the same loss.

        Raises:
            UserError: they differ: to compare their speed means nothing.
        """
        case, other = self.case, self.plain()
        context = torch.rand(2, case.context, case.channels, SIZE, SIZE)
        with torch.no_grad():
            frames = [copy.deepcopy(self.model).train()(context).frames, copy.deepcopy(other.model)(context)]
        apart = (frames[0] - frames[1]).abs().max().item()
        losses = [self.step(who)(0) for who in (PLAIN, "float32")]
        if apart > _TOLERANCE or abs(losses[0] - losses[1]) > _TOLERANCE:
            raise UserError(
                f"{case.model} and the plain one are not the same: frames differ by {apart:.2g}, losses are "
                f"{losses[0]:.6f} and {losses[1]:.6f}: the benchmark is void"
            )
        log.info("  the same frames but for %.1g", apart)


def _contestants() -> tuple[str, ...]:
    return (PLAIN, "float32", "bfloat16") if computes_bfloat16(_CPU) else (PLAIN, "float32")


def _contend(orders: Connection, name: str, who: str, folder: Path, threads: int) -> None:
    """A contestant's process: for every number that comes, so many steps."""
    set_threads(threads)
    if who != PLAIN:
        keep_memory()  # as `Trainer.run` does
    step = Contest(CASES[name], folder).step(who)
    while True:
        try:
            count = orders.recv()
        except EOFError:
            return
        for number in range(count):
            step(number)
        orders.send(count)


@contextmanager
def _process(name: str, who: str, folder: Path, threads: int) -> Iterator[Callable[[int], None]]:
    """A contestant that takes so many steps when it is told to."""
    spawning = multiprocessing.get_context("spawn")
    here, there = spawning.Pipe()
    process = spawning.Process(target=_contend, args=(there, name, who, folder, threads), daemon=True)
    process.start()
    there.close()

    def take(count: int) -> None:
        try:
            here.send(count)
            here.recv()
        except (EOFError, OSError):
            raise UserError(f"the process of {name}, {who}, ended before its turn was over: see above") from None

    try:
        yield take
    finally:
        here.close()
        process.join()


def _raced(name: str, setting: Setting) -> dict[str, list[float]]:
    """Seconds of every turn, by contestant."""
    with tempfile.TemporaryDirectory(dir=setting.folder) as made, ExitStack() as stack:
        folder = Path(made)
        _make_shards(folder)
        log.info("%s:", CASES[name].what)
        Contest(CASES[name], folder).check()
        turns: dict[str, Turn] = {}
        for who in _contestants():
            take = stack.enter_context(_process(name, who, folder, setting.threads))
            take(3)  # what is done once, however long a run: libraries, memory
            turns[who] = partial(_turn, take, setting.steps)
        return take_turns(turns, setting.repeats, folder / "turns")


def _turn(take: Callable[[int], None], steps: int, _: Path) -> None:
    take(steps)


def steps(name: str) -> Callable[[Setting], list[Row]]:
    """The benchmark of a case: a step of ours against a plain one in float32."""

    def measured(setting: Setting) -> list[Row]:
        case = CASES[name]
        times = _raced(name, setting)
        rows = []
        for precision, limit in _LIMITS.items():
            what = f"{case.what}: a step in {precision}, against plain PyTorch in float32"
            if precision not in times:
                rows.append(Row(name, what, limit=limit, note="this processor does not multiply in bfloat16"))
                continue
            each = setting.steps * case.batch
            speeds = (f"{each / float(np.median(times[who])):.3g}" for who in (precision, PLAIN))
            note = f"{' and '.join(speeds)} clips/s"
            rows.append(versus(name, what, times, precision, PLAIN, limit=limit, note=note))
        return rows

    return measured


def openstl(setting: Setting) -> list[Row]:
    """The network that OpenSTL's own speed is known of, in clips a second: its figure is another implementation's on
    another day, and stands here to be seen, not as a limit."""
    case = CASES["openstl"]
    times = _raced("openstl", setting)
    each = setting.steps * case.batch
    rows = []
    for who, seconds in times.items():
        speeds = [each / one for one in seconds]
        what = f"{case.what}: " + ("plain PyTorch in float32" if who == PLAIN else f"a step in {who}")
        median = float(np.median(speeds))
        rows.append(
            Row(
                "openstl", what, value=median, unit="clips/s", low=min(speeds), high=max(speeds), repeats=len(speeds),
                note=f"{median / _OPENSTL:.2f} times the {_OPENSTL} of OpenSTL's own, measured alone on two cores",
            )
        )  # fmt: skip
    return rows


def waiting(setting: Setting) -> list[Row]:
    """The share of its time that a run waits for batches, of the fastest model here."""
    case = CASES["convlstm"]
    count = max(10, setting.steps * setting.repeats)
    with tempfile.TemporaryDirectory(dir=setting.folder) as folder:
        _make_shards(Path(folder))
        contest = Contest(case, Path(folder))
        shares: list[float] = []
        precision: Precision = "bfloat16" if computes_bfloat16(_CPU) else "float32"
        trainer = contest.trainer(precision, steps=count, evaluate_every=max(1, count // 3))
        log.info("waiting for input: %d steps", count)
        trainer.run(on_evaluation=lambda _, row: shares.append(100 * row["input_wait_share"]))
    what = f"{case.what}: time that a step waits for its batch"
    return [
        Row(
            "waiting", what, value=float(np.median(shares)), unit="%", limit=_WAIT, at_least=False,
            low=min(shares), high=max(shares), repeats=len(shares), note="the next batch is read meanwhile",
        )
    ]  # fmt: skip


BENCHMARKS: dict[str, Callable[[Setting], list[Row]]] = {
    "convlstm": steps("convlstm"),
    "simvp": steps("simvp"),
    "openstl": openstl,
    "waiting": waiting,
}


def measure(setting: Setting, names: Sequence[str] = tuple(BENCHMARKS)) -> list[Row]:
    """The rows of some benchmarks."""
    return [row for name in names for row in BENCHMARKS[name](setting)]


def main() -> None:
    """Reads the options, measures, prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="turns of two steps: whether it runs, not how fast")
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="one of the benchmarks; may be repeated")
    parser.add_argument("--repeats", type=int, default=9, help="turns of each contestant")
    parser.add_argument("--threads", type=int, help="threads of every contestant (one a core)")
    parser.add_argument("--out", type=Path, default=Path("results/bench/train.json"), help="where the figures go")
    chosen = parser.parse_args()
    set_up_logging()
    try:
        _run(chosen)
    except UserError as error:
        log.error("%s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _run(chosen: argparse.Namespace) -> None:
    for name in ("repeats", "threads"):
        value = getattr(chosen, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} {value}: give at least 1")
    threads = set_threads(chosen.threads or cores())
    with tempfile.TemporaryDirectory(prefix="vidpred-bench-") as folder:
        setting = Setting(Path(folder), steps=2 if chosen.quick else 8, repeats=chosen.repeats, threads=threads)
        facts = machine(setting.folder) | {
            "threads": threads,
            "torch": torch.__version__,
            "turns": f"{setting.steps} steps",
        }
        began = Clock.now()
        rows = measure(setting, chosen.only or tuple(BENCHMARKS))
        facts["taken by others"] = began.others(Clock.now())
    write(chosen.out, rows, facts)
    show(rows, facts, title="training")
    log.info("written to %s", chosen.out)


if __name__ == "__main__":
    main()
