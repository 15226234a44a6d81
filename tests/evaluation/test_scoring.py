"""Tables of scores: which windows are one block, and what stands in a row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from vidpred.config import FlowParams
from vidpred.data.shards import Shards
from vidpred.errors import UserError
from vidpred.evaluation.evaluate import means
from vidpred.evaluation.scoring import blocks_of, score_frames, score_model
from vidpred.models import zoo
from vidpred.types import Task, Window


def blocks(shards: Shards, starts: list[int]) -> list[int]:
    """Numbers of the blocks of windows of ten frames."""
    names = blocks_of(shards, [Window(0, start) for start in starts], frames=10)
    return [int(name.rpartition("@")[2]) for name in names]


def test_blocks_are_of_two_seconds_from_the_first_window_on(long_clips: Shards) -> None:
    assert blocks(long_clips, [0, 10, 20, 30, 40, 50]) == [0, 0, 1, 1, 2, 2]
    assert blocks(long_clips, [37, 47, 57, 67]) == [0, 0, 1, 1]


def test_what_is_left_over_belongs_to_the_block_before(long_clips: Shards) -> None:
    assert blocks(long_clips, [15, 25]) == [0, 0]  # two seconds, wherever in the clip they lie
    assert blocks(long_clips, [15, 25, 35]) == [0, 0, 0]
    assert blocks(long_clips, [0, 10, 20, 30, 40]) == [0, 0, 1, 1, 1]
    assert blocks(long_clips, [90]) == [0]


def test_blocks_of_two_clips_have_two_names(long_clips: Shards) -> None:
    one, other = blocks_of(long_clips, [Window(0, 0), Window(1, 0)], frames=10)
    assert one != other


TASK = Task(context=3, horizon=2, height=16, width=16)


def test_further_metrics_stand_beside_the_usual_ones(long_clips: Shards) -> None:
    windows = [Window(0, 0), Window(1, 40)]
    model = zoo.build("copy_last", {}, TASK).eval()
    further = ["moving_share", "psnr_moving_db", "residual_bpp"]
    plain = score_model(model, long_clips, windows, task=TASK, flow=FlowParams())
    found = score_model(model, long_clips, windows, task=TASK, flow=FlowParams(), further=further)
    pd.testing.assert_frame_equal(found[plain.columns], plain)
    assert found.columns.difference(plain.columns).tolist() == further
    assert (found["moving_share"] > 0.1).all()


def test_a_metric_that_is_not_there_is_told(long_clips: Shards) -> None:
    model = zoo.build("copy_last", {}, TASK).eval()
    with pytest.raises(UserError, match="16x16, SSIM at 3 scales needs 44"):
        score_model(model, long_clips, [Window(0, 0)], task=TASK, flow=FlowParams(), further=["ms_ssim3"])


def test_a_still_window_has_no_figure_of_what_moves_and_the_mean_is_of_the_others(long_clips: Shards) -> None:
    windows = [Window(2, 0), Window(0, 0)]  # clip 2 stands still
    model = zoo.build("copy_last", {}, TASK).eval()
    rows = score_model(model, long_clips, windows, task=TASK, flow=FlowParams(), further=["pd_moving", "moving_share"])
    assert rows["moving_share"].iloc[0] == 0
    assert np.isnan(rows["pd_moving"].iloc[0])
    assert means(rows)["pd_moving"] == rows["pd_moving"].iloc[1] > 0
    assert "pd_moving" not in means(rows[:1])


def test_the_first_steps_of_a_long_rollout_are_those_of_a_short_one(long_clips: Shards) -> None:
    windows = [Window(clip, start) for clip in range(2) for start in range(0, 32, 4)]
    model = zoo.build("linear", {}, TASK).eval()

    def scored(frames: int) -> pd.DataFrame:
        return score_frames(model, long_clips, windows, task=TASK, frames=frames, flow=FlowParams())

    long, short = scored(64), scored(2)  # 64 steps of 16 windows are scored a part at a time
    assert len(long) == 64 * 16
    first = long[long["step"] <= 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(first.drop(columns="block"), short.drop(columns="block"))
