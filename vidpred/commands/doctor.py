"""`vidpred doctor`: what is installed, which ffmpeg, what the machine can do, what can be reached. A line a finding."""

from __future__ import annotations

import configparser
import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

from vidpred import __version__
from vidpred.commands.findings import Finding, Level
from vidpred.errors import UserError
from vidpred.workspace import cores, find_root, home

REACH_SECONDS = 3
"""Something that has not answered by then is called unreachable."""
HASHED_BYTES = 1 << 29
"""Larger shards are only opened: a check takes about a second, not minutes."""
STYLES: dict[Level, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def examine() -> int:
    """Prints every finding as it is made; gives the exit code: 1 where one is `fail`."""
    console = Console(highlight=False)
    failed = False
    try:
        root: Path | None = find_root()
    except UserError:
        root = None
    for name, check in CHECKS.items():
        for finding in _findings(name, check, root):
            failed |= finding.level == "fail"
            console.print(f"[{STYLES[finding.level]}]{finding.level:<5}[/]{finding.what:<14}", end="")
            console.print(finding.text, markup=False, soft_wrap=True)
    return int(failed)


def _findings(name: str, check: Callable[[Path | None], Iterator[Finding]], root: Path | None) -> Iterator[Finding]:
    try:
        yield from check(root)
    except UserError as error:
        yield Finding("fail", name, str(error))
    except (ImportError, OSError) as error:
        yield Finding("fail", name, f"{type(error).__name__}: {_line(error)}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _project(root: Path | None) -> Iterator[Finding]:
    yield Finding(
        "ok", "vidpred", f"{__version__} on Python {platform.python_version()}, {platform.platform(terse=True)}"
    )
    if root is None:
        yield Finding(
            "warn", "project", "not inside one: `vidpred predict` and `models` work, the stages need a project"
        )
        return
    from vidpred.commands.check import check_params, check_source

    params = check_params(root / "params.yaml")
    yield Finding("ok", "project", f"{root}, params.yaml is sound")
    try:
        check_source(root, params.fetch.source)
    except UserError as error:
        yield Finding("fail", "source", str(error))


def _packages(root: Path | None) -> Iterator[Finding]:
    from vidpred.commands.versions import outside_ranges

    yield from outside_ranges(importlib.metadata.requires("vidpred") or ())
    lock = root / "requirements.lock" if root else None
    if lock is None or not lock.is_file():
        names = ("torch", "ray", "mlflow", "dvc", "numpy")
        yield Finding("ok", "packages", ", ".join(f"{n} {importlib.metadata.version(n)}" for n in names))
        return
    missing, other, right = [], [], 0
    for name, pinned in _pins(lock.read_text()):
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if found.partition("+")[0] == pinned:
            right += 1
        else:
            other.append(f"{name} {found} (locked: {pinned})")
    if missing:
        yield Finding("fail", "packages", f"not installed: {_few(missing)}: `make setup` installs them")
    if other:
        yield Finding("warn", "packages", f"other than in requirements.lock: {_few(other)}: `make setup` mends it")
    torch = importlib.metadata.version("torch")
    yield Finding("ok", "packages", f"{right} as in requirements.lock (torch {torch})")


def _pins(lock: str) -> Iterator[tuple[str, str]]:
    from packaging.markers import Marker

    for line in lock.splitlines():
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;]+)(?: *; *(.+))?$", line)
        if match and (match[3] is None or Marker(match[3]).evaluate()):
            yield match[1], match[2]


def _few(items: list[str], count: int = 5) -> str:
    return ", ".join(items[:count]) + (f" and {len(items) - count} more" if len(items) > count else "")


def _ffmpeg(root: Path | None) -> Iterator[Finding]:
    from vidpred.commands.versions import ffmpeg_findings
    from vidpred.config import load_params
    from vidpred.data.launch import any_ffmpeg, ffmpeg_binary, ffmpeg_version

    if root is None:
        binary = any_ffmpeg()
        told = ffmpeg_version(str(binary))
        yield Finding("ok", "ffmpeg", f"{told} ({binary})")
        yield from ffmpeg_findings(told)
        return
    try:
        choice = load_params(root / "params.yaml").transcode.ffmpeg
    except UserError:
        return  # told of the project already
    told = ffmpeg_version(choice)
    yield Finding("ok", "ffmpeg", f"{told} ({choice}: {ffmpeg_binary(choice)})")
    yield from ffmpeg_findings(told)


def _shards(root: Path | None) -> Iterator[Finding]:
    folder = root / "data/shards" if root else None
    if folder is None or not (folder / "meta.json").is_file():
        return
    from vidpred.commands.data import opened

    shards, _ = opened(folder)
    small = sum(file.stat().st_size for file in folder.glob("*.npy")) <= HASHED_BYTES
    if small:
        shards.verify()
    told = "verified" if small else "too large to be verified here"
    yield Finding("ok", "shards", f"{len(shards.clips)} clips, data_id {shards.data_id[:16]}, {told}")


