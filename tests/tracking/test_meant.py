"""A MODEL that is not there: what it says is what a person would have to type instead."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.tracking.conftest import Project
from vidpred.errors import UserError
from vidpred.serving.classify import ClipClassifier
from vidpred.serving.predictor import FramePredictor
from vidpred.tracking.download import download
from vidpred.tracking.lineage.subject import opened
from vidpred.tracking.promotion import promote, rollback
from vidpred.tracking.pull import pull
from vidpred.tracking.runs import Tracker

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]


def said(model: str) -> str:
    """What `download` says of a model that is not there."""
    with pytest.raises(UserError) as raised:
        download(model)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_slip_in_an_address_gets_the_right_one(project: Project) -> None:
    project.register()
    for typed, meant in {
        "models:/vidpre@champion": "models:/vidpred@champion",
        "models:/VidPred/1": "models:/vidpred/1",
        "models:/vidpred@champoin": "models:/vidpred@champion",
        "models:/vidprde@champoin": "models:/vidpred@champion",
        "models:/vidpred/champion": "models:/vidpred@champion",
        "models:/vidpred/v1": "models:/vidpred/1",
        "models:/vidpred@1": "models:/vidpred/1",
        "models:/vidpred": "models:/vidpred@champion",
        "models://vidpred@champion": "models:/vidpred@champion",
        "models:vidpred@champion": "models:/vidpred@champion",
        "model:/vidpred/1": "models:/vidpred/1",
        "vidpred@champion": "models:/vidpred@champion",
        "vidpred": "models:/vidpred@champion",
        "champion": "models:/vidpred@champion",
    }.items():
        assert f"did you mean {meant}?" in said(typed), typed


def test_every_command_that_takes_a_model_says_it(project: Project) -> None:
    project.register()
    with pytest.raises(UserError, match=r"did you mean models:/vidpred@champion\?"):
        pull("models:/vidpred@champoin")
    with pytest.raises(UserError, match=r"did you mean models:/vidpred@champion\?"):
        pull("vidpred@champion")
    with pytest.raises(UserError, match=r"did you mean models:/vidpred@champion\?"):
        promote("models:/vidpre@champion", reason="mine")
    with pytest.raises(UserError, match=r"did you mean models:/vidpred@champion\?"), opened("models:/vidpred/champion"):
        pass
    with pytest.raises(UserError, match=r"vidpre is not in sqlite.*did you mean vidpred\?"):
        rollback("vidpre")


def test_a_number_that_there_is_not(project: Project) -> None:
    project.register()
    told = said("models:/vidpred/9")
    assert told.endswith("vidpred has version 1, aliases champion; give for instance models:/vidpred/1")
    assert "did you mean" not in said("models:/quite-another/2")


def test_a_slip_in_a_folder_gets_the_right_one(project: Project, tmp_path: Path) -> None:
    shutil.copytree(project.model(), tmp_path / "models/trained")
    for typed in ("models/trianed", "model/trained", "models", "trained"):
        assert "did you mean models/trained?" in said(typed), typed
    assert "did you mean" not in said("elsewhere/quite")
    assert f"did you mean {tmp_path}/models/trained?" in said(f"{tmp_path}/models/traind")


def test_what_is_wrong_with_a_model_is_told_under_its_name(project: Project, tmp_path: Path) -> None:
    unknown = tmp_path / "unknown"
    shutil.copytree(project.model(), unknown)
    info = json.loads((unknown / "model.json").read_text())
    (unknown / "model.json").write_text(json.dumps(info | {"name": "conv4d"}))
    with Tracker.open(stage="train", key="k") as run:
        run.artifact(unknown, "unknown")
        run.artifact(project.model(), "model")
    with pytest.raises(UserError, match="conv4d") as raised:
        FramePredictor.load(f"runs:/{run.run_id}/unknown")
    assert "downloads" not in str(raised.value)
    uri = f"runs:/{run.run_id}/model"
    with pytest.raises(
        UserError, match=rf"^{uri} predicts \(conv2d\): give one that classifies, or .*predict {uri} cat"
    ):
        ClipClassifier.load(uri)
