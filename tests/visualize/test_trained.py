"""What is found for one trained model means the same to another of another seed: moving shapes, real trainings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from tests.shapes import write_shapes
from vidpred.cli import app
from vidpred.config import Params
from vidpred.data.shapes import MOTIONS, Recipe
from vidpred.training.data import Data, read_data
from vidpred.training.final import Choice, train_model, write_outputs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def params(root: Path) -> Params:
    """As `vidpred preset moving_shapes` has them."""
    raw = yaml.safe_load((root / "params.yaml").read_text())
    for section, values in yaml.safe_load((root / "presets/moving_shapes.yaml").read_text()).items():
        raw[section] |= values
    return Params.model_validate(raw)


@pytest.fixture(scope="module")
def data(root: Path, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Data:
    """The bundled set, drawn at the preset's 32x32."""
    folder = tmp_path_factory.mktemp("shapes")
    recipe = yaml.safe_load((root / "datasets/moving_shapes.yaml").read_text())
    halved = {"size": 32, "radius": [3.5, 10], "speed": [0.75, 1.75]}
    write_shapes(folder, Recipe.model_validate(recipe | halved))
    return read_data(folder / "shards", folder / "split", params)


def found(data: Data, params: Params, name: str, folder: Path) -> list[dict[str, Any]]:
    """What `vidpred visualize` tells of two trainings, the second one judging what is found for the first."""
    models = []
    for seed in (0, 1):
        choice = Choice(name, {}, params.train.changed({"seed": seed}))
        run = train_model(
            choice, data, folder=folder / f"run{seed}", device=torch.device("cpu"), checkpoint_every=10_000
        )
        write_outputs(run, choice, out=folder / f"model{seed}", curves=folder / "curves.csv")
        models.append(str(folder / f"model{seed}"))
    done = CliRunner().invoke(
        app, ["visualize", models[0], "--what", "ascent", "--judge", models[1], "-o", str(folder / "looks")]
    )
    assert done.exit_code == 0, done.output
    rows: list[dict[str, Any]] = json.loads((folder / "looks/visualize.json").read_text())["ascent"]
    return rows


def test_a_second_model_takes_found_clips_for_their_classes(data: Data, params: Params, tmp_path: Path) -> None:
    rows = found(data, params, "c3d", tmp_path)
    assert [row["label"] for row in rows] == sorted(MOTIONS)
    assert all(row["answer"] == row["label"] for row in rows)
    assert {row["label"]: row["judged"]["answer"] for row in rows} == {label: label for label in MOTIONS}


def test_found_flow_goes_where_its_class_goes(data: Data, params: Params, tmp_path: Path) -> None:
    rows = found(data, params, "two_stream", tmp_path)
    assert all(row["answer"] == row["label"] for row in rows)
    for motion in ("slow", "free"):
        going = {row["label"]: row["going"] for row in rows if row["motion"] == motion}
        assert going["left"][0] < -0.2
        assert going["right"][0] > 0.2
        assert going["up"][1] < -0.2
        assert going["down"][1] > 0.2
    right = {(row["label"], row["motion"]) for row in rows if row["judged"]["answer"] == row["label"]}
    assert {(label, "slow") for label in ("left", "right", "up", "down")} <= right
