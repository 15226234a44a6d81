"""The card of a registered model: what it says, to whom it is shown, and what a stranger may not put into it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.tracking.conftest import Project
from vidpred.errors import UserError
from vidpred.evaluation.pictures import write_filmstrip, write_pair
from vidpred.tracking import registry, store
from vidpred.tracking.card import CARD_FILES, CONFUSION, MOST_BYTES, read_card, write_card
from vidpred.tracking.card_facts import make_card
from vidpred.tracking.card_text import DESCRIPTION, as_markdown

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]


def pictures(folder: Path) -> Path:
    """As `evaluate` makes them, of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8)
    write_filmstrip(folder / "0.png", frames, frames, frames)
    write_pair(folder / "0.gif", frames, frames, frames, fps=10)
    return folder


def tables(folder: Path) -> Path:
    """Tables as `evaluate` leaves them: better than copying for two steps of three, and not where least moves."""
    folder.mkdir(parents=True, exist_ok=True)
    far = {"conv2d": [1.0, 3.0, 9.0], "copy_last": [4.0, 6.0, 8.0]}
    rows = [
        {"model": model, "step": step, "perceptual_distance": distance}
        for model, distances in far.items()
        for step, distance in enumerate(distances, start=1)
    ]
    pd.DataFrame(rows).to_parquet(folder / "rollout.parquet")
    gains = [None, -0.2, 0.5, 0.6]
    pd.DataFrame(
        [
            {"model": "conv2d", "decile": i, "windows": 5, "motion": float(i), "gain": gain}
            for i, gain in enumerate(gains, start=1)
        ]
    ).to_parquet(folder / "deciles.parquet")
    return folder


@pytest.fixture
def card(project: Project, tmp_path: Path) -> dict[str, Any]:
    """Of a model that is right half of the way."""
    return make_card(project.bench(project.model(0.5)), tables(tmp_path / "evaluation"))


@pytest.fixture
def write(project: Project) -> Callable[[Any], Path]:
    """Writes what is to be taken for a card beside a model."""

    def written(content: Any) -> Path:
        folder = project.model(0.5)
        (folder / "card.json").write_text(content if isinstance(content, str) else json.dumps(content))
        return folder

    return written


def test_registered_model_has_its_card_everywhere(project: Project, tmp_path: Path) -> None:
    folder = project.model(0.5)
    registry.register(
        folder,
        name="vidpred",
        run_key="k",
        bench=project.bench(folder),
        pictures=pictures(tmp_path / "pictures"),
        evaluation=tables(tmp_path / "evaluation"),
    )
    downloaded = registry.download("models:/vidpred/1")
    assert {path.name for path in downloaded.iterdir()} == {*CARD_FILES, "model.json", "model.safetensors"} - {
        CONFUSION
    }
    card = read_card(downloaded)
    assert card["data"]["data_id"] == project.shards.data_id
    assert (card["data"]["clips"], card["split"]["test"]["groups"]) == (30, 25)
    assert card["test"]["gains"]["copy_last"]["pooled_interval"][0] > 0.3
    assert card["task"]["fps"] == 10
    assert card["pictures"] == ["card.png", "card.gif"]
    with Image.open(downloaded / "card.gif") as moving:
        assert getattr(moving, "n_frames", 1) > 1
    said = store.connect().get_model_version("vidpred", "1").description
    assert said == as_markdown(card)
    assert len(said) <= DESCRIPTION
    assert "![" not in said  # MLflow's page has no such pictures
    assert "](card.png)" in (downloaded / "card.md").read_text()


def test_card_says_where_the_model_is_no_better_than_copying(card: dict[str, Any]) -> None:
    told = "\n".join(card["limits"])
    assert "No better than copy_last in the 2 tenths of the test windows that move least." in told
    assert "below copy_last's for 2 steps, of 3 tried" in told
    assert "16x16 pixels, at 10 frames per second" in told


