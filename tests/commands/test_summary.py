"""`vidpred summary`: the figures that the stages wrote, in a few lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vidpred.commands.summary import show_summary
from vidpred.errors import UserError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text("")
    (tmp_path / "results/evaluate").mkdir(parents=True)
    figures = {"perceptual_distance": 32.5, "psnr_db": 18.123, "ssim": 0.5}
    metrics = {
        "model": {"name": "warpmix"},
        "windows": 1234,
        "test": {
            n: figures | {"perceptual_distance": d}
            for n, d in (("warpmix", 12.75), ("copy_last", 32.5), ("flow_gate", 30))
        },
        "over_copy_last": {"pooled": 0.6077, "pooled_interval": [0.58, 0.63]},
        "beats_copy_last": True,
        "why_not": "",
    }
    (tmp_path / "results/evaluate/metrics.json").write_text(json.dumps(metrics))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_shows_the_model_beside_the_baselines(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VIDPRED_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    (project / "results/register").mkdir()
    receipt = {"name": "vidpred", "alias": "champion", "reason": "", "identity": "01", "weights_sha256": "23"}
    (project / "results/register/receipt.json").write_text(json.dumps(receipt))
    (project / "models/trained").mkdir(parents=True)
    show_summary()
    shown = capsys.readouterr().out
    lines = [line.split() for line in shown.splitlines()]
    assert ["warpmix", "12.75", "18.12", "0.5000"] in lines
    assert ["copy_last", "32.50", "18.12", "0.5000"] in lines
    for text in (
        "1,234 windows",
        "+60.8 %",
        "+58.0 to +63.0 %",
        "beats copy_last",
        "not registered: ",
        "`vidpred register --if-missing`",
        "models/trained",
    ):
        assert text in shown, text
    assert "report/index.html" not in shown
    assert "not here  the report: these figures came with git" in shown


def test_in_a_fresh_clone_it_says_how_to_get_what_the_figures_tell_of(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_summary()
    told = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("not here"))
    assert "the model and the report" in told
    for command in ("`dvc pull`", "`dvc checkout`", "`make repro`"):
        assert command in told
    (project / "models/trained").mkdir(parents=True)
    (project / "report").mkdir()
    (project / "report/index.html").touch()
    show_summary()
    assert "not here" not in capsys.readouterr().out


def test_where_nothing_moves_it_says_so_instead_of_a_figure(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project / "results/evaluate/metrics.json"
    why = "nothing moves in these windows, so there is nothing to gain"
    still = {"still": True, "pooled": 0.0, "pooled_interval": [0.0, 0.0]}
    metrics = json.loads(path.read_text()) | {"windows": 1, "over_copy_last": still, "beats_copy_last": False}
    path.write_text(json.dumps(metrics | {"why_not": why}))
    show_summary()
    shown = capsys.readouterr().out
    assert f"gain      {why}\n" in shown
    assert "%" not in shown
    assert "1 window " in shown


def test_one_group_alone_has_no_interval(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project / "results/evaluate/metrics.json"
    alone = {"still": False, "pooled": 0.3, "pooled_interval": [0.3, 0.3], "units": 1}
    metrics = json.loads(path.read_text()) | {"over_copy_last": alone, "beats_copy_last": False, "why_not": "one group"}
    path.write_text(json.dumps(metrics))
    show_summary()
    assert "+30.0 % in PD over copy_last; not shown to beat copy_last: one group" in capsys.readouterr().out


def test_without_results_says_what_to_run(project: Path) -> None:
    (project / "results/evaluate/metrics.json").unlink()
    with pytest.raises(UserError, match="make repro"):
        show_summary()