def _processors(_root: Path | None) -> Iterator[Finding]:
    import torch

    from vidpred.training.device import computes_bfloat16

    bfloat16 = "computes in bfloat16" if computes_bfloat16(torch.device("cpu")) else "no bfloat16, trains in float32"
    yield Finding("ok", "CPU", f"{cores()} cores, {torch.backends.cpu.get_cpu_capability()}, {bfloat16}")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            yield Finding("ok", "GPU", f"{card.name}, {card.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
    elif shutil.which("nvidia-smi"):
        yield Finding(
            "warn", "GPU", f"this machine has one, but torch {torch.__version__} does not see it: check the driver"
        )
    else:
        yield Finding("ok", "GPU", "none; the CPU does the work")


def _disk(root: Path | None) -> Iterator[Finding]:
    if root is None and not os.environ.get("VIDPRED_HOME"):
        return
    folder = home(root)
    if not os.access(folder, os.W_OK):
        yield Finding("fail", "VIDPRED_HOME", f"{folder} cannot be written: set VIDPRED_HOME to a folder of yours")
        return
    yield Finding("ok", "VIDPRED_HOME", str(folder))
    free = shutil.disk_usage(folder).free / 2**30
    level: Level = "fail" if free < 0.5 else "warn" if free < 5 else "ok"
    advice = "" if level == "ok" else ": `vidpred clean` and `dvc gc --workspace` free some"
    yield Finding(level, "disk", f"{free:.1f} GiB free{advice}")


def _mlflow(root: Path | None) -> Iterator[Finding]:
    from vidpred.commands.exposure import mlflow_address
    from vidpred.tracking import own, store
    from vidpred.tracking.receipt import RECEIPT, has_files, read_receipt, standing

    if root is None and not (os.environ.get("MLFLOW_TRACKING_URI") or os.environ.get("VIDPRED_HOME")):
        told = "no store outside a project, unless MLFLOW_TRACKING_URI names a server, or VIDPRED_HOME one of yours"
        yield Finding("ok", "MLflow", told)
        return
    uri = store.tracking_uri()
    receipt = read_receipt(root) if root else None
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        yield Finding("ok", "MLflow", f"{uri}: made by the first run")
    else:
        if told := store.follow():
            yield Finding("ok", "MLflow", told)
        store.connect(patience_seconds=REACH_SECONDS)
        yield Finding("ok", "MLflow", f"{store.display(uri)} answers")
        yield from mlflow_address(uri)
        if store.is_own():
            gone = [one for one in own.versions(store.own_file()) if not has_files(one.source)]
            for one in gone:
                yield Finding(
                    "warn",
                    "registry",
                    f"models:/{one.name}/{one.number} has lost its files, which were in {own.local(one.source)}: bring "
                    f"{store.artifact_root().name}/ along with {store.own_file().name}; `vidpred register` puts back "
                    "those of models/trained",
                )
    if receipt is None:
        if root and (root / RECEIPT).is_file():
            yield Finding("warn", "registry", f"{RECEIPT} is damaged: `dvc repro --force register` makes it again")
        return
    found = standing(receipt)
    if found.trouble:
        yield Finding("warn", "registry", found.trouble)
    elif found.state == "none":  # of a classifier
        yield Finding("ok", "registry", str(receipt["reason"]))
    else:
        yield Finding("ok", "registry", f"has the version of {receipt['name']} that {RECEIPT} tells of")


def _ray(_root: Path | None) -> Iterator[Finding]:
    address = os.environ.get("RAY_ADDRESS", "").strip()
    if address in ("", "local"):
        yield Finding("ok", "Ray", "started by the tune stage on this machine; RAY_ADDRESS names a cluster")
        return
    from vidpred.cluster.guard import address_kind, check_cluster, check_job_server
    from vidpred.commands.exposure import open_cluster

    try:
        kind = address_kind(address)
        if kind == "auto":
            yield Finding("warn", "Ray", "RAY_ADDRESS is auto, which only Ray itself can look up: not tried")
            return
        protected = (check_job_server if kind == "jobs" else check_cluster)(address)
    except UserError as error:
        yield Finding("fail", "Ray", str(error))
    else:
        host = urlsplit(address).hostname if kind == "jobs" else address.rpartition(":")[0].strip("[]")
        yield open_cluster(address, host or "", protected=protected)


def _doors(_root: Path | None) -> Iterator[Finding]:
    from vidpred.commands.exposure import environment, listeners

    yield from environment()
    yield from listeners()


def _dvc(root: Path | None) -> Iterator[Finding]:
    for tool in ("git",):
        if shutil.which(tool) is None:
            yield Finding("fail", tool, f"{tool} is not on the PATH: install it; DVC keeps its records in it")
    if Path(sys.executable).parent != Path(shutil.which("python") or "").parent:
        yield Finding(
            "warn", "PATH", f"`dvc repro` would take another python: `. {Path(sys.prefix).name}/bin/activate` first"
        )
    if root is None:
        return
    config = configparser.ConfigParser(interpolation=None)  # addresses hold percent signs
    try:
        config.read([root / ".dvc/config", root / ".dvc/config.local"])
    except configparser.Error as error:
        yield Finding("fail", "DVC remote", f"{_line(error)}: mend that file")
        return
    remotes = {
        match[1]: config[section].get("url", "") for section in config.sections() if (match := _REMOTE.match(section))
    }
    if not remotes:
        yield Finding(
            "ok",
            "DVC remote",
            "none: `dvc remote add -d team s3://bucket/path`, then `dvc push` shares data and models",
        )
    default = config.get("core", "remote", fallback=None)
    for name, url in remotes.items():
        yield Finding(
            "ok", "DVC remote", f"{name}: {re.sub(r'//[^@/]*@', '//', url)}{' (default)' * (name == default)}"
        )
    if remotes and default not in remotes:
        yield Finding("warn", "DVC remote", f"none is the default: `dvc remote default {next(iter(remotes))}`")


_REMOTE = re.compile(r"'?remote \"(.+)\"'?$")

CHECKS: dict[str, Callable[[Path | None], Iterator[Finding]]] = {
    "project": _project,
    "packages": _packages,
    "ffmpeg": _ffmpeg,
    "shards": _shards,
    "processors": _processors,
    "disk": _disk,
    "MLflow": _mlflow,
    "Ray": _ray,
    "doors": _doors,
    "DVC": _dvc,
}
