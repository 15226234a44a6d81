"""What runs on the cluster for a stage of another machine (vidpred.cluster.remote), in a copy of its project's code.

Brings the inputs from the storage to the cluster's `VIDPRED_HOME`, which all nodes share, links them to where the stage
looks for them, runs the stage, and leaves its outputs and its record in the storage.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from vidpred.cluster.parcels import bring, files_below, send
from vidpred.cluster.remote import RECORDS, TASK, input_folder, outputs, results_folder
from vidpred.data.storage import Storage, fetch_shards
from vidpred.errors import UserError
from vidpred.workspace import content_id, home, locked, run_stage, stage_key


def main() -> None:
    (name,) = sys.argv[1:]
    task = json.loads(Path(TASK).read_text())
    stage = task["stage"]
    if not os.environ.get("VIDPRED_HOME"):
        raise UserError(
            "the cluster's nodes have no VIDPRED_HOME: start Ray on them with it set to a folder that all of them share"
        )
    place = Storage(task["storage"])
    for path, known in task["inputs"].items():
        _link(path, known, place)
    found = stage_key(stage)
    if found != task["key"]:
        raise UserError(
            f"the key of {stage} is {found} here and {task['key']} where it was asked for: the "
            "same vidpred must be there"
        )
    done = subprocess.run([sys.executable, "-m", f"stages.{stage}", *task["arguments"]], check=False)
    if done.returncode != 0:
        sys.exit(done.returncode if done.returncode > 0 else 128 - done.returncode)
    spec = yaml.safe_load(Path("dvc.yaml").read_text())["stages"][stage]
    files: dict[str, Path] = {}
    for path in outputs(spec):
        if Path(path).is_dir():
            files |= {f"outputs/{path}/{name}": found for name, found in files_below(Path(path)).items()}
        else:
            files[f"outputs/{path}"] = Path(path)
    record = files_below(home() / stage / task["key"])
    files |= {f"record/{name}": path for name, path in record.items() if _is_record(name)}
    send(files, place, results_folder(name, task["asked"]))


def _link(path: str, known: str, place: Storage) -> None:
    """An input, brought once and linked to where the stage looks for it."""
    kept = home() / "inputs" / f"{Path(path).name}-{known}"
    with locked(kept):
        folder, whole = kept / Path(path).name, kept / "whole"
        if not whole.is_file():
            names = bring(place, input_folder(path, known), folder)
            if names == ["meta.json"]:
                _bring_shards(place, folder)
            if content_id(folder) != known:
                raise UserError(f"{place.url}/{input_folder(path, known)} is not what was sent: delete it there")
            whole.touch()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).symlink_to(folder, target_is_directory=True)


def _bring_shards(place: Storage, folder: Path) -> None:
    fetch_shards(f"{place.url}/shards/{json.loads((folder / 'meta.json').read_text())['data_id']}", folder)


def _is_record(name: str) -> bool:
    path = Path(name)
    return path.suffix in RECORDS and not any(part.startswith("checkpoint") for part in path.parts)


if __name__ == "__main__":
    run_stage(main)
