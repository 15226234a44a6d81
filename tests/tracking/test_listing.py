"""What `vidpred models --registry`, `pull`, `promote` and `rollback` say on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tracking.conftest import Project
from vidpred import cli
from vidpred.tracking import store

pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Types a command; gives its exit code and what it wrote to stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "200")

    def typed(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vidpred", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return int(str(end.value.code or 0)), out, err

    return typed


def test_registry_that_is_not_there_yet(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDPRED_HOME", str(tmp_path / "home"))
    code, out, _ = run("models", "--registry")
    assert (code, "has no models: `make repro` makes one" in out) == (0, True)
    assert json.loads(run("models", "--registry", "--json")[1]) == []
    assert not list((tmp_path / "home").iterdir())  # asking made nothing


@pytest.mark.usefixtures("home")
def test_versions_with_what_decides(run: Run, project: Project) -> None:
    project.register(0.8)
    project.register(0.5)
    client = store.connect()
    client.set_model_version_tag("vidpred", "2", "vidpred.reason", "[red]bad[/red] \x1b[2J\nsecond line")
    client.create_model_version("vidpred", "s3://elsewhere/model")
    code, out, _ = run("models", "--registry")
    assert code == 0
    assert "\x1b[2J" not in out
    row = {line.split()[0]: line for line in out.splitlines() if "vidpred/" in line}
    assert "champion" in row["vidpred/1"]
    assert "challenger" in row["vidpred/2"]
    assert "beats copy_last, and there was no champion" in row["models:/vidpred/1:"]
    assert "[red]bad[/red]" in row["models:/vidpred/2:"]
    assert "not registered by vidpred" in row["models:/vidpred/3:"]
    told = {row["version"]: row for row in json.loads(run("models", "vidpred", "--registry", "--json")[1])}
    assert (told[1]["aliases"], told[1]["decision"], told[2]["aliases"]) == (["champion"], "champion", ["challenger"])
    assert told[1]["pd"] < told[2]["pd"]
    assert told[1]["gain_interval"][0] < told[1]["gain"] < told[1]["gain_interval"][1]
    assert told[1]["promoted"]["how"] == "by the gate"
    assert told[1]["data_id"] == project.shards.data_id
    assert told[3]["gain"] is None
    assert "it has vidpred" in run("models", "nothing", "--registry")[2]


@pytest.mark.usefixtures("home")
def test_from_pull_to_rollback(run: Run, project: Project, tmp_path: Path) -> None:
    project.register(0.8)
    project.register(0.5)
    code, out, _ = run("pull", "models:/vidpred@champion", "-o", str(tmp_path / "mine"))
    assert (code, "models:/vidpred/1 (weights" in out) == (0, True)
    assert "which was there already" in run("pull", "models:/vidpred/1", "-o", str(tmp_path / "mine"))[1]
    assert (
        run("promote", "models:/vidpred/2", "--force")[2]
        == "error: --force overrules the gate: say why, with --reason\n"
    )
    assert "--reason is for --force" in run("promote", "models:/vidpred/2", "--reason", "x")[2]
    assert "the gate judges on a project's test clips" in run("promote", "models:/vidpred/2")[2]
    assert "is champion (before: version 1)" in run("promote", "models:/vidpred/2", "--force", "--reason", "x")[1]
    assert "pulled is no registered version: give models:/NAME/VERSION" in run("promote", "pulled")[2]
    assert "did you mean models:/vidpred@champion?" in run("promote", "vidpred@champion")[2]
    code, out, _ = run("promote", "models:/vidpred@champion", "--force", "--reason", "y")
    assert (code, out) == (
        0,
        "models:/vidpred/2 is the champion already: nothing is changed, and the reason is not kept\n",
    )
    assert "champion is version 1 again, and was version 2" in run("rollback", "--reason", "no")[1]
    code, _, err = run("rollback")
    assert (code, "cannot be rolled back" in err) == (1, True)
