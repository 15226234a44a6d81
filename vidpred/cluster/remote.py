"""A stage as a job on a cluster elsewhere: `RAY_ADDRESS=http://head:8265 dvc repro` on a laptop.

The code travels as the job's working folder; the data through storage that both reach, never through Ray. The job
(vidpred.cluster.job) lays both out as the project they come from and runs the very stage, so its key is the same there,
and what was begun in the cluster's `VIDPRED_HOME` under that key is gone on with.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from vidpred.cluster.guard import ALLOW_OPEN, address_kind
from vidpred.cluster.jobs import Job, JobServer, Order, run_job
from vidpred.cluster.parcels import bring, files_below, is_there, send
from vidpred.config import load_params
from vidpred.data.storage import Storage, push_shards
from vidpred.errors import UserError
from vidpred.workspace import (
    content_id,
    digest,
    find_root,
    fresh_folder,
    home,
    init_folder,
    locked,
    stage_key,
    write_json,
)

log = logging.getLogger(__name__)

RECORD = ("*.json", "*.yaml", "*.parquet", "trials/*/*.json", "trials/*/*.jsonl")
"""In the folder of a stage's resumable work: what comes back with the results. Checkpoints stay."""
NOT_RECORD = "driver-*.json"
"""Who holds the folder, over there or here."""
ELSEWHERE = "-elsewhere"
TASK = "job.json"
"""Beside the code: what the job is to do."""
_NOT_SENT = shutil.ignore_patterns("__pycache__", "*.pyc")
_PASSED_ON = ("MLFLOW_EXPERIMENT_NAME",)


def job_server() -> str | None:
    """The job server that `RAY_ADDRESS` names; None where stages run here or as a driver.

    Raises:
        UserError: it names nothing that is understood.
    """
    address = os.environ.get("RAY_ADDRESS", "").strip()
    return address if address_kind(address) == "jobs" else None


def run_stage_elsewhere(stage: str, url: str, arguments: Sequence[str] = ()) -> None:
    """Runs a stage as a job and brings its outputs, as if it had run here; attaches to one that runs already.

    Its record comes to `VIDPRED_HOME/<stage>/<key>/` of this machine, or beside it where the same work was begun
    here too. Ctrl-C leaves the job alone.

    Args:
        stage: Name in dvc.yaml.
        url: Of the job server.
        arguments: Of the stage's command line.

    Raises:
        UserError: the cluster may not be used, no storage is named or it does not answer, `train.init` is a folder of
            this machine, or the job fails.
    """
    root = find_root()
    place = _storage(root)
    init = load_params(root / "params.yaml").train.init
    if init is not None and init_folder(root, init) is not None:
        raise UserError(
            f"train.init: {init} is a folder of this machine, which a job elsewhere does not reach: register the model "
            "and name its version, such as models:/vidpred/3, or set train.init to null"
        )
    server = JobServer(url)
    key = stage_key(stage, root=root)
    specs: dict[str, dict[str, Any]] = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    asked = _asked(root, specs[stage], arguments)

    def results_of(job: Job) -> str:
        return results_folder(job.name, asked)

    with (
        locked(home(root) / "remote" / f"{stage}-{key}"),  # not the stage's own: the job may run on this machine
        tempfile.TemporaryDirectory(prefix="vidpred-code-") as code,
    ):
        inputs = _inputs(root, specs, stage)
        _send_inputs(root, inputs, place)
        pack(root, specs, stage, Path(code))
        task = {
            "stage": stage, "key": key, "arguments": list(arguments), "storage": place.url, "inputs": inputs,
            "asked": asked,
        }  # fmt: skip
        write_json(Path(code) / TASK, task)
        order = Order(
            key=key,
            command=["python", "-m", "vidpred.cluster.job"],
            code=Path(code),
            asked=asked,
            env=_environment(server),
        )
        # what a command line asks for is done each time
        job = run_job(server, order, found=lambda job: not arguments and is_there(place, results_of(job)))
        record = home(root) / stage / key
        if any(record.glob(NOT_RECORD)):
            record = record.with_name(f"{key}{ELSEWHERE}")
        _take(root, outputs(specs[stage]), place, results_of(job), record)


