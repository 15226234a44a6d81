"""Models in the registry: once, with the alias that they earned, and running where vidpred is not installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tracking.conftest import TASK, Project, free_port, serving
from tests.tracking.servers import postgres
from vidpred import workspace
from vidpred.errors import UserError
from vidpred.models.files import load_model
from vidpred.serving.predictor import FramePredictor
from vidpred.tracking import registry, store
from vidpred.tracking.runs import Tracker
from vidpred.types import Task

# MLflow uses parts of SQLAlchemy that are to go
pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]

# Blocks this checkout, then predicts as a third party would
OUTSIDER = """
import importlib.util, sys
sys.path = [p for p in sys.path if p not in ("", ROOT)]
sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
assert importlib.util.find_spec("vidpred") is None
import mlflow, numpy
model = mlflow.pyfunc.load_model("models:/vidpred@champion")
frames = numpy.load("frames.npy")
numpy.save("one.npy", model.predict(frames))
numpy.save("five.npy", model.predict(frames, params={"frames": 5}))
assert model.predict(model.input_example).shape == (1, 1, 16, 16, 3)
import vidpred
assert not vidpred.__file__.startswith(ROOT), vidpred.__file__
"""


def aliases(name: str = "vidpred") -> dict[str, str]:
    """Which version has which alias."""
    return {alias: str(version) for alias, version in store.connect().get_registered_model(name).aliases.items()}


def versions(name: str = "vidpred") -> list[str]:
    """All versions, oldest first."""
    return sorted(str(v.version) for v in store.connect().search_model_versions(f"name = '{name}'"))


def tags(version: str, name: str = "vidpred") -> dict[str, str]:
    """What a version says of itself."""
    return dict(store.connect().get_model_version(name, version).tags)


def test_first_that_beats_copy_last_is_champion(home: Path, project: Project) -> None:
    receipt = project.register()
    assert receipt["alias"] == "champion"
    assert "no champion" in receipt["reason"]
    assert receipt["figures"]["gain_pooled"] > 0.9
    assert aliases() == {"champion": "1"}
    said = tags("1")
    assert said["vidpred.data_id"] == project.shards.data_id
    assert (said["vidpred.task.context"], said["vidpred.task.height"]) == ("3", "16")
    assert said["vidpred.weights_sha256"] == receipt["weights_sha256"]
    where = json.loads((home / "register" / f"{receipt['weights_sha256']}.json").read_text())
    assert where["uri"] == "models:/vidpred/1"
    run = store.connect().get_run(where["run_id"])
    assert run.data.metrics["loss"] == 0.25  # of metrics.jsonl: the run was made now
    assert run.data.metrics["test_perceptual_distance"] < 1
    assert not {"version", "run_id", "uri"} & receipt.keys()


def test_twice_gives_one_version(project: Project) -> None:
    first = project.register()
    second = project.register()
    assert versions() == ["1"]
    assert json.dumps(second) == json.dumps(first)
    assert aliases() == {"champion": "1"}


def test_twice_tells_the_same_of_every_outcome(home: Path, project: Project) -> None:
    project.register(0.5)
    outcomes = {
        "champion": {"good": 0.9},
        "loser": {"good": 0.7},
        "challenger": {"good": 1.0, "fps": 25.0},
    }
    for told in outcomes.values():
        first, second = (json.dumps(project.register(**told)) for _ in range(2))
        assert first == second
    shutil.rmtree(home / "mlartifacts")
    first, second = (json.dumps(project.register(0.8)) for _ in range(2))
    assert first == second
    assert tempfile.gettempdir() not in first
    assert aliases() == {"champion": "2", "challenger": "5"}


def test_champion_that_beats_copying_no_longer_loses_its_alias(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.register()
    changed = {"beats_copy_last": False, "why_not": "a claim needs 20 groups"}
    first = project.register(changed=changed)
    assert first["alias"] is None
    assert first["reason"] == "it does not beat copy_last: a claim needs 20 groups"
    assert "models:/vidpred/1 is champion no more" in caplog.text
    assert (versions(), aliases()) == (["1"], {})
    assert tags("1")["vidpred.decision"] == "none"
    assert json.dumps(project.register(changed=changed)) == json.dumps(first)
    assert project.register()["alias"] == "champion"


def test_champion_by_hand_stays_champion(project: Project) -> None:
    project.register(0.5)
    project.register(0.4)
    store.connect().set_registered_model_alias("vidpred", "champion", "2")
    first, second = (project.register(0.4) for _ in range(2))
    assert first == second
    assert (first["alias"], aliases()) == ("champion", {"champion": "2"})
    assert "by hand" in first["reason"]


def test_run_has_the_pictures_and_figures_of_the_last_evaluation(project: Project) -> None:
    client = store.connect()
    project.register()
    run_id = client.get_model_version("vidpred", "1").run_id
    assert {f.path for f in client.list_artifacts(run_id)} == {"pictures", "registered"}
    before = client.get_run(run_id).data.metrics["test_perceptual_distance"]

    folder = project.model()
    bench = project.bench(folder)
    bench.metrics["test"]["conv2d"]["perceptual_distance"] = 12.5
    for _ in range(2):
        registry.register(
            folder,
            name="vidpred",
            run_key=f"key-{folder.name}",
            bench=bench,
            pictures=project.pictures(colour=b"blue"),
        )
    assert versions() == ["1"]
    assert client.get_run(run_id).data.metrics["test_perceptual_distance"] == 12.5
    history = [m.value for m in client.get_metric_history(run_id, "test_perceptual_distance")]
    assert sorted(history) == [before, 12.5]
    assert {f.path for f in client.list_artifacts(run_id, "pictures")} == {"pictures/0.png", "pictures/pictures.json"}
    kept = Path(client.download_artifacts(run_id, "pictures/0.png"))
    assert kept.read_bytes() == b"blue"
    assert client.get_run(run_id).info.status == "FINISHED"


def test_no_better_than_copying_gets_no_alias(project: Project) -> None:
    receipt = project.register(0.0)
    assert receipt["alias"] is None
    assert "does not beat copy_last" in receipt["reason"]
    assert (versions(), aliases()) == (["1"], {})


def test_better_one_takes_over_and_worse_one_does_not(project: Project) -> None:
    project.register(0.5)
    better = project.register(0.9)
    assert better["alias"] == "champion"
    assert better["champion"]["gain"]["pooled_interval"][0] > 0
    assert aliases() == {"champion": "2"}
    worse = project.register(0.7)
    assert worse["alias"] == "challenger"
    assert "does not beat the champion (version 2)" in worse["reason"]
    assert (versions(), aliases()) == (["1", "2", "3"], {"champion": "2", "challenger": "3"})


def test_champion_of_another_task_is_not_compared(project: Project) -> None:
    project.register(0.5)
    receipt = project.register(1.0, task=Task(context=4, horizon=1, height=16, width=16))
    assert receipt["alias"] == "challenger"
    assert "context 3 instead of 4" in receipt["reason"]
    assert aliases() == {"champion": "1", "challenger": "2"}


@pytest.mark.parametrize(
    ("other", "told"),
    [({"fps": 25.0}, "fps 10.0 instead of 25.0"), ({"fit": "pad"}, "fit crop instead of pad")],
)
def test_champion_of_other_frames_is_not_compared(project: Project, other: dict[str, Any], told: str) -> None:
    project.register(0.5)
    receipt = project.register(1.0, **other)
    assert receipt["alias"] == "challenger"
    assert told in receipt["reason"]
    assert aliases() == {"champion": "1", "challenger": "2"}


def test_champion_that_saw_the_test_groups_is_not_compared(
    project: Project, new_project: Callable[..., Project]
) -> None:
    new_project("more training", test_from=8).register(0.5)
    receipt = project.register(1.0)
    assert receipt["alias"] == "challenger"
    assert "trained on 3 of the groups in this test part" in receipt["reason"]
    assert store.connect().get_model_version("vidpred", "2").tags["vidpred.reason"] == receipt["reason"]


def test_champion_of_other_data_is_compared(project: Project, new_project: Callable[..., Project]) -> None:
    new_project("other clips", seed=7).register(0.5)
    assert project.register(1.0)["alias"] == "champion"
    assert aliases() == {"champion": "2"}


def test_challenger_that_becomes_champion_is_challenger_no_more(project: Project) -> None:
    project.register(0.5, task=Task(context=4, horizon=1, height=16, width=16))
    project.register(1.0)
    assert aliases() == {"champion": "1", "challenger": "2"}
    store.connect().delete_registered_model_alias("vidpred", "champion")
    project.register(1.0)
    assert aliases() == {"champion": "2"}


def test_champion_whose_files_are_gone_is_not_compared(home: Path, project: Project) -> None:
    project.register(0.5)
    shutil.rmtree(home / "mlartifacts")
    receipt = project.register(1.0)
    assert receipt["alias"] == "challenger"
    assert "cannot be loaded" in receipt["reason"]


def test_models_without_weights_are_told_apart(project: Project) -> None:
    folder = project.model()
    bench = project.bench(folder)
    for config in ({"variant": "seed"}, {"variant": "seed", "noise": 0.1}):
        info = json.loads((folder / "model.json").read_text()) | {"config": {**bench.info["config"], **config}}
        (folder / "model.json").write_text(json.dumps(info))
        info = load_model(folder)[1]
        registry.register(
            folder, name="vidpred", run_key="k", bench=replace(bench, info=info), pictures=project.pictures()
        )
    assert versions() == ["1", "2"]


def test_a_registry_that_is_away_is_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UserError, match="nothing listens there"):
        project.register(0.5)


def test_download_of_every_form(home: Path, project: Project) -> None:
    receipt = project.register()
    where = json.loads((home / "register" / f"{receipt['weights_sha256']}.json").read_text())
    of_run = f"runs:/{where['run_id']}/registered/{receipt['identity'][:12]}"
    of_registry = {
        registry.download(uri)
        for uri in ("models:/vidpred@champion", "models:/vidpred/1", "models:/vidpred/latest", of_run)
    }
    assert len(of_registry) == 1
    folder = of_registry.pop()
    assert load_model(folder)[1]["weights_sha256"] == receipt["weights_sha256"]
    assert {p.name for p in folder.iterdir()} == {"card.json", "card.md", "model.json", "model.safetensors"}
    assert registry.download(str(project.model())) == project.model()
    with_code = next((home / "mlartifacts").rglob("MLmodel")).parent
    assert registry.download(str(with_code)) == with_code / "artifacts"


def test_what_is_not_there_is_told_in_one_line(project: Project) -> None:
    project.register()
    for uri, told in {
        "models:/nothing@champion": r"it has vidpred; go into the project that made it, or set MLFLOW_TRACKING_URI",
        "models:/vidpred@challenger": r"has version 1, aliases champion; a version that beats copying but not the "
        r"champion becomes challenger$",
        "models:/vidpred@best": r"vidpred has version 1, aliases champion; give for instance models:/vidpred/1",
        "models:/vidpred/7": r"vidpred has version 1, aliases champion",
        "models:/vidpred": r"names no model: did you mean models:/vidpred@champion\? Else give models:/NAME@ALIAS",
        "runs:/0123/model": r"is not in sqlite",
        "no/such/folder": r"no/such/folder is no folder: cd into the project that has it, or give models:/NAME@ALIAS",
    }.items():
        with pytest.raises(UserError, match=told) as raised:
            registry.download(uri)
        assert "\n" not in str(raised.value)


def test_model_that_its_run_wrote_again_is_fetched_again(project: Project) -> None:
    with Tracker.open(stage="train", key="again") as run:
        run.artifact(project.model(0.5), "model")
        first = registry.download(f"runs:/{run.run_id}/model")
        assert registry.download(f"runs:/{run.run_id}/model") == first
        run.artifact(project.model(1.0), "model")
    second = registry.download(f"runs:/{run.run_id}/model")
    for folder, good in ((first, 0.5), (second, 1.0)):
        assert load_model(folder)[1]["weights_sha256"] == load_model(project.model(good))[1]["weights_sha256"]


def test_what_only_the_receipt_tells_of_is_to_be_registered(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = project.register()
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text("")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    workspace.write_json(tmp_path / "results/register/receipt.json", receipt)
    client = store.connect()
    with pytest.raises(UserError, match=r"has version 1, aliases champion; give for instance models:/vidpred/1$"):
        registry.download("models:/vidpred/2")  # whatever that was: the registry has what the receipt tells of
    client.delete_registered_model_alias("vidpred", "champion")
    with pytest.raises(UserError, match=r"version 1, no aliases; .*receipt\.json tells of .*run `vidpred register`$"):
        registry.download("models:/vidpred@champion")
    with pytest.raises(UserError, match=r"give for instance models:/vidpred/1$"):
        registry.download("models:/vidpred@best")
    client.delete_model_version("vidpred", "1")
    for uri in ("models:/vidpred/1", "models:/vidpred/latest", "models:/vidpred@champion"):
        with pytest.raises(UserError, match=r"no versions, no aliases; .*tells of .*run `vidpred register`$") as raised:
            FramePredictor.load(uri)
        assert "\n" not in str(raised.value)


def test_registered_folder_tells_nothing_of_this_machine(home: Path, project: Project, root: Path) -> None:
    project.register()
    folder = next((home / "mlartifacts").rglob("MLmodel")).parent
    for path in folder.rglob("*"):
        text = path.read_bytes().decode(errors="replace") if path.is_file() else ""
        for private in (str(root), str(home.parent), tempfile.gettempdir(), str(Path.home()) + "/"):
            assert private not in text, path


def test_damaged_model_is_refused(home: Path, project: Project) -> None:
    project.register()
    for weights in (home / "mlartifacts").rglob("model.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-4] + b"evil")
    with pytest.raises(UserError, match="is damaged"):
        registry.download("models:/vidpred@champion")


def test_downloading_runs_no_code_of_the_registry(home: Path, project: Project, tmp_path: Path) -> None:
    project.register()
    for code in (home / "mlartifacts").rglob("*.py"):
        code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    registry.download("models:/vidpred@champion")
    assert not (tmp_path / "ran").exists()


def outsider_predicts(folder: Path, python: str, root: Path, env: dict[str, str]) -> None:
    """Loads the champion in a process of its own where vidpred is not to be found, and checks what it predicts."""
    frames = np.zeros((2, TASK.context, 16, 16, 3), np.uint8)
    for i in range(TASK.context):
        frames[:, i, 4:8, 2 + i : 6 + i] = 200
    np.save(folder / "frames.npy", frames)
    code = OUTSIDER.replace("ROOT", repr(str(root)))
    env = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"} | env
    env |= {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    done = subprocess.run(
        [python, "-c", code], cwd=folder, env=env, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, five = np.load(folder / "one.npy"), np.load(folder / "five.npy")
    assert (one.dtype, one.shape, five.shape) == (np.uint8, (2, 1, 16, 16, 3), (2, 5, 16, 16, 3))
    expected = np.zeros((16, 16, 3), np.uint8)
    expected[4:8, 2 + TASK.context : 6 + TASK.context] = 200
    assert (one[0, 0] == expected).all()


def test_runs_without_vidpred_and_without_pickle(project: Project, tmp_path: Path, root: Path) -> None:
    project.register()
    empty = tmp_path / "empty"
    empty.mkdir()
    outsider_predicts(empty, sys.executable, root, {"MLFLOW_TRACKING_URI": store.tracking_uri()})


def test_server_keeps_and_gives_models(
    project: Project, tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(empty_database, tmp_path / "server.db")
    with serving(tmp_path, f"sqlite:///{tmp_path / 'server.db'}") as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        project.register(0.5)
        assert project.register(1.0)["alias"] == "champion"
        assert project.register(1.0)["alias"] == "champion"
        assert versions() == ["1", "2"]
        start = time.perf_counter()
        first = registry.download("models:/vidpred@champion")
        assert load_model(first)[1]["weights_sha256"] == tags("2")["vidpred.weights_sha256"]
        assert registry.download("models:/vidpred/2") == first
        assert time.perf_counter() - start < 5
        with pytest.raises(UserError, match="vidpred has versions 1, 2, aliases champion"):
            registry.download("models:/vidpred@best")


@pytest.mark.slow
def test_server_with_postgres(
    require: Callable[[str], str],
    project: Project,
    tmp_path: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    binary = Path(require("postgres")).resolve().parent
    with postgres(binary) as database, serving(tmp_path, database) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        project.register(0.5)
        assert project.register(1.0)["alias"] == "champion"
        assert project.register(1.0)["alias"] == "champion"
        assert (versions(), aliases()) == (["1", "2"], {"champion": "2"})
        assert registry.download("models:/vidpred@champion").is_dir()
        empty = tmp_path / "empty"
        empty.mkdir()
        outsider_predicts(empty, sys.executable, root, {"MLFLOW_TRACKING_URI": uri})


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fresh_environment_from_the_models_requirements(
    home: Path, project: Project, tmp_path: Path, root: Path
) -> None:
    project.register()
    wanted = next((home / "mlartifacts").rglob("requirements.txt"))
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--quiet"]
    reach = subprocess.run(
        [*pip, "download", "--no-deps", "-d", str(tmp_path), "safetensors"], check=False, capture_output=True
    )
    if reach.returncode:
        pytest.skip("pip reaches no package index")
    subprocess.run([*pip, "install", "-r", str(wanted)], check=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    outsider_predicts(empty, str(venv / "bin" / "python"), root, {"MLFLOW_TRACKING_URI": store.tracking_uri()})
