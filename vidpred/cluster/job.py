"""What runs on the cluster for a stage of another machine (vidpred.cluster.remote), in a copy of its project's code.

Brings the inputs from the storage to the cluster's `VIDPRED_HOME`, which all nodes share, links code and inputs into a
project of the job's own, runs the stage there, and leaves its outputs and its record in the storage.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from vidpred.cluster.parcels import bring, files_below, send
from vidpred.cluster.remote import NOT_RECORD, RECORD, TASK, input_folder, outputs, results_folder
from vidpred.data.storage import Storage, fetch_shards
from vidpred.errors import UserError
from vidpred.workspace import content_id, home, locked, run_stage, shared, stage_key


def main() -> None:
    (name,) = sys.argv[1:]
    code = Path.cwd()
    task = json.loads((code / TASK).read_text())
    if not os.environ.get("VIDPRED_HOME"):
        raise UserError(
            "the cluster's nodes have no VIDPRED_HOME: start Ray on them with it set to a folder that all of them share"
        )
    # not in the folder of the code: Ray gives jobs with the same code the same one
    with tempfile.TemporaryDirectory(prefix="vidpred-job-") as scratch:
        project = Path(scratch)
        for path in code.iterdir():
            (project / path.name).symlink_to(path)
        _run(name, task, project)


def _run(name: str, task: Mapping[str, Any], project: Path) -> None:
    """Runs the stage in a project that has all but its data."""
    place = Storage(task["storage"])
    with ExitStack() as stack:
        for path, known in task["inputs"].items():
            (project / path).parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(brought(path, known, place))
            (project / path).symlink_to(folder, target_is_directory=True)
        _run_stage(name, task, project, place)


def _run_stage(name: str, task: Mapping[str, Any], project: Path, place: Storage) -> None:
    stage, key = task["stage"], task["key"]
    found = stage_key(stage, root=project)
    if found != key:
        raise UserError(
            f"the key of {stage} is {found} here and {key} where it was asked for: the same vidpred must be there"
        )
    command = [sys.executable, "-m", f"stages.{stage}", *task["arguments"]]
    done = subprocess.run(command, cwd=project, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode if done.returncode > 0 else 128 - done.returncode)
    spec = yaml.safe_load((project / "dvc.yaml").read_text())["stages"][stage]
    files: dict[str, Path] = {}
    for path in outputs(spec):
        below = files_below(project / path) if (project / path).is_dir() else {"": project / path}
        files |= {f"outputs/{path}/{name}".rstrip("/"): found for name, found in below.items()}
    if not (home() / "remote" / f"{stage}-{key}").is_dir():  # else whoever asked has the same home
        files |= _record(home() / stage / key)
    send(files, place, results_folder(name, task["asked"]))


def _record(folder: Path) -> dict[str, Path]:
    listed = (path for pattern in RECORD for path in folder.glob(pattern) if not path.match(NOT_RECORD))
    return {f"record/{path.relative_to(folder).as_posix()}": path for path in listed}


@contextmanager
def brought(path: str, known: str, place: Storage) -> Iterator[Path]:
    """An input, brought once to where every node finds it; inside, `vidpred clean` leaves it alone."""
    kept = home() / "inputs" / f"{Path(path).name}-{known}"
    folder, whole = kept / Path(path).name, kept / "whole"
    while True:
        if not whole.is_file():
            with locked(kept):
                _bring(path, known, place, folder, whole)
        with shared(kept):
            if whole.is_file():  # else it was cleaned away just now
                whole.touch()
                yield folder
                return


def _bring(path: str, known: str, place: Storage, folder: Path, whole: Path) -> None:
    if whole.is_file():  # another job was first
        return
    names = bring(place, input_folder(path, known), folder)
    if names == ["meta.json"]:  # the rest of shards is where they are kept
        data_id = json.loads((folder / "meta.json").read_text())["data_id"]
        fetch_shards(f"{place.url}/shards/{data_id}", folder)
    if content_id(folder) != known:
        raise UserError(f"{place.url}/{input_folder(path, known)} is not what was sent: delete it there")
    whole.touch()


if __name__ == "__main__":
    run_stage(main)
