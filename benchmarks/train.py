"""How fast a training step is, beside the same network written plainly in PyTorch: `make bench-train`.

In: clips made from a seed, in shards. Out: a table on stdout, and the same as JSON. Ours is the real `Trainer` on real
batches of a `TrainSampler`; the other side is `benchmarks/plain.py` on the same batches, with a copy of the weights,
and the benchmark is void unless both give the same frames and the same loss. Contestants are processes of their own,
since how memory is kept is a process's own affair. They take turns (A B C A B C), and what counts is the ratio of
neighbouring turns.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from benchmarks.contest import Row, Turn, take_turns, versus
from benchmarks.runner import at_least, command, options, publish, workplace
from benchmarks.steps import CASES, CPU, PLAIN, Contest, Precision, make_shards
from vidpred.errors import UserError
from vidpred.training.device import computes_bfloat16, keep_memory, set_threads
from vidpred.workspace import cores

log = logging.getLogger(__name__)

_LIMITS = {"bfloat16": 2.2, "float32": 1.3}
_WAIT = 5
"""Per cent of the time that training may wait for its input."""
_OPENSTL = 14.7
"""Clips a second that OpenSTL's own SimVP trained on a machine of this kind with two cores, in float32."""


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


def _contestants() -> tuple[str, ...]:
    return (PLAIN, "float32", "bfloat16") if computes_bfloat16(CPU) else (PLAIN, "float32")


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
        make_shards(folder)
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
        make_shards(Path(folder))
        contest = Contest(case, Path(folder))
        shares: list[float] = []
        precision: Precision = "bfloat16" if computes_bfloat16(CPU) else "float32"
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
    parser = options("train", __doc__, quick="turns of two steps: whether it runs, not how fast", only=BENCHMARKS)
    parser.add_argument("--repeats", type=int, default=9, help="turns of each contestant")
    parser.add_argument("--threads", type=int, help="threads of every contestant (one a core)")
    command(parser, _run)


def _run(chosen: argparse.Namespace) -> None:
    at_least(chosen, repeats=1, threads=1)
    threads = set_threads(chosen.threads or cores())
    with workplace() as folder:
        setting = Setting(folder, steps=2 if chosen.quick else 8, repeats=chosen.repeats, threads=threads)
        facts = {"threads": threads, "torch": torch.__version__, "turns": f"{setting.steps} steps"}
        names = chosen.only or tuple(BENCHMARKS)
        publish(lambda: measure(setting, names), folder, out=chosen.out, facts=facts, title="training")


if __name__ == "__main__":
    main()
