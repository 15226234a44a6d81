"""The report on a classifier, from the files that its stages leave behind."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from vidpred.models import zoo
from vidpred.report.classes import write_class_report
from vidpred.report.inputs import read_class_inputs
from vidpred.report.sweep import write_sweep
from vidpred.types import Classifier, Task
from vidpred.visualize.ascent import Ascent
from vidpred.visualize.gallery import write_gallery
from vidpred.visualize.subject import Subject

SHA = {"weights_sha256": "0" * 64}


def put(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def trials() -> pd.DataFrame:
    """Four of two models, as `tune` writes them."""
    rows = []
    for number, (model, rate, entropy) in enumerate(
        [("early_fusion", 0.003, 1.2), ("single_frame", 0.003, 2.08), ("early_fusion", 0.001, 1.5)]
    ):
        train = {} if model == "single_frame" else {"learning_rate": rate}
        rows.append(
            {
                "trial": number,
                "model": model,
                "config": "{}",
                "train": json.dumps(train),
                "step": 20,
                "cross_entropy": entropy,
                "val_majority": 0.125,
                "val_top1": 0.5,
                "val_psnr_db": None,
                "loss": entropy,
                "parameters": 1000.0 + number,
                "operations": 1e6,
                "steps": 20.0,
                "curve": json.dumps([[10, entropy + 0.2], [20, entropy]]),
                "status": "finished",
                "error": "",
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture
def project(tmp_path: Path, root: Path) -> Path:
    """What the stages before `report` leave of a classifier."""
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["task"] |= {"kind": "classify", "context": 8}
    params["tune"] |= {"models": {"early_fusion": {}, "single_frame": {}}, "steps": 20, "grace_steps": 10}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "results/tune").mkdir(parents=True)
    write_sweep(trials(), params, tmp_path / "results/tune")
    put(tmp_path / "results/tune/summary.json", {"sweep": "none"})
    over = {"still": False, "pooled": 0.5, "macro": 0.5, "pooled_interval": [0.4, 0.6], "macro_interval": [0.4, 0.6]}
    of_class = {"videos": 2, "recall": 0.5, "precision": None, "f1": 0.5, "taken_for": "walk"}
    put(
        tmp_path / "results/evaluate/metrics.json",
        {
            "kind": "classify", "model": {"name": "early_fusion", "parameters": 1000, "operations": 10},
            "classes": ["run", "walk"], "commonest": "run", "videos": 4, "windows": 8, "split": "group",
            "test": {
                "early_fusion": {"top1": 0.75, "cross_entropy": 0.4, "top1_of_a_window": 0.7},
                "majority": {"top1": 0.25, "cross_entropy": 0.7},
            },
            "top1_interval": [0.6, 0.9], "baseline": "majority", "over_majority": over | {"units": 30},
            "beats_majority": True, "why_not": "", "classes_of_test": {"run": of_class, "walk": of_class},
        },
    )  # fmt: skip
    put(tmp_path / "results/split/leakage.json", {"kind": "group", "pairs": 12, "near_duplicates": 0, "examples": []})
    put(tmp_path / "results/register/receipt.json", {"name": "", "alias": None, "reason": "not registered: so it is"})
    put(tmp_path / "results/fetch/summary.json", {"inputs": 5, "fetched": 5, "bytes": 1000})
    put(
        tmp_path / "results/transcode/summary.json",
        {"kept": 4, "dropped": 1, "failed": 0, "clips": 4, "frames": 80, "seconds": 8},
    )
    counts = {"train": 2, "val": 1, "test": 1}
    put(
        tmp_path / "results/split/summary.json",
        {"kind": "group", "groups": counts, "clips": counts, "frames": counts},
    )
    model = {
        "name": "early_fusion",
        "config": {},
        "training": {"val_top1": 0.7},
        "weights_sha256": "ab",
        "data_id": "c",
    }
    put(tmp_path / "models/trained/model.json", model | {"versions": {"torch": "2"}})
    row = {"step": 10, "loss": 1.0, "val_top1": 0.7, "val_cross_entropy": 0.5, "val_majority": 0.125}
    (tmp_path / "models/trained/metrics.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "data/shards").mkdir(parents=True)
    pd.DataFrame({"name": ["a<b>.gif"], "status": ["dropped"], "reason": ["too short"]}).to_parquet(
        tmp_path / "data/shards/sources.parquet"
    )
    pd.DataFrame({"length": [20] * 4, "fps": 10.0, "motion": [3.0, 8, 9, 20], "label": ["run", "walk"] * 2}).to_parquet(
        tmp_path / "data/shards/index.parquet"
    )
    pictures = tmp_path / "data/evaluation/pictures"
    caption = {"source": "x<y>.gif", "group": "g", "start": 0, "label": "run", "predicted": "walk", "believed": 0.9}
    put(pictures / "pictures.json", [caption])
    for name in ("0.gif", "0.png", "confusion.png"):
        (pictures / name).write_bytes(b"picture")
    return tmp_path


def test_the_page_tells_how_often_it_is_right_and_loads_nothing(project: Path) -> None:
    write_class_report(read_class_inputs(project), project / "index.html", title="Actions")
    page = (project / "index.html").read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    for said in (
        "Video classification", "75.0 %", "95 %: 60.0 % to 90.0 %", "always run", "+50.0 points over always saying run",
        "run, taken for walk", "not registered: so it is", "cross-entropy on validation", "1.200",
        "No near-duplicates in different parts, of 12 pairs checked", "Length of clips: 2 s, all alike.",
        "Where it comes from", "vidpred classify models/trained clip.gif",
    ):  # fmt: skip
        assert said in text, said
    assert "<y>" not in page
    assert "<b>.gif" not in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "erceptual" not in text.partition("Parameters")[2].partition("Parameters")[0]


def test_the_sweep_is_told_in_cross_entropy(project: Path) -> None:
    found = pd.read_csv(project / "results/tune/trials.csv")
    assert found["cross_entropy"].to_list() == [1.2, 1.5, 2.08]
    for name in ("curves", "front"):  # `dvc plots` draws the last column where dvc.yaml names none
        assert pd.read_csv(project / f"results/tune/{name}.csv").columns[-1] == "val_cross_entropy"
    for path in (project / "results/tune").iterdir():
        text = path.read_text()
        assert not re.search(r"\bPD\b|erceptual", text), path.name


def test_what_the_model_looks_for_is_on_the_page_where_it_was_drawn(project: Path) -> None:
    task = Task(context=4, horizon=0, height=24, width=24, kind="classify", classes=("run", "walk"))
    subject = Subject(zoo.build("two_stream", {}, task, Classifier), {"task": asdict(task), "name": "two_stream"} | SHA)
    write_gallery(
        project / "looks", subject, what=["ascent", "kernels"], classes=[0, 1], how=Ascent(steps=1), motions=["free"]
    )
    inputs = read_class_inputs(project)
    write_class_report(inputs, project / "index.html", title="Actions", looks_folder=project / "looks")
    page = (project / "index.html").read_text()
    assert page.count("data:image/gif") > 2
    assert "What it looks for" in page
    assert "mean flow" in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    write_class_report(
        inputs, project / "small.html", title="Actions", looks_folder=project / "looks", most=len(page) - 1
    )
    small = (project / "small.html").read_text()
    assert len(small) < len(page)
    assert "they lie in <code>looks/</code> beside it" in small
