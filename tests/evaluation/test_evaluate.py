"""The evaluation as a whole: what its tables, figures and pictures hold."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image

from vidpred.config import Params
from vidpred.data.shards import Shards
from vidpred.data.split import write_groups, write_split
from vidpred.errors import UserError
from vidpred.evaluation.evaluate import evaluate
from vidpred.evaluation.in_print import by_mathieu2015
from vidpred.models import zoo
from vidpred.models.files import save_model
from vidpred.types import Segment, Task


def small(params: Params, *, context: int = 3, **changes: Any) -> Params:
    """The project's own parameters with another task and evaluation."""
    values = params.model_dump(by_alias=True)
    values["task"] |= {"context": context}
    values["evaluate"] |= {"rollout": 2, "pictures": 1, "windows_per_clip": 1} | changes
    return Params.model_validate(values)


def judged(shards: Path, params: Params, folder: Path, *, by_time: bool = False) -> dict[str, Any]:
    """The figures of an untrained model on shards, with its outputs in `out`."""
    opened = Shards(shards)
    task = Task(context=params.task.context, horizon=1, height=opened.height, width=opened.width)
    torch.manual_seed(0)
    info = {"data_id": opened.data_id, "fps": 10.0, "fit": "crop"}
    save_model(folder / "model", zoo.build("conv2d", {}, task), name="conv2d", config={}, task=task, info=info)
    parts = [Segment(row, 0, clip.length) for row, clip in enumerate(opened.clips)]
    write_split(folder / "split", {"train": parts[:1], "val": parts[:1], "test": parts[1:]})
    return evaluate(
        folder / "model", shards_folder=shards, split=folder / "split", by_time=by_time, out=folder / "out",
        params=params, device=torch.device("cpu"),
    )  # fmt: skip


def test_all_that_is_asked_for_is_in_the_figures_and_tables(digits: Path, params: Params, tmp_path: Path) -> None:
    figures = judged(digits / "shards", small(params, metrics=["pd_moving", "moving_share"]), tmp_path)
    json.dumps(figures, allow_nan=False)
    for name in ("conv2d", "copy_last", "flow_gate"):
        assert {"perceptual_distance", "pd_moving", "moving_share"} <= figures["test"][name].keys()
    assert "residual_bpp" not in figures["test"]["conv2d"]
    distances = {name: found["perceptual_distance"] for name, found in figures["test"].items()}
    assert figures["over_best"]["baseline"] == min(("copy_last", "flow_gate"), key=distances.__getitem__)
    assert figures["over_best"]["beats"] is False
    for other in ("copy_last", "flow_gate"):
        found = figures["psnr_db"][f"over_{other}"]
        apart = figures["test"]["conv2d"]["psnr_db"] - figures["test"][other]["psnr_db"]
        assert found["pooled"] == pytest.approx(apart)
        assert found["pooled_interval"][0] <= apart <= found["pooled_interval"][1]
    deciles = pd.read_parquet(tmp_path / "out/deciles.parquet")
    assert deciles.groupby("model")["decile"].agg(list).to_dict() == {
        "conv2d": list(range(1, 11)),
        "flow_gate": list(range(1, 11)),
    }


def test_groups_that_were_joined_are_one_unit(long_clips: Shards, params: Params, tmp_path: Path) -> None:
    assert judged(long_clips.folder, small(params), tmp_path / "apart")["over_copy_last"]["units"] == 2
    parts = {"train": [Segment(0, 0, 100)], "val": [], "test": [Segment(1, 0, 100), Segment(2, 0, 100)]}
    folder = tmp_path / "joined"
    write_groups(folder / "split", long_clips.clips, parts, groups=["g0", "g1", "g1"], left_out={})
    assert judged(long_clips.folder, small(params), folder)["over_copy_last"]["units"] == 1


def test_rollouts_of_64_steps_have_a_figure_a_step_and_moving_pictures(
    long_clips: Shards, params: Params, tmp_path: Path
) -> None:
    figures = judged(long_clips.folder, small(params, rollout=64), tmp_path, by_time=True)
    assert figures["rollout"] == {"steps": 64, "asked": 64, "windows": 2, "clips": 2, "of_clips": 2}
    curves = pd.read_parquet(tmp_path / "out/rollout.parquet")
    assert curves.groupby("model")["step"].agg(list).loc["conv2d"] == list(range(1, 65))
    assert curves[["perceptual_distance", "psnr_db", "ssim"]].notna().all(axis=None)
    with Image.open(tmp_path / "out/pictures/0.gif") as moving:
        assert moving.n_frames == 3 + 64
    with Image.open(tmp_path / "out/pictures/0.png") as strip:
        assert strip.width == (3 + 12) * 68  # of 64 predicted frames twelve


def test_a_rollout_that_clips_are_too_short_for_is_as_long_as_half_of_them_allow(
    digits: Path, params: Params, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        figures = judged(digits / "shards", small(params, rollout=64), tmp_path)
    assert "half of the test clips have room for a rollout of 13 steps" in caplog.text  # of 16 frames, 3 are seen
    assert (figures["rollout"]["steps"], figures["rollout"]["asked"]) == (13, 64)


def test_a_protocol_in_print_has_its_two_steps(digits: Path, params: Params, tmp_path: Path) -> None:
    figures = judged(digits / "shards", small(params, context=4, protocol="mathieu2015"), tmp_path)
    protocol = figures["protocol"]
    assert protocol["name"] == "mathieu2015"
    assert protocol["clips"] == len(Shards(digits / "shards").clips) - 1
    for name in ("conv2d", "copy_last", "flow_gate"):
        assert [row["step"] for row in protocol["steps"][name]] == [1, 2]
    copied = protocol["steps"]["copy_last"]
    assert copied[0]["psnr_db"] > copied[1]["psnr_db"] > 0


def test_a_protocol_on_clips_that_are_too_short_is_told(long_clips: Shards, params: Params) -> None:
    with pytest.raises(UserError, match="no test clip has the 6 frames of mathieu2015"):
        by_mathieu2015(
            {}, long_clips, [Segment(0, 0, 5)], task=params.task, flow=params.flow, batch_size=4,
            device=torch.device("cpu"),
        )  # fmt: skip
