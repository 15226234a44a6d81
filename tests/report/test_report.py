"""The report: one page that loads nothing, shows the figures that the stages wrote, and opens in a browser."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from vidpred.errors import UserError
from vidpred.report.charts import training_chart
from vidpred.report.inputs import read_inputs
from vidpred.report.page import group_gains, metric_table, render, write_report
from vidpred.report.shed import within
from vidpred.report.sweep import write_sweep
from vidpred.training.figures import HIGHER_IS_BETTER, UNITS

MODELS = ("warpmix", "copy_last", "flow_gate")
SCALE = {"warpmix": 0.4, "copy_last": 1.0, "flow_gate": 0.8}


def _metrics(scale: float) -> dict[str, float]:
    return {
        "perceptual_distance": 32.5 * scale,
        "psnr_db": 18.0 + 8 * (1 - scale),
        "ssim": 0.95 - 0.2 * scale,
        "l1": 0.05 * scale,
        "mse": 0.02 * scale,
        "gdl": 0.06 * scale,
        "sharpness_db": 15 + 2 * (1 - scale),
        "edge_contrast": 0.04,
    }


def _picture(side: int, shade: int, frames: int) -> dict[str, bytes]:
    images = [Image.fromarray(np.full((side, 2 * side, 3), (shade, 20 * i, 90), np.uint8)) for i in range(frames)]
    moving, strip = io.BytesIO(), io.BytesIO()
    images[0].save(moving, "GIF", save_all=True, append_images=images[1:], duration=100, loop=0)
    Image.fromarray(np.concatenate([np.asarray(i) for i in images], axis=1)).save(strip, "PNG")
    return {"gif": moving.getvalue(), "png": strip.getvalue()}


@pytest.fixture
def project(tmp_path: Path, root: Path) -> Path:
    """A project as the stages before `report` leave it."""
    rng = np.random.default_rng(0)
    write: dict[str, Any] = {
        "results/evaluate/metrics.json": {
            "model": {"name": "warpmix", "parameters": 312345, "operations": 98_000_000},
            "windows": 240,
            "split": "group",
            "test": {name: _metrics(SCALE[name]) for name in MODELS},
            "gains": {"pooled": {"perceptual_distance": 0.6}, "macro": {"perceptual_distance": 0.58}, "psnr_db": 4.8},
            "over_copy_last": {
                "still": False,
                "pooled": 0.6123,
                "macro": 0.58,
                "pooled_interval": [0.57, 0.64],
                "macro_interval": [0.55, 0.61],
                "units": 30,
            },
            "over_flow_gate": {
                "still": False,
                "pooled": 0.5,
                "macro": 0.47,
                "pooled_interval": [0.46, 0.53],
                "macro_interval": [0.44, 0.51],
                "units": 30,
            },
            "beats_copy_last": True,
            "why_not": "",
        },
        "results/fetch/summary.json": {
            "inputs": 42,
            "fetched": 41,
            "failed": 1,
            "bytes": 4_200_000,
            "reasons": {"404": 1},
        },
        "results/transcode/summary.json": {
            "inputs": 42,
            "kept": 39,
            "dropped": 2,
            "failed": 1,
            "clips": 39,
            "frames": 1170,
            "seconds": 117.0,
            "reasons": {},
        },
        "results/split/summary.json": {
            "kind": "group",
            "clips": {"train": 30, "val": 4, "test": 5},
            "groups": {"train": 30, "val": 4, "test": 5},
            "frames": {"train": 900, "val": 120, "test": 150},
        },
        "results/split/leakage.json": {"kind": "group", "pairs": 6786, "near_duplicates": 0, "examples": []},
        "results/register/receipt.json": {
            "name": "vidpred",
            "weights_sha256": "ab" * 32,
            "identity": "e",
            "alias": "champion",
            "reason": "beats copy_last; there was no champion",
        },
        "models/trained/model.json": {
            "name": "warpmix",
            "config": {"width": 24},
            "training": {"best_step": 1000, "precision": "torch.float32"},
            "weights_sha256": "ab" * 32,
            "data_id": "cd" * 8,
            "versions": {"torch": "2.13.0"},
        },
    }
    for name, value in write.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(value))
    (tmp_path / "params.yaml").write_text((root / "params.yaml").read_text())
    steps = np.arange(200, 1001, 200)
    rows = [
        {"step": float(s), "loss": 0.1, "val_perceptual_distance": 30 * np.exp(-s / 500) + 8, "val_copy_last": 32.0}
        for s in steps
    ]
    (tmp_path / "models/trained/metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    for folder in ("data/evaluation/pictures", "data/shards"):
        (tmp_path / folder).mkdir(parents=True)
    trials = pd.DataFrame(
        {
            "trial": [0, 1, 2],
            "model": ["warpmix", "convlstm", "conv3d"],
            "config": ['{"width": 24}', '{"filters": 16}', "{}"],
            "train": ['{"learning_rate": 0.003}', '{"learning_rate": 0.004567}', "{}"],
            "step": [100, 30, 0],
            "perceptual_distance": [15.25, 29.5, np.nan],
            "val_gain": [0.52, 0.08, np.nan],
            "curve": ["[[30, 25.0], [100, 15.25]]", "[[30, 29.5]]", "[]"],
            "operations": [98e6, 40e6, np.nan],
            "status": ["finished", "stopped", "failed"],
            "error": ["", "", "RuntimeError: no memory"],
        }
    )
    params = yaml.safe_load((root / "params.yaml").read_text())
    write_sweep(trials, params, tmp_path / "results/tune")
    (tmp_path / "results/tune/summary.json").write_text('{"sweep": "abc"}')
    windows = [
        {
            "model": m,
            "clip": g,
            "start": 0,
            "group": f"g{g}",
            "perceptual_distance": SCALE[m] * (30 + g) * rng.uniform(0.8, 1.2),
        }
        for m in MODELS
        for g in range(30)
    ]
    pd.DataFrame(windows).to_parquet(tmp_path / "data/evaluation/windows.parquet")
    rollout = [{"model": m, "step": s, **_metrics(SCALE[m] * (1 + s / 8))} for m in MODELS for s in range(1, 11)]
    pd.DataFrame(rollout).to_parquet(tmp_path / "data/evaluation/rollout.parquet")
    pd.DataFrame(
        {
            "name": ["a.gif", "notes<b>.gif", "frozen.mp4", "gone"],
            "status": ["kept", "failed", "dropped", "dropped"],
            "reason": ["", "not a video", "2 frames, min_frames is 6", "another"],
            "licence": ["CC BY 4.0", "", "", ""],
            "width": [320.0, np.nan, 64.0, 64.0],
            "height": [240.0, np.nan, 64.0, 64.0],
        }
    ).to_parquet(tmp_path / "data/shards/sources.parquet")
    pd.DataFrame(
        {"length": [20, 24, 40], "fps": 10.0, "motion": [3.0, 8.0, 20.0], "label": ["", "run", "walk"]}
    ).to_parquet(tmp_path / "data/shards/index.parquet")
    deciles = [
        {"model": m, "decile": d, "windows": 3, "motion": 10.0 * d, "gain": np.nan if d == 1 else 1 - SCALE[m]}
        for m in MODELS
        if m != "copy_last"
        for d in range(1, 11)
    ]
    pd.DataFrame(deciles).to_parquet(tmp_path / "data/evaluation/deciles.parquet")
    pictures = tmp_path / "data/evaluation/pictures"
    captions = []
    for i in range(3):
        drawn = _picture(96, 70 * i, 15)
        (pictures / f"{i}.gif").write_bytes(drawn["gif"])
        (pictures / f"{i}.png").write_bytes(drawn["png"])
        captions.append({"source": f"clips/{i} & co.gif", "group": f"g{i}", "start": 4, "steps": 10})
    (pictures / "pictures.json").write_text(json.dumps(captions))
    return tmp_path


class _Loads(HTMLParser):
    """Collects all that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wanted = {"src", "srcset", "poster", "data", "xlink:href"} | (
            {"href"} if tag in ("link", "use", "image") else set()
        )
        self.urls += [value or "" for name, value in attrs if name in wanted]


