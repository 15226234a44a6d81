"""Classifiers in the registry: under a name of their own, with an alias that top-1 earns, and of use to anybody."""

from __future__ import annotations

import json
import os
import pickle  # noqa: TID251 - what must never be loaded
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tracking.classes import CLASSES, NAME, TASK, ClassProject
from tests.tracking.conftest import Project
from vidpred import workspace
from vidpred.commands.serve import default_models
from vidpred.config import Params, load_params
from vidpred.data.encode import write_gif
from vidpred.errors import UserError
from vidpred.models.files import load_model
from vidpred.serving.classify import ClipClassifier
from vidpred.tracking import registry, store
from vidpred.tracking.card import CONFUSION, read_card
from vidpred.tracking.card_text import DESCRIPTION
from vidpred.tracking.judge import judge_on
from vidpred.tracking.listing import list_versions
from vidpred.tracking.promotion import promote, rollback
from vidpred.tracking.pull import pull
from vidpred.types import Classifier, Task

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]

# Blocks this checkout, then classifies as a third party would
OUTSIDER = """
import importlib.util, sys
sys.path = [p for p in sys.path if p not in ("", ROOT)]
sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
assert importlib.util.find_spec("vidpred") is None
import mlflow, numpy
model = mlflow.pyfunc.load_model("models:/vidpred-classify@champion")
model.predict(numpy.load("clips.npy"), params={"windows": 3}).to_json("told.json")
assert model.predict(model.input_example).shape == (1, 6)
import vidpred
assert not vidpred.__file__.startswith(ROOT), vidpred.__file__
"""


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory, root: Path) -> ClassProject:
    """The project; what is registered of it is each test's own."""
    return ClassProject(tmp_path_factory.mktemp("colours"), load_params(root / "params.yaml"))


def aliases() -> dict[str, str]:
    """Which version has which alias."""
    return {alias: str(v) for alias, v in store.connect().get_registered_model(NAME).aliases.items()}


def tags(version: str) -> dict[str, str]:
    """What a version says of itself."""
    return dict(store.connect().get_model_version(NAME, version).tags)


def test_each_task_has_a_name_of_its_own(params: Params) -> None:
    raw = params.model_dump(by_alias=True)
    assert Params.model_validate(raw).registered == "vidpred"
    raw["task"] |= {"kind": "classify"}
    assert Params.model_validate(raw).registered == NAME
    raw["register"] = {"name": "birds"}
    assert Params.model_validate(raw).registered == "birds"


def test_worse_one_and_a_tie_do_not_become_champion_and_a_better_one_does(colours: ClassProject) -> None:
    first = colours.register(["red", "blue"])
    assert (first["alias"], aliases()) == ("champion", {"champion": "1"})
    assert "it beats majority, and there was no champion" in first["reason"]
    assert first["figures"]["top1"] == pytest.approx(4 / 6)
    assert first["figures"]["majority_top1"] == pytest.approx(1 / 6)

    worse = colours.register(["red", "blue", "cyan"])
    assert (worse["alias"], aliases()) == ("challenger", {"champion": "1", "challenger": "2"})
    assert "top-1 50.0 % against 66.7 % on the same 138 test videos" in worse["reason"]
    assert "says that it is worse" in tags("2")["vidpred.reason"]

    tie = colours.register(["red", "blue"], shift=1.0)
    assert (tie["alias"], aliases()) == ("challenger", {"champion": "1", "challenger": "3"})
    assert "+0.0 to +0.0 points, holds zero" in tie["reason"]

    better = colours.register(["red"])
    assert (better["alias"], aliases()) == ("champion", {"champion": "4", "challenger": "3"})
    assert better["champion"]["gain"]["pooled_interval"][0] > 0
    said = tags("4")
    assert (said["vidpred.promoted_how"], said["vidpred.promoted_from"]) == ("by the gate", "1")
    assert float(said["vidpred.top1"]) == pytest.approx(5 / 6, abs=1e-3)
    assert json.dumps(colours.register(["red"])) == json.dumps(better)  # twice gives one version, and the same receipt
    assert len(list_versions(NAME)) == 4


def test_one_that_always_says_the_same_has_no_alias(colours: ClassProject) -> None:
    receipt = colours.register([name for name in CLASSES if name != "green"])
    assert receipt["alias"] is None
    assert receipt["reason"].startswith("it does not beat majority: the 95 % interval of the gain, +0.0 to +0.0 points")
    assert aliases() == {}


def test_champion_of_other_classes_frames_or_task_is_not_compared(colours: ClassProject, project: Project) -> None:
    colours.register(["red"], fps=25.0)
    receipt = colours.register()
    assert (receipt["alias"], aliases()) == ("challenger", {"champion": "1", "challenger": "2"})
    assert "fps 25.0 instead of 10.0" in receipt["reason"]
    # as if both were registered under one name
    folder = project.model()
    registry.register(folder, name=NAME, run_key="k", bench=project.bench(folder), pictures=project.pictures())
    store.connect().set_registered_model_alias(NAME, "champion", "3")
    assert "for another task, kind predict instead of classify" in colours.register(["blue"])["reason"]


