"""What the work ran on: the processor, GPUs, threads and the versions that decide a result. No host or user name."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidpred.workspace import cores

PACKAGES = (
    "vidpred", "torch", "numpy", "opencv-python-headless", "safetensors", "torchmetrics", "pandas", "pyarrow", "ray",
    "optuna", "mlflow", "dvc",
)  # fmt: skip
"""Whose versions are recorded; requirements.lock has them all."""


def hardware() -> dict[str, Any]:
    """Processor, the instructions torch uses of it, cores, threads, GPUs; the last two only where torch is loaded."""
    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores(),
        "gpus": [],
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["threads"] = int(torch.get_num_threads())
        found["instructions"] = str(torch.backends.cpu.get_cpu_capability())
        if torch.cuda.is_available():
            found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return found


def versions() -> dict[str, str]:
    """Of Python and `PACKAGES`, as installed here."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def in_words(told: Mapping[str, Any]) -> str:
    """`AMD EPYC 7B13, AVX2, 2 cores, 2 threads; 1 GPU: NVIDIA H200`."""
    parts = [str(told.get("processor") or "an unknown processor")]
    if told.get("instructions"):
        parts.append(str(told["instructions"]))
    parts += [f"{told[name]} {name}" for name in ("cores", "threads") if told.get(name)]
    gpus = [str(name) for name in told.get("gpus") or []]
    some = f"; {len(gpus)} GPU{'s' * (len(gpus) > 1)}: {', '.join(sorted(set(gpus)))}" if gpus else ", no GPU"
    return ", ".join(parts) + some


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """What differs of two answers of `hardware` or `versions`; what only one of them knows is left out."""
    return {name: (str(then[name]), str(now[name])) for name in then if name in now and then[name] != now[name]}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
