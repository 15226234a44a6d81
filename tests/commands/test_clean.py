"""`vidpred clean`: frees what is old, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import typer

from vidpred import workspace
from vidpred.commands import clean
from vidpred.commands.clean import clean_home


@pytest.fixture
def home(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with current and old work of each kind, of a project with a list of one URL."""
    project = tmp_path / "project"
    project.mkdir()
    params = (root / "params.yaml").read_text().replace("datasets/moving_digits.yaml", "urls.txt")
    (project / "params.yaml").write_text(params)
    (project / "urls.txt").write_text("https://host/wanted.gif\n")
    (project / "dvc.yaml").write_text(
        "stages:\n  tune: {deps: [urls.txt], params: [tune]}\n  train: {deps: [urls.txt]}\n"
    )
    folder = tmp_path / "home"
    monkeypatch.setenv("VIDPRED_HOME", str(folder))
    monkeypatch.chdir(project)
    for stage, below in (("tune", "tune"), ("train", "train"), ("transcode", "clips")):
        for key in (clean.current_key(project, stage), "0123456789abcdef"):
            (folder / below / str(key)).mkdir(parents=True)
            (folder / below / str(key) / "work").write_bytes(b"x" * 10_000)
    (folder / "downloads").mkdir()
    for key, url in (("aa", "https://host/wanted.gif"), ("bb", "https://host/old.gif")):
        (folder / "downloads" / key).write_bytes(b"x")
        (folder / "downloads" / f"{key}.json").write_text(json.dumps({"url": url}))
    (folder / "mlartifacts").mkdir()
    (folder / "mlflow.db").write_bytes(b"x")
    return folder


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_old_work_goes_and_current_work_stays(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(home)
    clean_home(dry_run=False, yes=True)
    gone = {"tune/0123456789abcdef/work", "train/0123456789abcdef/work", "clips/0123456789abcdef/work"}
    assert before - files(home) == gone | {"downloads/bb", "downloads/bb.json"}
    assert "freed" in capsys.readouterr().out


def test_dry_run_shows_sizes_and_deletes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(home)
    clean_home(dry_run=True, yes=False)
    shown = capsys.readouterr().out
    assert files(home) == before
    assert "12 kB  train/0123456789abcdef" in shown
    assert "https://host/old.gif" in shown


@pytest.mark.parametrize("answer", [True, False])
def test_asks_before_it_deletes(home: Path, answer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typer, "confirm", lambda _question: answer)
    before = files(home)
    clean_home(dry_run=False, yes=False)
    assert (files(home) == before) is not answer


def test_work_of_a_stage_that_cannot_run_yet_is_left_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("dvc.yaml").write_text("stages:\n  tune: {deps: [data/shards]}\n  train: {deps: [data/shards]}\n")
    before = {name for name in files(home) if name.startswith(("tune", "train"))}
    clean_home(dry_run=False, yes=True)
    assert {name for name in files(home) if name.startswith(("tune", "train"))} == before
    assert "left alone" in capsys.readouterr().out


def test_work_that_a_process_holds_is_left_alone(home: Path) -> None:
    held = home / "train/0123456789abcdef"
    code = (
        "import sys, time; from vidpred.workspace import locked; from pathlib import Path\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    env = os.environ | {"PYTHONPATH": str(Path(workspace.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(held)], stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            clean_home(dry_run=False, yes=True)
        finally:
            process.kill()
    assert (held / "work").exists()
    assert not (home / "tune/0123456789abcdef").exists()


def test_work_that_begins_while_it_asks_is_left_alone(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:

        def agreed(_question: str) -> bool:
            stack.enter_context(workspace.locked(home / "train/0123456789abcdef"))
            return True

        monkeypatch.setattr(typer, "confirm", agreed)
        clean_home(dry_run=False, yes=False)
        assert (home / "train/0123456789abcdef/work").exists()
        assert not (home / "tune/0123456789abcdef").exists()
    assert "0123456789abcdef is in use now: left alone" in capsys.readouterr().out


def test_a_leaderboard_whose_record_is_damaged_is_left_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = home / "leaderboard/lists/of-these/board.json"
    board.parent.mkdir(parents=True)
    board.write_text('{"entries": [')
    (home / "leaderboard/runs/kept").mkdir(parents=True)
    os.utime(home / "leaderboard/runs/kept", (0, 0))
    clean_home(dry_run=False, yes=True)
    assert (home / "leaderboard/runs/kept").exists()
    assert "leaderboard/ is left alone" in capsys.readouterr().out


def test_what_jobs_were_brought_or_left_goes_once_nobody_uses_it(home: Path) -> None:
    old = (time.time() - 7200,) * 2
    for name in ("split-aa", "split-bb", "split-cc"):
        (home / "inputs" / name / "split").mkdir(parents=True)
        (home / "inputs" / name / "whole").touch()
        if name != "split-cc":  # which a job has begun with just now
            os.utime(home / "inputs" / name / "whole", old)
    current = f"tune-{clean.current_key(Path(), 'tune')}"
    for name in (current, "tune-0123456789abcdef"):
        (home / "remote" / name).mkdir(parents=True)
    for name, when in (("results-old", old), ("results-new", None)):
        (home / name).mkdir()
        os.utime(home / name, when)
    with workspace.shared(home / "inputs/split-bb"), workspace.shared(home / "inputs/split-bb"):
        clean_home(dry_run=False, yes=True)
    assert {path.name for path in home.glob("inputs/*")} == {"split-bb", "split-cc"}
    assert {path.name for path in home.glob("remote/*")} == {current}
    assert {path.name for path in home.glob("results-*")} == {"results-new"}


def test_a_copy_of_a_registered_model_goes_once_it_is_not_fresh(home: Path) -> None:
    copy = home / "downloads/model-3"
    copy.mkdir()
    clean_home(dry_run=False, yes=True)
    assert copy.exists()
    os.utime(copy, (time.time() - 7200,) * 2)
    clean_home(dry_run=False, yes=True)
    assert not copy.exists()


def test_a_broken_download_is_counted_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = home / "downloads/.cc.part"
    part.write_bytes(b"x" * 10_000)
    os.utime(part, (time.time() - 7200,) * 2)
    clean_home(dry_run=False, yes=True)
    assert capsys.readouterr().out.count("broken off") == 1
    assert not part.exists()


@pytest.mark.usefixtures("home")
def test_nothing_to_free_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    clean_home(dry_run=False, yes=True)
    capsys.readouterr()
    clean_home(dry_run=False, yes=True)
    assert "nothing to free" in capsys.readouterr().out


def downloads(home: Path, **urls: str) -> None:
    """Puts downloads there, by key."""
    for key, url in urls.items():
        (home / "downloads" / key).write_bytes(b"x")
        (home / "downloads" / f"{key}.json").write_text(json.dumps({"url": url}))


def ask_for(source: str, content: str) -> None:
    """Makes the project's source another one."""
    Path(source).write_text(content)
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("urls.txt", source))


@pytest.mark.parametrize(
    ("source", "content"),
    [
        ("urls.csv", "group,url\na,https://host/wanted.gif\n"),
        ("urls.tsv", "https://host/wanted.gif\ta cat\n"),
        (
            "mine.yaml",
            "dataset: m\ntitle: t\nhomepage: h\nlicence: l\ncitation: c\nfiles: [{url: 'https://host/wanted.gif'}]\n",
        ),
    ],
)
def test_downloads_of_lists_and_datasets_stay(home: Path, source: str, content: str) -> None:
    ask_for(source, content)
    clean_home(dry_run=False, yes=True)
    assert (home / "downloads/aa").exists()
    assert not (home / "downloads/bb").exists()


def test_downloads_that_a_downloaded_list_names_stay(home: Path) -> None:
    downloads(home, cc="https://host/list.csv", dd="https://site/watch?v=1")
    (home / "downloads/cc").write_text("id,label\n1,a\n2,b\n")
    ask_for(
        "mine.yaml",
        "dataset: mine\ntitle: t\nhomepage: h\nlicence: l\ncitation: c\nfiles:\n  - url: https://host/list.csv\n"
        "    use: list\n    layout: {fields: {url: 'https://site/watch?v={id}'}}\n",
    )
    clean_home(dry_run=False, yes=True)
    assert {path.name for path in (home / "downloads").glob("??")} == {"cc", "dd"}


def test_downloads_of_a_source_that_cannot_be_read_are_left_alone(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask_for("mine.yaml", "dataset: mine\n")
    clean_home(dry_run=False, yes=True)
    assert (home / "downloads/aa").exists()
    assert (home / "downloads/bb").exists()
    assert "downloads/ is left alone" in capsys.readouterr().out


def test_an_unfinished_download_that_is_asked_for_stays(home: Path) -> None:
    part = home / "downloads/.aa.part"
    part.write_bytes(b"x" * 10_000)
    os.utime(part, (time.time() - 7200,) * 2)
    clean_home(dry_run=False, yes=True)
    assert part.exists()


def test_flow_of_a_broken_run_goes_once_it_is_not_fresh(home: Path) -> None:
    left = home / "flow/0123456789abcdef"
    left.mkdir(parents=True)
    (left / "flow-0000.npy").write_bytes(b"x")
    clean_home(dry_run=False, yes=True)
    assert left.exists()
    os.utime(left, (time.time() - 7200,) * 2)
    clean_home(dry_run=False, yes=True)
    assert not left.exists()