def _asked(root: Path, spec: Mapping[str, Any], arguments: Sequence[str]) -> str:
    """Digest of what decides what a job does, the budget included."""
    params = yaml.safe_load((root / "params.yaml").read_text())
    wanted: list[Any] = [params.get("resources"), list(arguments)]
    for name in spec.get("params", []):
        value: Any = params
        for part in name.split("."):
            value = value[part]
        wanted.append([name, value])
    return digest(wanted)[:16]


def results_folder(job: str, asked: str) -> str:
    """Of a job, in the storage."""
    return f"remote/results/{job}-{asked}"


def outputs(spec: Mapping[str, Any]) -> list[str]:
    """What a stage writes, by dvc.yaml."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in spec.get(kind, [])]
    return [path for entry in entries for path in (entry if isinstance(entry, dict) else [entry])]


def _storage(root: Path) -> Storage:
    params = load_params(root / "params.yaml")
    url = params.resources.storage or params.transcode.storage
    if url is None:
        raise UserError(
            "a sweep as a job needs a place that this machine and the cluster's head both reach: set resources.storage "
            "in params.yaml to s3://bucket/prefix or a shared folder"
        )
    return Storage(url)


def _inputs(root: Path, specs: Mapping[str, Mapping[str, Any]], stage: str) -> dict[str, str]:
    """What other stages have made for this one: path → id of its content."""
    made = {path for spec in specs.values() for path in outputs(spec)}
    return {path: content_id(root / path) for path in specs[stage].get("deps", []) if path in made}


def _send_inputs(root: Path, inputs: Mapping[str, str], place: Storage) -> None:
    for path, known in inputs.items():
        if (root / path / "index.parquet").is_file():
            push_shards(root / path, place.url)
        folder = input_folder(path, known)
        if not is_there(place, folder):
            files = files_below(root / path)
            if (root / path / "index.parquet").is_file():  # the rest goes with the shards
                files = {"meta.json": files["meta.json"]}
            log.info("sending %s to %s", path, place.url)
            send(files, place, folder)


def input_folder(path: str, known: str) -> str:
    """Of an input, in the storage."""
    return f"remote/inputs/{Path(path).name}-{known}"


def pack(root: Path, specs: Mapping[str, Mapping[str, Any]], stage: str, into: Path) -> None:
    """Copies the code and what the stage's key is made of, but no data."""
    made = {path for spec in specs.values() for path in outputs(spec)}
    wanted = ["vidpred", "stages", "params.yaml", "dvc.yaml"]
    wanted += [path for path in specs[stage].get("deps", []) if path not in made and "${" not in path]
    for path in wanted:
        source, target = root / path, into / path
        if source.is_dir():
            shutil.copytree(source, target, ignore=_NOT_SENT, dirs_exist_ok=True)
        elif source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def _environment(server: JobServer) -> dict[str, str]:
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if uri.startswith(("http://", "https://")):
        if urlsplit(uri).username is None:
            passed["MLFLOW_TRACKING_URI"] = uri
        else:
            log.warning("MLFLOW_TRACKING_URI holds a password, which jobs would show: set it on the cluster's nodes")
    if not server.protected:
        passed[ALLOW_OPEN] = "1"  # it was judged from here
    return passed | {"PYTHONUNBUFFERED": "1", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}


def _take(root: Path, written: Sequence[str], place: Storage, folder: str, record: Path) -> None:
    """Puts what a job wrote where the stage would have."""
    with tempfile.TemporaryDirectory(prefix="results-", dir=home(root)) as scratch:
        names = bring(place, folder, Path(scratch))
        for path in written:
            if (Path(scratch) / "outputs" / path).is_dir():
                fresh_folder(root / path)
        for name in names:
            kind, _, path = name.partition("/")
            if kind == "outputs" and not any(path == one or path.startswith(f"{one}/") for one in written):
                raise UserError(f"{place.url}/{folder} has {path}, which is no output of the stage: delete it there")
            target = (root if kind == "outputs" else record) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.move(Path(scratch) / name, target)
    log.info("the results of %s are here", folder.rpartition("/")[2].rpartition("-")[0])
    if record.name.endswith(ELSEWHERE) and record.is_dir():
        log.warning("this was begun here too: the job's own record is in %s", record)