def test_promote_asks_the_gate_anew_and_rollback_undoes_it(colours: ClassProject) -> None:
    judge = judge_on(colours.shards, colours.split, by_time=False, params=colours.params, device=torch.device("cpu"))
    colours.register(["red"])
    colours.register(["red", "blue"])
    worse = promote(f"models:/{NAME}/2", judge=judge)
    assert not worse.champion
    assert "does not beat the champion (version 1): top-1 66.7 % against 83.3 %" in worse.reason
    assert promote(f"models:/{NAME}/2", reason="never says blue").champion
    assert aliases()["champion"] == "2"
    assert promote(f"models:/{NAME}/1", judge=judge).champion
    assert rollback(NAME) == ("1", "2")
    others = Task(context=4, horizon=0, height=32, width=32, kind="classify", classes=("cat", "dog", "red"))
    folder = colours.model(task=others)
    with pytest.raises(
        UserError, match=r"another task than this project, classes with cat, dog and without blue, cyan"
    ):
        judge(folder)


def test_card_tells_of_the_classes(colours: ClassProject) -> None:
    folder = colours.model(["red"])
    bench = colours.bench(folder)
    _, pictures = colours.evaluate(folder)
    registry.register(folder, name=NAME, run_key="k", bench=bench, pictures=pictures)
    downloaded = registry.download(f"models:/{NAME}@champion")
    card = read_card(downloaded)
    assert card["test"]["videos"] == 138
    assert {row["name"]: row["recall"] for row in card["test"]["classes"]} == dict.fromkeys(CLASSES, 1.0) | {"red": 0.0}
    low, high = card["test"]["top1_interval"]
    assert low <= card["test"]["metrics"]["single_frame"]["top1"] <= high
    assert any(
        line.startswith("Of 23 test videos of red it finds 0.0 %, most often taken for") for line in card["limits"]
    )
    assert "Made to tell 6 classes apart (blue, cyan, green, purple, red, yellow)" in card["limits"][0]
    assert card["pictures"] == ["card.png", "card.gif", CONFUSION]
    with Image.open(downloaded / CONFUSION) as drawn:
        assert min(drawn.size) > 200
    text = (downloaded / "card.md").read_text()
    assert "| **single\\_frame** | 83.3 % |" in text
    assert f"]({CONFUSION})" in text
    said = str(store.connect().get_model_version(NAME, "1").description)
    assert said.startswith("# single\\_frame: 6 classes in 4 frames of 32x32")
    assert len(said) <= DESCRIPTION


def test_what_is_pulled_classifies_without_a_registry(colours: ClassProject, tmp_path: Path) -> None:
    colours.register()
    pulled = pull(f"models:/{NAME}@champion", tmp_path / "mine")
    assert pulled.told["kind"] == "classify"
    frames = np.full((8, 32, 32, 3), [160, 20, 20], np.uint8)
    write_gif(tmp_path / "red.gif", frames, 10)
    for place in (f"models:/{NAME}@champion", str(pulled.folder)):
        model = ClipClassifier.load(place)
        scores = model.scores(model.read(tmp_path / "red.gif"))
        assert max(scores, key=scores.__getitem__) == "red"


def test_serve_takes_the_champion_that_there_is(
    colours: ClassProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    colours.register()
    monkeypatch.chdir(tmp_path)
    assert default_models() == (f"models:/{NAME}@champion",)
    (tmp_path / "models/trained").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text("")
    assert default_models() == (str(tmp_path / "models/trained"), f"models:/{NAME}@champion")


def test_runs_without_vidpred_and_without_pickle(colours: ClassProject, tmp_path: Path, root: Path) -> None:
    colours.register()
    clips = np.random.default_rng(0).integers(0, 255, (2, 7, 32, 32, 3), np.uint8)
    np.save(tmp_path / "clips.npy", clips)
    env = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"}
    env |= {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_TRACKING_URI": store.tracking_uri()}
    done = subprocess.run(
        [sys.executable, "-c", OUTSIDER.replace("ROOT", repr(str(root)))],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads((tmp_path / "told.json").read_text())
    assert tuple(told) == CLASSES
    ours = ClipClassifier.load(colours.model())
    for number, clip in enumerate(clips):
        assert {name: told[name][str(number)] for name in CLASSES} == pytest.approx(
            ours.scores(clip, windows=3), abs=1e-6
        )


class Trap:
    """Leaves a marker where it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, (str(Path.cwd() / "marker"),)


def test_package_that_lies_is_refused(colours: ClassProject, home: Path) -> None:
    colours.register()
    folder = next((home / "mlartifacts").rglob("model.json")).parent
    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    info = json.loads((folder / "model.json").read_text())

    def tell(**changed: object) -> None:
        sha256 = workspace.file_sha256(folder / "model.safetensors")
        (folder / "model.json").write_text(json.dumps(info | {"weights_sha256": sha256} | changed))

    tell()
    for use in (lambda: ClipClassifier.load(f"models:/{NAME}@champion"), lambda: pull(f"models:/{NAME}/1")):
        with pytest.raises(UserError, match="do not fit"):
            use()
    receipt = colours.register(["red"])
    assert (receipt["alias"], aliases()) == ("challenger", {"champion": "1", "challenger": "2"})
    assert "cannot be loaded here" in receipt["reason"]
    for changed in ({"classes": "abcdef"}, {"classes": [1, 2]}, {"classes": []}, {"classes": ["red"] * 6}):
        tell(task=info["task"] | changed)
        with pytest.raises(UserError) as raised:
            ClipClassifier.load(f"models:/{NAME}@champion")
        assert "\n" not in str(raised.value)
    assert not Path("marker").exists()


def test_a_predictor_is_no_classifier(project: Project, colours: ClassProject) -> None:
    project.register()
    with pytest.raises(UserError, match="predicts"):
        ClipClassifier.load("models:/vidpred@champion")
    assert load_model(colours.model(), Classifier)[1]["task"]["kind"] == TASK.kind