def test_card_of_a_model_that_only_copies(project: Project) -> None:
    told = make_card(project.bench(project.model(0.0)))["limits"]
    assert any(line.startswith("Not shown to be better than copy_last") for line in told)


def test_licences_are_counted(project: Project, card: dict[str, Any]) -> None:
    assert any("licence of the sources is unknown" in line for line in card["limits"])
    path = project.shards.folder / "sources.parquet"
    rows = [{"status": "kept", "licence": name} for name in ("CC0", "CC0", "", "CC-BY")]
    pd.DataFrame([*rows, {"status": "failed", "licence": "none"}]).to_parquet(path)
    told = make_card(project.bench(project.model(0.5)))
    assert [(row["licence"], row["sources"]) for row in told["licences"]] == [("CC0", 2), ("CC-BY", 1), ("unknown", 1)]
    assert any("licence of 1 source is unknown" in line for line in told["limits"])


def test_card_is_replaced_where_the_model_is_judged_anew(project: Project) -> None:
    project.register(0.5)
    before = read_card(registry.download("models:/vidpred/1"))
    folder = project.model(0.5)
    bench = project.bench(folder)
    metrics = json.loads(json.dumps(bench.metrics))
    metrics["test"]["conv2d"]["perceptual_distance"] = 12.5
    registry.register(
        folder,
        name="vidpred",
        run_key=f"key-{folder.name}",
        bench=replace(bench, metrics=metrics),
        pictures=project.pictures(),
    )
    after = read_card(registry.download("models:/vidpred/1"))
    assert before["test"]["metrics"]["conv2d"] != after["test"]["metrics"]["conv2d"]
    assert after["test"]["metrics"]["conv2d"] == {"perceptual_distance": 12.5}
    assert "12.5" in store.connect().get_model_version("vidpred", "1").description


def test_texts_of_strangers_are_no_markup(card: dict[str, Any]) -> None:
    evil = "<script>alert(1)</script> [click](javascript:alert(1)) ![x](http://host/x.png) | # \n# Ignore all \x1b[2J"
    card["licences"] = [{"licence": evil * 5, "sources": 1}]
    card["model"] = evil
    card["limits"] = [evil]
    shown = as_markdown(card)
    assert "<script" not in shown
    assert "](" not in shown.replace("\\]\\(", "").replace("\\](", "")
    assert "\x1b" not in shown
    assert not any(line.startswith("# Ignore") for line in shown.splitlines())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 2}, "not a card that this version can read"),
        ({"weights_sha256": "0" * 64}, "card of another model"),
        ({"limits": ["x" * 10_000]}, "not a card"),
        ({"limits": "none"}, "not a card"),
        ({"test": {"windows": 1}}, "not a card"),
        ({"parameters": -1}, "not a card"),
    ],
)
def test_card_of_another_form_is_refused(
    card: dict[str, Any], write: Callable[[Any], Path], change: dict[str, Any], told: str
) -> None:
    folder = write(card)
    assert read_card(folder)["model"] == "conv2d"
    write(card | change)
    with pytest.raises(UserError, match=told) as raised:
        read_card(folder)
    assert "\n" not in str(raised.value)


def test_card_that_is_no_json_is_refused(write: Callable[[Any], Path]) -> None:
    for content in ("[" * 100_000, "{", "null", '{"format": NaN}', " " * (MOST_BYTES["card.json"] + 1)):
        folder = write(content)
        with pytest.raises(UserError, match="card"):
            read_card(folder)


def test_pictures_that_are_none_are_left_out(card: dict[str, Any], project: Project, tmp_path: Path) -> None:
    folder = project.model(0.5)
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    (fakes / "0.png").write_text("<svg onload=alert(1)>")
    (fakes / "0.gif").symlink_to("/etc/hostname")
    write_card(folder, card, fakes)
    assert read_card(folder)["pictures"] == []
    (folder / "card.png").write_text("<html>")
    assert read_card(folder)["pictures"] == []


def test_model_without_a_card_has_an_empty_one(project: Project) -> None:
    assert read_card(project.model()) == {}
