"""What a sweep costs beside its trials: `make bench-tune`.

In: clips made from a seed, in shards. Out: a table on stdout, and the same as JSON. Sweeps are the real ones, with
their record, MLflow and all, in processes of their own; beside them the same trials run by hand, one plain process
each, as many at once.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from benchmarks.contest import Row
from benchmarks.runner import at_least, command, options, publish, workplace
from vidpred.config import load_params
from vidpred.data.shards import RawClip, Shards, write_shards
from vidpred.data.split import write_split
from vidpred.errors import UserError
from vidpred.report.sweep import write_sweep
from vidpred.types import Segment
from vidpred.workspace import cores

log = logging.getLogger(__name__)

SIZE = 64
_OVERHEAD = 10
"""Per cent of the trials' own time that a sweep may take besides."""
_START = 15
"""Seconds to the first training step."""
_COPIED = 5
"""Per cent of the shards' bytes that a worker may hold for itself."""
_GROWTH = 16
"""KiB by which the driver may grow a trial: what it knows of one."""
_TABLES = 600
"""kB of tables and charts of a sweep, however many its trials are."""
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Setting:
    """How much of everything."""

    folder: Path
    """An empty one."""
    seconds: float = 60
    """Of a trial, about."""
    trials: int = 8
    """Of the sweep that is compared with the same by hand."""
    many: int = 1000
    """Of the sweep of trivial trials."""
    shard_mb: int = 4000
    """Of frames, of which no worker may have a copy: large beside what workers differ by anyway, which is 100 MiB."""
    repeats: int = 3
    """Starts that are timed."""
    at_once: int = 2
    """Trials."""


def make_project(folder: Path, *, mb: float, setting: Setting, **tune: Any) -> Path:
    """Shards of noise that stand in for clips, a split, params.yaml: all that a sweep reads.

    Args:
        folder: A new one.
        mb: Of frames, in MB.
        setting: How many trials at once.
        tune: Fields of params.yaml's `tune`.
    """
    folder.mkdir(parents=True)
    clips, length = 8, max(12, int(mb * 1e6 / 8 / (SIZE * SIZE * 3)))
    rng = np.random.default_rng(0)
    path = folder / "noise.raw"
    path.write_bytes(rng.integers(256, size=(length, SIZE, SIZE, 3), dtype=np.uint8).tobytes())
    raw = [
        RawClip(
            source=f"{n}.mp4", sha256=f"{n:064x}", key=f"{n:064x}", number=0, group=str(n), label="", fps=10.0,
            motion=5.0, frames=path, length=length,
        )
        for n in range(clips)
    ]  # fmt: skip
    shards = folder / "shards"
    write_shards(shards, raw, [], height=SIZE, width=SIZE, fps=10.0, buckets=2, parameters={}, ffmpeg="none")
    path.unlink()
    parts = [Segment(n, 0, length) for n in range(len(Shards(shards).clips))]
    write_split(folder / "split", {"train": parts[:6], "val": parts[6:7], "test": parts[7:]})
    params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    space = {"learning_rate": {"low": 1e-3, "high": 6e-3, "log": True}}
    params["tune"] = {
        "models": {"convlstm": {"train": space}}, "scheduler": "fifo", "trials": setting.trials, "seed": 0
    } | tune  # fmt: skip
    params["train"] |= {"val_windows": 16, "precision": "float32"}
    params["resources"] |= {"trials_at_once": setting.at_once, "device": "cpu"}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


def _run(*arguments: str, watch: Callable[[int], None] | None = None) -> dict[str, Any]:
    """A process of sweeps.py; what it prints. Its log is kept until it has ended well."""
    folder = Path(arguments[1])
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "VIDPRED_HOME": str(folder / "home"),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    environment.pop("RAY_ADDRESS", None)
    with (folder / "log.txt").open("a") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sweeps", *arguments],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=told, text=True,
        )  # fmt: skip
        try:
            with _watching(watch, process.pid):
                printed, _ = process.communicate()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode != 0:
        lines = (folder / "log.txt").read_text().splitlines()[-15:]
        raise UserError(f"the process `{' '.join(arguments)}` failed:\n" + "\n".join(lines))
    told_last: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return told_last


