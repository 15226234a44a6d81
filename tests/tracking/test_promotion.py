"""Who is champion: earned, forced or given back; nothing of it is forgotten."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tracking.conftest import Project
from vidpred.config import Params, load_params
from vidpred.errors import UserError
from vidpred.models.files import load_model, save_model
from vidpred.tracking import registry, store
from vidpred.tracking.aliases import history
from vidpred.tracking.gate import Bench
from vidpred.tracking.judge import judge_on
from vidpred.tracking.promotion import promote, rollback
from vidpred.types import Task

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]


def aliases() -> dict[str, str]:
    """Which version has which alias."""
    return {alias: str(v) for alias, v in store.connect().get_registered_model("vidpred").aliases.items()}


def tags(version: str) -> dict[str, str]:
    """What a version says of itself."""
    return dict(store.connect().get_model_version("vidpred", version).tags)


def champions() -> list[tuple[str | None, str]]:
    """Every move that is known: who became champion, and how."""
    return [(move.version, move.how) for move in history(store.connect(), "vidpred")]


@pytest.fixture
def params(root: Path) -> Params:
    """Of this small project."""
    whole = load_params(root / "params.yaml")
    return whole.model_copy(update={"task": whole.task.model_copy(update={"context": 3})})


@pytest.fixture
def judge(project: Project, params: Params) -> Callable[[Path], Bench]:
    """The gate's eyes: this project's test clips."""
    return judge_on(project.shards, project.split, by_time=False, params=params, device=torch.device("cpu"))


def test_worse_one_and_a_tie_do_not_become_champion_and_a_better_one_does(project: Project) -> None:
    project.register(0.8)
    worse = project.register(0.5)
    assert (worse["alias"], aliases()) == ("challenger", {"champion": "1", "challenger": "2"})
    assert "does not beat the champion (version 1)" in worse["reason"]
    assert "says that it is worse" in tags("2")["vidpred.reason"]

    folder = project.model(0.8)  # other weights that predict the same
    model, info = load_model(folder)
    with torch.no_grad():
        model.get_parameter(next(name for name, _ in model.named_parameters() if "bias" in name)).fill_(1e-12)
    keep = {key: info[key] for key in ("data_id", "fps", "fit")}
    save_model(folder, model, name="conv2d", config=info["config"], task=Task(**info["task"]), info=keep)
    tie = registry.register(
        folder, name="vidpred", run_key="tie", bench=project.bench(folder), pictures=project.pictures()
    )
    assert (tie["alias"], aliases()) == ("challenger", {"champion": "1", "challenger": "3"})
    assert "holds zero" in tie["reason"]
    assert tie["champion"]["gain"]["pooled"] == 0

    better = project.register(0.9)
    assert (better["alias"], aliases()) == ("champion", {"champion": "4", "challenger": "3"})
    assert better["champion"]["gain"]["pooled_interval"][0] > 0
    said = tags("4")
    assert (said["vidpred.promoted_how"], said["vidpred.promoted_from"]) == ("by the gate", "1")


def test_promote_asks_the_gate_anew(project: Project, judge: Callable[[Path], Bench]) -> None:
    project.register(0.8)
    project.register(0.5)
    project.register(0.9)
    store.connect().set_registered_model_alias("vidpred", "champion", "1")  # as if the third had not been there
    worse = promote("models:/vidpred/2", judge=judge)
    assert not worse.champion
    assert "does not beat the champion (version 1)" in worse.reason
    assert aliases() == {"champion": "1", "challenger": "2"}
    better = promote("models:/vidpred/3", judge=judge)
    assert (better.champion, better.before) == (True, "1")
    assert aliases() == {"champion": "3", "challenger": "2"}
    assert promote("models:/vidpred@champion", judge=judge).reason == "it is the champion already"
    useless = project.register(0.0)
    assert useless["alias"] is None
    assert "does not beat copy_last" in promote("models:/vidpred/4", judge=judge).reason


def test_what_was_trained_on_these_clips_or_for_another_task_is_not_judged(
    project: Project, new_project: Callable[..., Project], judge: Callable[[Path], Bench]
) -> None:
    project.register(0.9)
    new_project("more training", test_from=8).register(0.5)
    with pytest.raises(UserError, match="models:/vidpred/2 is not judged here: it was trained on 3 of the groups"):
        promote("models:/vidpred/2", judge=judge)
    project.register(0.9, task=Task(context=4, horizon=1, height=16, width=16))
    with pytest.raises(UserError, match="another task than this project, context 4 instead of 3"):
        promote("models:/vidpred/3", judge=judge)
    assert aliases()["champion"] == "1"


def test_force_says_who_and_why(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.register(0.8)
    project.register(0.5)
    with pytest.raises(UserError, match="--reason"):
        promote("models:/vidpred@challenger")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    outcome = promote("models:/vidpred@challenger", reason="calmer on dark clips")
    assert outcome.champion
    assert aliases() == {"champion": "2"}
    said = tags("2")
    assert {key: said[f"vidpred.promoted_{key}"] for key in ("how", "by", "why", "from")} == {
        "how": "by force", "by": "ann", "why": "calmer on dark clips", "from": "1",
    }  # fmt: skip
    assert said["vidpred.promoted_at"].startswith("20")
    first, second = (project.register(0.5) for _ in range(2))  # as `dvc repro` does
    assert first == second
    assert "made champion by ann, not by the gate: calmer on dark clips" in first["reason"]
    assert aliases() == {"champion": "2"}


def test_force_does_not_make_a_champion_of_what_cannot_be_loaded(home: Path, project: Project) -> None:
    project.register(0.8)
    project.register(0.5)
    newest = max((home / "mlartifacts").rglob("model.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="damaged"):
        promote("models:/vidpred/2", reason="I want it")
    assert aliases()["champion"] == "1"


def test_rollback_walks_back_and_forgets_nothing(project: Project, judge: Callable[[Path], Bench]) -> None:
    for good in (0.3, 0.6, 0.9):
        project.register(good)
    assert rollback("vidpred", reason="flickers") == ("3", "2")
    assert rollback("vidpred") == ("2", "1")
    assert aliases() == {"champion": "1"}
    with pytest.raises(UserError, match="version 1 is the first champion"):
        rollback("vidpred")
    assert champions() == [("1", "gate"), ("2", "gate"), ("3", "gate"), ("2", "rollback"), ("1", "rollback")]
    assert tags("3")["vidpred.rolled_back"].endswith("flickers")

    again = project.register(0.9)  # `dvc repro` must not undo what a person did
    assert (again["alias"], aliases()) == (None, {"champion": "1"})
    assert again["reason"].startswith("rolled back to version 2")
    assert promote("models:/vidpred/3", judge=judge).champion
    assert rollback("vidpred") == ("3", "1")


def test_rollback_passes_over_what_was_deleted(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    for good in (0.3, 0.6, 0.9):
        project.register(good)
    store.connect().delete_model_version("vidpred", "2")
    assert rollback("vidpred") == ("3", "1")
    assert "version 2 of vidpred was champion once, and deleted since" in caplog.text


def test_rollback_passes_over_what_cannot_be_used(
    project: Project, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for good in (0.3, 0.6, 0.9):
        project.register(good)
    source = str(store.connect().get_model_version("vidpred", "2").source)
    shutil.rmtree(home / "mlartifacts" / source.partition("/mlartifacts/")[2])
    assert rollback("vidpred") == ("3", "1")
    assert "version 2 of vidpred is passed over" in caplog.text


def test_alias_that_was_moved_by_hand_is_respected_and_told(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    for good in (0.6, 0.3):
        project.register(good)
    client = store.connect()
    client.set_registered_model_alias("vidpred", "champion", "2")
    with caplog.at_level(logging.WARNING):
        receipt = project.register(0.3)
    assert (receipt["alias"], aliases()["champion"]) == ("champion", "2")
    assert "moved by hand: it is version 2, and was version 1" in caplog.text
    assert rollback("vidpred") == ("2", "1")
    client.delete_registered_model_alias("vidpred", "champion")
    assert rollback("vidpred") == (None, "1")
    assert champions() == [
        ("1", "gate"), ("2", "hand"), ("1", "rollback"), (None, "hand"), ("1", "rollback"),
    ]  # fmt: skip


def test_champion_of_a_time_without_notes_is_the_first(project: Project) -> None:
    project.register(0.5)
    client = store.connect()
    for tag in client.get_registered_model("vidpred").tags:
        client.delete_registered_model_tag("vidpred", tag)
    project.register(0.9)
    assert champions() == [("1", "found"), ("2", "gate")]
    assert rollback("vidpred") == ("2", "1")


def test_notes_of_strangers_are_passed_over(project: Project) -> None:
    project.register(0.5)
    client = store.connect()
    for number, value in enumerate(("[" * 10_000, "null", "{}", json.dumps({"version": "9", "how": "evil"}))):
        client.set_registered_model_tag("vidpred", f"vidpred.champion.9{number}", value)
    with pytest.raises(UserError, match="first champion"):
        rollback("vidpred")
    with pytest.raises(UserError, match=r"nothing is not in sqlite.*: it has vidpred"):
        rollback("nothing")


def _register(home: Path, told: Any) -> None:
    """Of another machine: with another home, which holds other locks."""
    os.environ["MLFLOW_TRACKING_URI"] = store.tracking_uri()
    os.environ["VIDPRED_HOME"] = str(home)
    torch.set_num_threads(1)
    project = Project.__new__(Project)
    project.__dict__.update(told)
    project.register(0.5)


@pytest.mark.slow
def test_two_machines_at_once_make_one_version(project: Project, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    homes = [tmp_path / name for name in ("one", "two")]
    told = {"folder": project.folder, "split": project.split, "shards": project.shards, "windows": project.windows}
    workers = [spawn.Process(target=_register, args=(home, told)) for home in homes]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(240)
        assert worker.exitcode == 0
    assert [str(v.version) for v in store.connect().search_model_versions("name = 'vidpred'")] == ["1"]
    assert aliases() == {"champion": "1"}
