"""A leaderboard that is held: who is on it, what is done twice, what a broken model costs, what a submission gets."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import yaml

from vidpred.errors import UserError
from vidpred.leaderboard.bench import Bench
from vidpred.leaderboard.board import Board, make_board, write_board
from vidpred.leaderboard.plan import Plan, make_plan
from vidpred.leaderboard.submit import submit
from vidpred.leaderboard.table import PD, Row
from vidpred.models import zoo
from vidpred.models.files import save_model
from vidpred.types import Task

pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*")

MakePlan = Callable[..., Plan]
BASELINES = {"copy_last", "linear", "flow_extrapolation", "flow_gate"}


def held(plan: Plan, project: Path) -> Board:
    return make_board(plan, project / "leaderboard", command="vidpred leaderboard")


def row_of(board: Board, name: str) -> Row:
    return next(row for row in board.standing.rows if row.name == name)


def results(project: Path) -> dict[Path, float]:
    """Finished trainings and judgements, and when they were."""
    found = [*project.glob("runs/leaderboard/runs/*/result.json"), *project.glob("runs/leaderboard/scores/*")]
    return {path: path.stat().st_mtime_ns for path in found}


def test_every_model_and_baseline_has_a_row_sorted_by_distance(plan: MakePlan, project: Path) -> None:
    ticks: list[None] = []
    asked = plan(models=["conv2d", "skip_autoencoder"], seeds=2, rates=[1e-3, 1e-2])
    board = make_board(asked, project / "leaderboard", command="c", tick=lambda: ticks.append(None))
    assert {row.name for row in board.standing.rows} == {"conv2d", "skip_autoencoder"} | BASELINES
    distances = [row.means[PD] for row in board.standing.rows]
    assert distances == sorted(distances)
    for row in board.standing.rows:
        assert row.seeds == (1 if row.kind == "baseline" else 2)
        assert not row.error
        assert (row.parameters > 0) == (row.kind == "trained")
        assert row.predict_speed is not None
        assert len(row.deciles) == (0 if row.name == "copy_last" else 10)
    trained = row_of(board, "conv2d")
    assert trained.rate == float(min(trained.rates, key=lambda rate: trained.rates[rate] or 9e9))
    low, high = trained.ranges[PD]
    assert low < high
    assert low <= trained.means[PD] <= high
    assert trained.steps == (2, 2)
    copied = row_of(board, "copy_last")
    assert copied.edges == 1
    assert (row_of(board, "linear").edges or 0) > 1  # ghosts have edges of their own
    assert set(copied.gains) == {"flow_gate"}
    pooled = trained.gains["copy_last"]["pooled"]
    assert pooled == pytest.approx(1 - trained.means[PD] / copied.means[PD])
    assert len(ticks) == 4 + 2 * (2 + 1 + 2)

    table = pd.read_csv(project / "leaderboard/leaderboard.csv")
    assert list(table["name"]) == [row.name for row in board.standing.rows]
    assert table.set_index("name").loc["conv2d", "gain_copy_last_pooled"] == pytest.approx(pooled)
    assert table.set_index("name").drop("copy_last")["gain_motion_2"].notna().all()
    lines = (project / "leaderboard/leaderboard.md").read_text().splitlines()
    listed = [line.split("|")[2].strip().strip("*") for line in lines if re.match(r"\| \d", line)]
    assert listed == [row.name for row in board.standing.rows]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.images: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "img":
            self.images.append(told["src"] or "")
        self.links += [told[name] or "" for name in ("href", "src") if name in told]


def test_the_page_shows_the_same_clips_of_all_and_loads_nothing(done: Path) -> None:
    names = list(pd.read_csv(done / "leaderboard/leaderboard.csv")["name"])
    text = (done / "leaderboard/leaderboard.html").read_text()
    page = _Page()
    page.feed(text)
    # two clips, the next frame and the last one ahead, all models and the truth
    assert len(page.images) == 2 * 2 * (len(names) + 1)
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert "url(data:image/png" in text
    assert not re.findall(r"url\((?!data:|#)", text)
    shown = re.findall(r'<b>([\w<>]+)</b> <span class="early">PD&nbsp;[\d.]+, edges&nbsp;\d+ %</span>', text)
    assert [name.replace("<wbr>", "") for name in shown] == 2 * names
    assert text.index("<b>truth</b>") < text.index(f"<b>{shown[0]}</b>")


def test_the_page_says_what_its_columns_mean(done: Path) -> None:
    text = (done / "leaderboard/leaderboard.html").read_text()
    explained = " ".join(re.findall(r"<dt>(.*?)</dt>", text))
    head = re.search(r'sortable">\s*<thead>(.*?)</thead>', text, re.DOTALL)
    assert head
    columns = re.findall(r"<button[^>]*>([^<]*)</button>", head[1])
    assert len(columns) == 17
    for column in set(columns) - {"#", "model"}:
        assert column.removesuffix(" ↑").removesuffix(" ↓").removeprefix("over ") in explained, column
    assert "0 is perfect" in text


def test_the_pages_own_script_is_the_only_one_that_may_run(done: Path) -> None:
    text = (done / "leaderboard/leaderboard.html").read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    sha256 = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{sha256}'" in text


def test_a_browser_shows_every_picture_and_sorts_by_click(
    done: Path, require: Callable[[str], str], tmp_path: Path
) -> None:
    text = (done / "leaderboard/leaderboard.html").read_text()
    probe = """<script>onload = () => {
      const good = [...document.images].filter(i => i.complete && i.naturalWidth > 0).length;
      document.querySelectorAll("table.sortable thead button")[7].click();
      const names = [...document.querySelectorAll("table.sortable tbody th")].map(cell => cell.textContent);
      document.title = `decoded ${good} of ${document.images.length}; ${names.join(" ")}`; }</script>"""
    text = re.sub(r"script-src '[^']+'", "script-src 'unsafe-inline'", text)
    path = tmp_path / "probe.html"
    path.write_text(text.replace("</body>", f"{probe}</body>"))
    shown = subprocess.run(
        [
            require("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=4000", "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, timeout=90, check=True,
    ).stdout  # fmt: skip
    table = pd.read_csv(done / "leaderboard/leaderboard.csv").sort_values("psnr_db", kind="stable")
    count = 4 * (len(table) + 1)
    assert f"<title>decoded {count} of {count}; {' '.join(table['name'])}</title>" in shown


def test_what_is_finished_is_not_done_again(plan: MakePlan, done: Path) -> None:
    before = results(done)
    assert len(before) == 1 + 5  # a training; four baselines and a model that were judged
    held(plan(), done)
    assert results(done) == before
    held(plan(seeds=2), done)
    added = results(done)
    assert before.items() < added.items()
    assert len(added) == len(before) + 2  # one more training, one more judgement
    held(plan(steps=3), done)
    assert len(results(done)) == len(added) + 2


def test_what_is_finished_takes_no_checkpoints(done: Path) -> None:
    assert not list(done.glob("runs/leaderboard/runs/*/step-*"))
    assert list(done.glob("runs/leaderboard/runs/*/model/model.safetensors"))


def test_a_model_that_fails_is_a_row_with_its_reason(plan: MakePlan, project: Path) -> None:
    # at this learning rate weights and loss are not finite after a step
    board = held(plan(models=["conv2d", "skip_autoencoder"], rates=[1e30], steps=24), project)
    failed = row_of(board, "conv2d")
    assert not failed.means
    assert "the loss has not been finite" in failed.error
    assert failed.rates == {"1e+30": None}
    assert [row.name for row in board.standing.rows[-2:]] == ["conv2d", "skip_autoencoder"]
    assert len([row for row in board.standing.rows if row.means]) == len(BASELINES)
    for suffix in ("md", "html", "csv"):
        assert "the loss has not been finite" in (project / f"leaderboard/leaderboard.{suffix}").read_text()


def test_a_learning_rate_that_fails_is_not_the_models_end(plan: MakePlan, project: Path) -> None:
    board = held(plan(rates=[1e30, 1e-3], steps=24), project)
    row = row_of(board, "conv2d")
    assert row.rate == 1e-3
    assert row.rates["1e+30"] is None
    assert not row.error


def test_a_model_that_cannot_do_the_task_is_a_row(plan: MakePlan, project: Path) -> None:
    asked = plan(models=["warpmix", "conv2d"])
    task = asked.params.task.model_copy(update={"context": 2})
    board = held(replace(asked, params=asked.params.model_copy(update={"task": task})), project)
    assert "looks at 3 frames but the context has 2" in row_of(board, "warpmix").error
    assert row_of(board, "conv2d").means


def test_frames_between_are_held_against_the_average(project: Path) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["task"] = {"kind": "interpolate", "context": 2, "horizon": 1}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    board = held(make_plan(project, models=["conv2d"], steps=2, seeds=1, rates=[1e-3], jobs=1), project)
    names = {row.name for row in board.standing.rows}
    assert {"conv2d", "average", "copy_first", "copy_last", "flow_gate"} <= names
    assert not [row.error for row in board.standing.rows if row.error]
    assert set(row_of(board, "conv2d").gains) == {"average", "flow_gate"}
    assert "over average" in (project / "leaderboard/leaderboard.md").read_text()
    assert "the one between" in (project / "leaderboard/leaderboard.html").read_text()


def model_of(project: Path) -> Path:
    return next(project.glob("runs/leaderboard/runs/*/model"))


def test_a_submission_gets_the_figures_that_its_weights_have(plan: MakePlan, done: Path) -> None:
    project = done
    shutil.copytree(model_of(project), project / "mine")
    before = results(project)
    judged, name = submit(Bench(plan()), "mine", project / "leaderboard")
    assert name == "mine"
    mine, theirs = row_of(judged, "mine"), row_of(judged, "conv2d")
    assert mine.kind == "submitted"
    assert mine.means == theirs.means
    assert mine.gains == theirs.gains
    assert mine.deciles == theirs.deciles
    assert [p for p in results(project) if p.name == "result.json"] == [p for p in before if p.name == "result.json"]
    for suffix in ("md", "html", "csv"):
        assert "mine" in (project / f"leaderboard/leaderboard.{suffix}").read_text()
    # it stays when the leaderboard is held again, and is replaced by the next one of its name
    assert row_of(held(plan(), project), "mine").means == theirs.means
    again, _ = submit(Bench(plan()), str(model_of(project)), project / "leaderboard", name="mine")
    assert [row.name for row in again.standing.rows].count("mine") == 1


def test_a_submission_wants_a_leaderboard(plan: MakePlan, project: Path) -> None:
    with pytest.raises(UserError, match="run `vidpred leaderboard`"):
        submit(Bench(plan()), "mine", project / "leaderboard")


def test_a_submission_is_refused_where_it_does_not_belong(plan: MakePlan, done: Path) -> None:
    project = done
    folder = model_of(project)
    with pytest.raises(UserError, match="conv2d is a row of the leaderboard itself"):
        submit(Bench(plan()), str(folder), project / "leaderboard", name="conv2d")
    task = Task(context=4, horizon=1, height=64, width=32)
    foreign = zoo.build("conv2d", {}, task)
    save_model(project / "foreign", foreign, name="conv2d", config={}, task=task, info={"data_id": "other"})
    with pytest.raises(UserError) as refused:
        submit(Bench(plan()), "foreign", project / "leaderboard")
    assert "another task than this leaderboard: context 4 instead of 5, height 64 instead of 32" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_mlflow_gets_a_run_with_the_files_and_one_below_it_a_row(plan: MakePlan, done: Path) -> None:
    from mlflow import MlflowClient

    board = held(plan(), done)  # a second time: runs are found again, not made again
    client = MlflowClient(f"sqlite:///{done / 'runs/mlflow.db'}")
    experiment = client.get_experiment_by_name("vidpred")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if run.data.tags["vidpred.stage"] == "leaderboard")
    children = {run.data.params["name"]: run for run in runs if "mlflow.parentRunId" in run.data.tags}
    assert set(children) == {row.name for row in board.standing.rows}
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}
    assert children["conv2d"].data.metrics[PD] == row_of(board, "conv2d").means[PD]
    assert parent.data.metrics[f"conv2d/{PD}"] == row_of(board, "conv2d").means[PD]
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert files == {"leaderboard.md", "leaderboard.csv", "leaderboard.html", "leaderboard.json"}


def test_the_list_is_the_same_for_the_same_data_and_another_for_another_task(plan: MakePlan) -> None:
    asked = plan()
    one, two = Bench(asked), Bench(plan(models=["skip_autoencoder"], seeds=2))
    assert one.list == two.list
    task = asked.params.task.model_copy(update={"context": 4})
    other = Bench(replace(asked, params=asked.params.model_copy(update={"task": task})))
    assert other.list.id != one.list.id


def test_a_state_without_its_scores_is_told(plan: MakePlan, done: Path) -> None:
    shutil.rmtree(done / "runs/leaderboard/scores")
    with pytest.raises(UserError, match="is gone: run `vidpred leaderboard` again"):
        write_board(Bench(plan()), done / "leaderboard")


def test_what_makes_no_sense_is_one_line(plan: MakePlan, project: Path) -> None:
    with pytest.raises(UserError, match="both given"):
        plan(minutes=1)
    with pytest.raises(UserError, match="no model is called 'conv2'"):
        plan(models=["conv2"])
    with pytest.raises(UserError, match="none of them twice"):
        plan(rates=[1e-3, 1e-3])
    with pytest.raises(UserError, match=r"learning_rate -1.0: "):
        plan(rates=[-1.0])
    shutil.rmtree(project / "data/split")
    with pytest.raises(UserError, match="needs data: run `dvc repro split`"):
        make_plan(project)


def test_clean_frees_what_no_leaderboard_shows(plan: MakePlan, done: Path) -> None:
    from rich.console import Console

    from vidpred.commands.clean import removables

    submit(Bench(plan()), str(model_of(done)), done / "leaderboard", name="mine")
    home = done / "runs"
    for name in ("runs/0123456789abcdef", "scores/0123456789abcdef"):
        (home / "leaderboard" / name).mkdir()
    for path in home.glob("leaderboard/*/*"):
        os.utime(path, (1, 1))
    gone = {path for one in removables(done, home, Console(quiet=True)) for path in one.paths}
    assert gone == set(home.glob("leaderboard/*/0123456789abcdef"))