@contextmanager
def _watching(watch: Callable[[int], None] | None, pid: int) -> Iterator[None]:
    """Inside, `watch` is called with the pid again and again."""
    over = threading.Event()

    def look() -> None:
        while watch and not over.wait(0.25):
            watch(pid)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def overhead(setting: Setting) -> list[Row]:
    """A sweep against the time that its trials take by hand."""
    probe = make_project(setting.folder / "probe", mb=8, setting=setting, steps=20, grace_steps=20)
    pace = max(one["seconds"] for one in _by_hand(probe, setting.at_once, setting)) / 20
    steps = max(4, round(setting.seconds / pace))
    log.info("trials of %d steps, at %.2f s a step", steps, pace)
    project = make_project(
        setting.folder / "overhead", mb=8, setting=setting, steps=steps, grace_steps=max(1, steps // 4)
    )
    # the sweep between two halves of the trials by hand: whatever else the machine does falls on both
    half = setting.trials // 2
    began = time.monotonic()
    first = _by_hand(project, half, setting)
    walls = [time.monotonic() - began]
    began = time.monotonic()
    _run("sweep", str(project))
    sweep = time.monotonic() - began
    began = time.monotonic()
    second = _by_hand(project, setting.trials - half, setting, start=half)
    walls.append(time.monotonic() - began)
    own = sum(one["seconds"] for one in [*first, *second]) / setting.at_once
    costs = pd.read_parquet(project / "runs/bench/costs.parquet")
    inside = float(costs["seconds"].sum()) / setting.at_once
    note = (
        f"{sweep:.0f} s for {setting.trials} trials of {own * setting.at_once / setting.trials:.0f} s, "
        f"{setting.at_once} at once; {inside:.0f} s of it were trials' own"
    )
    what = "a sweep from the start of its process to its end, beyond the trials' own time"
    processes = sum(walls)
    return [
        Row(
            "overhead", f"{what} by hand, imports not counted", value=100 * (sweep / own - 1), unit="%",
            limit=_OVERHEAD, at_least=False, note=note,
        ),
        Row(
            "overhead", f"{what} as it measured them itself", value=100 * (sweep / inside - 1), unit="%",
            note="free of what the machine did in the other turns",
        ),
        Row(
            "overhead", "a sweep against the plain processes of the same trials, imports and all",
            value=processes / sweep, unit="x", note=f"{processes:.0f} s by hand",
        ),
    ]  # fmt: skip


def _by_hand(project: Path, count: int, setting: Setting, start: int = 0) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(setting.at_once) as pool:
        return list(pool.map(lambda n: _run("alone", str(project), str(n)), range(start, start + count)))


def start(setting: Setting) -> list[Row]:
    """From the start of a process to the first report: one training step, and a validation."""
    seconds = []
    for turn in range(setting.repeats):
        project = make_project(
            setting.folder / f"start-{turn}", mb=8, setting=setting, trials=1, steps=1, grace_steps=1
        )
        began = time.time()
        _run("sweep", str(project))
        [line] = (project / "runs/bench/trials/0/metrics.jsonl").read_text().splitlines()
        seconds.append(json.loads(line)["time"] - began)
        log.info("  first report after %.1f s (%d of %d)", seconds[-1], turn + 1, setting.repeats)
    what = (
        "from the start of `tune` to the end of the first training step and a validation after it, MLflow's store new"
    )
    return [
        Row(
            "start", what, value=statistics.median(seconds), unit="s", limit=_START, at_least=False,
            low=min(seconds), high=max(seconds), repeats=len(seconds),
        )
    ]  # fmt: skip


def memory(setting: Setting) -> list[Row]:
    """What a worker holds for itself with large shards, beyond what it holds with small ones."""
    most: dict[float, list[int]] = {}
    for mb in (4, setting.shard_mb):
        project = make_project(
            setting.folder / f"memory-{mb}",
            mb=mb,
            setting=setting,
            trials=2 * setting.at_once,
            steps=40,
            grace_steps=20,
        )
        held: dict[int, int] = {}
        _run("sweep", str(project), watch=partial(_note, project / "shards", held))
        most[mb] = sorted(held.values())
        log.info("  with %d MB of shards %s MiB", mb, ", ".join(f"{one / 2**20:.0f}" for one in most[mb]))
    if not all(most.values()):
        return [Row("memory", "what a worker holds for itself", note="this system has no /proc/<pid>/smaps_rollup")]
    small, large = (statistics.median(values) for values in most.values())
    share = 100 * (large - small) / (setting.shard_mb * 1e6)
    what = f"private dirty memory of a trial's worker with {setting.shard_mb} MB of shards, beyond that with 4 MB"
    note = f"{large / 2**20:.0f} and {small / 2**20:.0f} MiB, median of the most that {len(most[4])} workers held"
    return [
        Row("memory", what, value=share, unit="% of the shards", limit=_COPIED, at_least=False, note=note)
    ]  # fmt: skip


def _note(shards: Path, held: dict[int, int], driver: int) -> None:
    """Most private dirty bytes of every process but the driver that has shards mapped."""
    for process in Path("/proc").glob("[0-9]*"):
        pid = int(process.name)
        if pid in (driver, os.getpid()):
            continue
        try:
            if f"{shards}/frames-" not in (process / "maps").read_text():
                continue
            lines = (process / "smaps_rollup").read_text().splitlines()
        except OSError:  # another user's, or gone
            continue
        dirty = next((int(line.split()[1]) << 10 for line in lines if line.startswith("Private_Dirty:")), 0)
        held[pid] = max(held.get(pid, 0), dirty)


def thousand(setting: Setting) -> list[Row]:
    """Many trials that compute nothing: what the driver holds, and what people are shown."""
    project = make_project(
        setting.folder / "thousand", mb=2, setting=setting, trials=setting.many, steps=2, grace_steps=1,
        scheduler="asha",
    )  # fmt: skip
    began = time.monotonic()
    told = _run("trivial", str(project))
    seconds = time.monotonic() - began
    trials = pd.read_parquet(project / "tune/trials.parquet")
    if len(trials) != setting.many or not trials["status"].isin(["finished", "stopped"]).all():
        raise UserError(f"of {setting.many} trials {len(trials)} ended, as {dict(trials['status'].value_counts())}")
    began = time.monotonic()
    params = load_params(project / "params.yaml").model_dump(mode="json")
    write_sweep(trials, params, project / "shown")
    wrote = time.monotonic() - began
    size = sum(path.stat().st_size for path in (project / "shown").iterdir()) / 1e3
    many, first = setting.many, setting.many // 10
    return [
        Row(
            "thousand", f"{many:,} trivial trials: growth of the driver a trial, from the {first}th on",
            value=slope_kib(told["memory"], first), unit="KiB", limit=_GROWTH, at_least=False,
            note=f"{max(held for _, held in told['memory']) / 2**20:.0f} MiB at the most",
        ),
        Row(
            "thousand", f"{many:,} trivial trials: a trial, with its record and its MLflow run", value=seconds / many,
            unit="s", note=f"{seconds:.0f} s in all, {setting.at_once} at once",
        ),
        Row(
            "thousand", f"tables and charts of {many:,} trials", value=size, unit="kB", limit=_TABLES, at_least=False,
            note=f"written in {wrote:.1f} s",
        ),
    ]  # fmt: skip


def slope_kib(noted: Sequence[Sequence[int]], first: int) -> float:
    """KiB a trial, by least squares over [trials, bytes] from the `first` trial on."""
    kept = np.array([[trials, held] for trials, held in noted if trials >= first], float)
    return float(np.polyfit(kept[:, 0], kept[:, 1], 1)[0]) / 1024


BENCHMARKS: Mapping[str, Callable[[Setting], list[Row]]] = {
    "overhead": overhead,
    "start": start,
    "memory": memory,
    "thousand": thousand,
}


def measure(setting: Setting, names: Sequence[str] = tuple(BENCHMARKS)) -> list[Row]:
    """The rows of some benchmarks."""
    return [row for name in names for row in BENCHMARKS[name](setting)]


def main() -> None:
    """Reads the options, measures, prints the table."""
    parser = options("tune", __doc__, quick="short trials, and fewer: whether it runs, not how fast", only=BENCHMARKS)
    parser.add_argument("--trials", type=int, default=8, help="minute-long trials of the sweep that is timed")
    command(parser, _measured)


def _measured(chosen: argparse.Namespace) -> None:
    at_least(chosen, trials=2)
    with workplace() as folder:
        at_once = min(2, cores())
        setting = Setting(folder, trials=chosen.trials, at_once=at_once)
        if chosen.quick:
            setting = Setting(folder, seconds=4, trials=2, many=60, shard_mb=120, repeats=1, at_once=at_once)
        facts = {"trials": f"{setting.trials} of {setting.seconds:g} s"}
        names = chosen.only or tuple(BENCHMARKS)
        publish(lambda: measure(setting, names), folder, out=chosen.out, facts=facts, title="sweeps")


if __name__ == "__main__":
    main()