def test_page_holds_all_that_it_shows(project: Path) -> None:
    write_report(read_inputs(project), project / "report/index.html", title="My clips")
    page = (project / "report/index.html").read_text()
    loads = _Loads()
    loads.feed(page)
    assert len([u for u in loads.urls if u.startswith("data:image/")]) == 6
    assert [u for u in loads.urls if not u.startswith(("data:", "#"))] == []
    assert re.findall(r"url\((?!['\"]?(?:#|data:))[^)]*\)|@import", page) == []
    assert "<script" not in page


def text_of(page: str) -> str:
    """What a reader sees of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("</style>", 1)[1]))


def test_metrics_that_few_look_at_fold_out_and_none_is_shown_twice(project: Path) -> None:
    path = project / "results/evaluate/metrics.json"
    metrics = json.loads(path.read_text())
    for name in MODELS:
        metrics["test"][name] |= {"pd_moving": 77.0 * SCALE[name], "moving_share": 0.288, "residual_bpp": 4.3}
    path.write_text(json.dumps(metrics))
    page = render(read_inputs(project), title="t")
    first, folded = page.split('id="metrics"')[1].split("</section>")[0].split("<details>")
    assert "PD, moving <small>of 765</small> ↓" in first
    assert "30.80" in first
    assert "Residual <small>bits</small> ↓" in first
    assert "MSE" not in first
    assert "6 more metrics" in folded
    assert "Pixels that move</th>" in folded  # no arrow: neither more nor less is better
    assert "28.8 %" in folded
    for heading in ("PSNR, moving", "PD, moving", "GDL", "MSE"):
        assert page.count(f">{heading} ") <= 1


def test_the_best_of_the_others_is_named_with_the_gain_over_it(project: Path) -> None:
    path = project / "results/evaluate/metrics.json"
    metrics = json.loads(path.read_text())
    best = metrics["over_flow_gate"] | {"baseline": "flow_gate", "beats": True}
    path.write_text(json.dumps(metrics | {"over_best": best}))
    text = text_of(render(read_inputs(project), title="t"))
    assert "Over the best of the others, flow_gate, PD is better by +50.0 % (95 %: +46.0 % to +53.0 %)" in text


def test_a_rollout_that_is_shorter_than_asked_for_says_why(project: Path) -> None:
    path = project / "results/evaluate/metrics.json"
    metrics = json.loads(path.read_text())
    told = {"steps": 12, "asked": 64, "windows": 40, "clips": 20, "of_clips": 36}
    path.write_text(json.dumps(metrics | {"rollout": told}))
    text = text_of(render(read_inputs(project), title="t"))
    assert "12 steps from 40 windows of 20 clips, the same for every step. 64 were asked for" in text
    assert "How it learned" not in text  # training kept no pictures here


def test_the_filmstrip_of_learning_goes_from_what_was_seen_to_what_happened(project: Path) -> None:
    folder = project / "models/trained/filmstrip"
    folder.mkdir()
    for name in ("seen", "truth", *(f"{step:08d}" for step in range(200, 2001, 200))):
        (folder / f"{name}.png").write_bytes(_picture(8, 10, 1)["png"])
    page = render(read_inputs(project), title="t")
    rows = re.findall(r"<tr[^>]*><th scope=\"row\">([^<]*)", page.split('class="learning"')[1].split("</table>")[0])
    assert rows[0] == "last frame seen"
    assert rows[1:-1] == [f"step {step:,}" for step in (200, 600, 800, 1000, 1400, 1800, 2000)]
    assert rows[-1] == "what happened"
    assert "step 200 PD 28.11" in text_of(page)


def test_figures_of_a_protocol_in_print_have_a_table_of_their_own(project: Path) -> None:
    path = project / "results/evaluate/metrics.json"
    metrics = json.loads(path.read_text())
    steps = [
        {"step": 1, "clips": 9, "psnr_db": 28.123, "ssim": 0.9, "sharpness_db": 19.0},
        {"step": 2, "clips": 0, "psnr_db": None, "ssim": None, "sharpness_db": None},
    ]
    protocol = {"name": "mathieu2015", "clips": 9, "steps": dict.fromkeys(MODELS, steps)}
    path.write_text(json.dumps(metrics | {"protocol": protocol}))
    text = text_of(render(read_inputs(project), title="t"))
    assert "warpmix 28.12 0.9000 19.00 – – –" in text
    assert "One window of each of 9 clips" in text


def test_page_shows_the_figures_of_the_stages(project: Path) -> None:
    page = render(read_inputs(project), title="My clips")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("</style>", 1)[1]))
    for figure in (
        "My clips",
        "312,345 parameters",
        "240 windows",
        "13.00",
        "32.50",
        "26.00",
        "+61.2 %",
        "+57.0 %",
        "+64.0 %",
    ):
        assert figure in text, figure
    assert "✓ beats copy_last" in text
    assert "learning_rate 0.00457" in text
    assert "failed: RuntimeError: no memory" in text
    assert "beats copy_last; there was no champion" in text
    assert "vidpred predict models:/vidpred@champion" in text


def test_set_aside_files_are_listed_with_reasons_and_escaped(project: Path) -> None:
    page = render(read_inputs(project), title="t")
    assert "notes&lt;b&gt;.gif" in page
    assert "2 frames, min_frames is 6" in page
    assert "notes<b>" not in page


def test_the_data_are_told_of_with_their_licences_and_what_the_split_kept_apart(project: Path) -> None:
    page = render(read_inputs(project), title="t")
    text = text_of(page)
    assert "Licences, by source licence sources CC BY 4.0 1" in text
    assert "Sizes of the sources pixels sources 320×240 1" in text
    assert "Length of clips s" in text
    assert "Median 2.4 ; nine in ten" in text
    assert "No near-duplicates in different parts, of 6,786 pairs checked." in text
    path = project / "results/split/leakage.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"near_duplicates": 2}))
    assert "2 near-duplicate pairs of clips in different parts" in text_of(render(read_inputs(project), title="t"))


def test_clips_of_one_length_get_a_sentence_instead_of_one_bar(project: Path) -> None:
    clips = pd.read_parquet(project / "data/shards/index.parquet")
    clips.assign(length=20).to_parquet(project / "data/shards/index.parquet")
    page = render(read_inputs(project), title="t")
    assert "Length of clips: 2 s, all alike." in text_of(page)
    assert page.count('class="histogram"') == 1


def test_no_caption_is_told_twice(project: Path) -> None:
    page = render(read_inputs(project), title="t")
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page, re.DOTALL)
    assert len(captions) == len(set(captions))
    notes = json.loads((project / "results/tune/notes.json").read_text())
    for one in notes.values():  # two trials with a result: no chart of them says more than the table
        assert not one["drawn"]
        assert text_of(page).count(one["note"]) == 1


def test_every_table_says_what_its_columns_are(project: Path) -> None:
    tables = re.findall(r"<table.*?</table>", render(read_inputs(project), title="t"), re.DOTALL)
    assert len(tables) >= 6
    for table in tables:
        assert "<thead" in table
        assert not re.findall(r"<th(?![^>]*scope=)[ >]", table)


def test_the_axis_of_the_training_curve_is_the_curve_s() -> None:
    def ticks(bar: float) -> tuple[list[float], str]:
        training = pd.DataFrame(
            {"step": [1, 2, 3], "val_perceptual_distance": [10.7, 10.4, 10.3], "val_copy_last": bar}
        )
        svg = training_chart(training, "warpmix")
        drawn = re.findall(r">([\d.]+)</text>", svg)
        return [float(text) for text in drawn if float(text) > 4], svg

    far, svg = ticks(35.05)
    assert max(far) < 11
    assert "copy_last 35.05 ↑" in svg
    near, svg = ticks(10.9)
    assert max(near) > 10.8
    assert "↑" not in svg


def test_the_leaderboard_is_shown_where_one_was_held(project: Path) -> None:
    assert 'id="leaderboard"' not in render(read_inputs(project), title="t")
    (project / "leaderboard").mkdir()
    rows = {
        "name": ["warpmix", "new<b>", "copy_last", "broken"],
        "kind": ["trained", "submitted", "baseline", "trained"],
        "model": ["warpmix", "", "copy_last", "simvp"],
        "perceptual_distance": [9.4123, 9.9, 32.98, np.nan],
        "gain_copy_last_pooled": [0.7146, 0.7, np.nan, np.nan],
        "parameters": [246798.0, np.nan, 0, np.nan],
    }
    pd.DataFrame(rows).to_csv(project / "leaderboard/leaderboard.csv", index=False)
    facts = {"budget": "3 minutes", "seeds": 3, "windows": 270, "data_id": "cd" * 8}
    (project / "leaderboard/leaderboard.json").write_text(json.dumps(facts))
    page = render(read_inputs(project), title="t")
    section = text_of("</style>" + page.split('id="leaderboard"')[1].split("</section>")[0])
    assert "3 minutes and 3 seeds each, judged on the same 270 test windows." in section
    assert "1 warpmix 9.41 +71.5 % 247 k" in section
    assert "broken" not in section
    assert "other data" not in section
    assert "new<b>" not in page
    (project / "leaderboard/leaderboard.json").write_text(json.dumps(facts | {"data_id": "another"}))
    assert "Held on other data" in text_of(render(read_inputs(project), title="t"))
    (project / "leaderboard/leaderboard.json").write_text("[")
    assert 'id="leaderboard"' not in render(read_inputs(project), title="t")


def test_a_page_that_is_too_large_to_mail_lets_pictures_go_and_says_so(project: Path) -> None:
    rng = np.random.default_rng(0)
    large = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (1200, 1200, 3), dtype=np.uint8)).save(large, "PNG")
    for number in range(3):  # 4 MB each, a third more in the page
        (project / f"data/evaluation/pictures/{number}.png").write_bytes(large.getvalue())
        (project / f"data/evaluation/pictures/{number}.gif").write_bytes(large.getvalue())
    page = render(read_inputs(project), title="t")
    assert 5_000_000 < len(page.encode()) < 15_000_000
    assert "4 pictures left out, so that this page can be mailed" in text_of(page)
    assert page.count('class="moving"') == 2
    assert "As filmstrips" not in page
    tiny = within(read_inputs(project), lambda inputs: "x" * (10 + len(inputs.pictures)), most=5)
    assert tiny == "x" * 10  # nothing more can go


def test_every_picture_has_words_for_those_who_do_not_see_it(project: Path) -> None:
    page = render(read_inputs(project), title="t")
    assert not re.findall(r"<img(?![^>]*\balt=\"[^\"]+\")[^>]*>", page)
    assert not re.findall(r'<svg(?![^>]*aria-label="[^"]+")(?=[^>]*role="img")[^>]*>', page)


def test_a_model_that_does_not_beat_copying_is_not_praised(project: Path) -> None:
    path = project / "results/evaluate/metrics.json"
    metrics = json.loads(path.read_text()) | {"beats_copy_last": False, "why_not": "only 3 independent groups"}
    path.write_text(json.dumps(metrics))
    page = render(read_inputs(project), title="t")
    assert "✓ beats" not in page
    assert "not shown to beat copy_last" in page
    assert "only 3 independent groups" in page


def test_same_inputs_same_page(project: Path) -> None:
    assert render(read_inputs(project), title="t") == render(read_inputs(project), title="t")


def test_a_version_that_lost_is_used_by_its_folder(project: Path) -> None:
    path = project / "results/register/receipt.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alias": None, "reason": "worse than the champion"}))
    page = render(read_inputs(project), title="t")
    assert "vidpred predict models/trained" in page
    assert "worse than the champion" in page


def test_missing_input_names_the_stage_that_makes_it(project: Path) -> None:
    for path, stage in (("results/tune/trials.csv", "sweep"), ("models/trained/model.json", "train")):
        content = (project / path).read_bytes()
        (project / path).unlink()
        with pytest.raises(UserError, match=f"dvc repro {stage}"):
            read_inputs(project)
        (project / path).write_bytes(content)


def test_the_sweep_is_told_with_what_it_cost_where_that_is_known(project: Path) -> None:
    text = text_of(render(read_inputs(project), title="t"))
    assert "failed: RuntimeError: no memory" in text
    assert "How many seconds it took is known on the machine on which the sweep was run." in text
    folder = project / "runs/tune/abc"
    folder.mkdir(parents=True)
    costs = {"trial": [0, 1, 2], "cpu_seconds": [60.0, 20.0, 5.0], "gpu_seconds": 0.0, "restarts": [0, 1, 0]}
    pd.DataFrame(costs | {"node": ["10.0.0.1 a", "10.0.0.2 b", ""]}).to_parquet(folder / "costs.parquet")
    text = text_of(render(read_inputs(project), title="t"))
    assert "85 CPU seconds on 2 machines, with 1 restart after something broke" in text
    assert "var(--series-" in render(read_inputs(project), title="t")


def test_damaged_input_is_one_line(project: Path) -> None:
    (project / "results/split/summary.json").write_text("{")
    with pytest.raises(UserError, match=r"split.*damaged") as caught:
        read_inputs(project)
    assert "\n" not in str(caught.value)


def test_best_of_each_column_is_marked() -> None:
    table = metric_table(
        {"a": {"perceptual_distance": 2.0, "psnr_db": 20.0}, "b": {"perceptual_distance": 3.0, "psnr_db": 21.0}},
        ["a", "b"],
    )
    assert [[best for _, best in row["cells"]] for row in table["rows"]] == [[True, False], [False, True]]


def test_metrics_are_shown_as_they_are_measured() -> None:
    table = metric_table({"a": {**dict.fromkeys(reversed(UNITS), 1.0), "new": 1.0}}, ["a"])
    assert [how.unit for how in table["headings"]] == [*UNITS.values(), ""]
    assert [how.higher_is_better for how in table["headings"]] == [*HIGHER_IS_BETTER.values(), None]
    labels = [how.label for how in table["headings"]]
    assert labels[-1] == "new"
    assert not set(labels) & set(UNITS)


def test_gain_of_a_group_is_that_of_its_mean_distance() -> None:
    windows = pd.DataFrame(
        {"model": ["m", "m", "copy_last", "copy_last"], "group": ["g"] * 4, "perceptual_distance": [1.0, 2.0, 4.0, 8.0]}
    )
    assert group_gains(windows, "m")["g"] == pytest.approx(0.75)


def test_a_group_in_which_nothing_moves_has_no_gain() -> None:
    windows = pd.DataFrame(
        {"model": ["m", "m", "copy_last", "copy_last"], "group": ["a", "b"] * 2, "perceptual_distance": [9, 2, 1e-8, 4]}
    )
    assert group_gains(windows, "m").to_dict() == {"b": 0.5}


def test_where_nothing_moves_the_page_says_so_instead_of_a_figure(project: Path) -> None:
    path = project / "results/evaluate/metrics.json"
    metrics = json.loads(path.read_text())
    nothing = {"still": True, "pooled": 0, "macro": 0, "pooled_interval": [0, 0], "macro_interval": [0, 0], "units": 30}
    why = "nothing moves in these windows, so there is nothing to gain"
    path.write_text(json.dumps(metrics | {"over_copy_last": nothing, "beats_copy_last": False, "why_not": why}))
    windows = pd.read_parquet(project / "data/evaluation/windows.parquet")
    windows.loc[windows["model"] == "copy_last", "perceptual_distance"] = 1e-9
    windows.to_parquet(project / "data/evaluation/windows.parquet")
    trials = pd.read_csv(project / "results/tune/trials.csv")
    trials.drop(columns="val_gain").to_csv(project / "results/tune/trials.csv", index=False)
    page = render(read_inputs(project), title="t")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("</style>", 1)[1]))
    assert "Gain over copying the last frame nothing moves" in text
    assert why in text
    assert "No gains: nothing moves in these windows." in text
    assert not re.search(r"[+−][\d.]+ %", text)


def test_one_group_alone_has_no_interval(project: Path) -> None:
    path = project / "results/evaluate/metrics.json"
    metrics = json.loads(path.read_text())
    alone = {name: metrics[name] | {"units": 1} for name in ("over_copy_last", "over_flow_gate")}
    path.write_text(json.dumps(metrics | alone))
    page = render(read_inputs(project), title="t")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("</style>", 1)[1]))
    assert "+61.2 % in PD" in text
    assert "95 %" not in text
    assert "As a mean over groups +58.0 %; over flow_gate +50.0 %." in text


def test_a_model_that_interpolates_is_told_as_one(project: Path) -> None:
    path = project / "results/evaluate/metrics.json"
    metrics = json.loads(path.read_text())
    gain = metrics.pop("over_copy_last")
    del metrics["beats_copy_last"]
    test = metrics["test"] | {"copy_first": _metrics(1.1), "average": _metrics(0.9)}
    metrics |= {"baseline": "average", "over_average": gain, "beats_average": True, "test": test}
    path.write_text(json.dumps(metrics))
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["task"] |= {"kind": "interpolate", "context": 2}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    rows = [json.loads(line) for line in (project / "models/trained/metrics.jsonl").read_text().splitlines()]
    rows = [row | {"val_copy_first": 33.0, "val_average": 30.0} for row in rows]
    (project / "models/trained/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("windows", "rollout"):
        table = pd.read_parquet(project / f"data/evaluation/{name}.parquet")
        copied = table[table["model"] == "copy_last"]
        more = [copied.assign(model="copy_first"), copied.assign(model="average")]
        pd.concat([table, *more], ignore_index=True).to_parquet(project / f"data/evaluation/{name}.parquet")
    page = render(read_inputs(project), title="t")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("</style>", 1)[1]))
    assert "sees the first and the last of three frames of 64×64 and predicts the middle one." in text
    assert "Gain over averaging both frames +61.2 %" in text
    assert "✓ beats average" in text
    assert "what the model made of the two around it" in text
    assert "Rollout" not in text
    assert "fed back" not in text
    assert "clip.gif -o out.gif" in text


def test_one_window_and_one_group_are_told_in_the_singular(project: Path) -> None:
    path = project / "results/evaluate/metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"windows": 1}))
    windows = pd.read_parquet(project / "data/evaluation/windows.parquet")
    windows[windows["group"] == "g1"].to_parquet(project / "data/evaluation/windows.parquet")
    text = re.sub(r"\s+", " ", render(read_inputs(project), title="t"))
    assert "Judged on 1 window of" in text
    assert "of 1 group." in text
    assert "1 groups" not in text


def test_browser_shows_every_image(project: Path, require: Callable[[str], str], tmp_path: Path) -> None:
    page = project / "report/index.html"
    write_report(read_inputs(project), page, title="My clips")
    # the page itself has no script; a copy gets one that says what has been decoded
    probe = tmp_path / "probe.html"
    script = (
        "<script>onload = () => { const all = [...document.images];"
        "const good = all.filter(i => i.complete && i.naturalWidth > 0);"
        "document.title = `decoded ${good.length} of ${all.length}`; }</script>"
    )
    html = page.read_text().replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    probe.write_text(html.replace("</body>", f"<!-- -->{script}</body>"))
    shot = tmp_path / "page.png"
    common = [
        require("chromium"),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=4000",
    ]
    done = subprocess.run(
        [*common, "--dump-dom", probe.as_uri()], capture_output=True, text=True, timeout=90, check=True
    )
    assert "<title>decoded 6 of 6</title>" in done.stdout
    subprocess.run(
        [*common, "--window-size=1200,900", f"--screenshot={shot}", page.as_uri()],
        capture_output=True,
        timeout=90,
        check=True,
    )
    with Image.open(shot) as image:
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 100


def test_the_way_back_from_the_weights_to_the_licences_is_shown(project: Path) -> None:
    page = render(read_inputs(project), title="t").split('id="lineage"')[1].split("</section>")[0]
    for hop in (
        "ab" * 32,
        "cd" * 8,
        "by group: 30 clips train",
        "1 file: CC BY 4.0",
        "vidpred explain models:/vidpred@champion",
    ):
        assert hop in page
