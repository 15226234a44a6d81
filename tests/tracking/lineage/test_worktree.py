"""A worktree of a commit: whole, with the changes of a record, and gone afterwards whatever happens."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tracking.conftest import Project
from tests.tracking.lineage.conftest import git
from vidpred.errors import UserError
from vidpred.tracking.lineage import dvc, worktree

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]


@pytest.fixture
def commit(checkout: Project) -> str:
    (checkout.folder / ".dvc").mkdir()
    (checkout.folder / ".dvc/config").write_text("[core]\n    analytics = false\n")
    git(checkout.folder, "add", "--all")
    git(checkout.folder, "commit", "--quiet", "-m", "dvc")
    return git(checkout.folder, "rev-parse", "HEAD")


def listed(project: Project) -> int:
    return len(git(project.folder, "worktree", "list").splitlines())


def test_a_worktree_has_the_patch_and_the_files(checkout: Project, commit: str, tmp_path: Path) -> None:
    net = checkout.folder / "vidpred/net.py"
    net.write_text("width = 16\n")
    patch, params = tmp_path / "code.patch", tmp_path / "params.yaml"
    patch.write_text(git(checkout.folder, "diff", "HEAD") + "\n")
    params.write_text("train: {steps: 40}\n")
    hook = checkout.folder / ".git/hooks/post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch '{tmp_path}/hooked'\n")
    hook.chmod(0o755)
    with worktree.worktree(checkout.folder, commit, "one", prefix="", keep=False) as project:
        worktree.apply(project, "", patch, {"params.yaml": params})
        assert (project / "vidpred/net.py").read_text() == "width = 16\n"
        assert (project / "params.yaml").read_text() == params.read_text()
        assert not (project / "secret.txt").exists()
        assert listed(checkout) == 2
    assert not project.exists()
    assert listed(checkout) == 1
    assert not (tmp_path / "hooked").exists()
    assert net.read_text() == "width = 16\n"


def test_a_failure_leaves_nothing_behind(checkout: Project, commit: str, home: Path, tmp_path: Path) -> None:
    patch = tmp_path / "code.patch"
    patch.write_text("diff --git a/nowhere.py b/nowhere.py\n--- a/nowhere.py\n+++ b/nowhere.py\n@@ -1 +1 @@\n-a\n+b\n")
    with (
        pytest.raises(UserError, match="git apply"),
        worktree.worktree(checkout.folder, commit, "one", prefix="", keep=False) as project,
    ):
        worktree.apply(project, "", patch, {})
    assert listed(checkout) == 1
    assert not list((home / "reproduce").glob("*"))


def test_what_a_kill_left_is_swept_and_what_was_kept_is_not(checkout: Project, commit: str, home: Path) -> None:
    with worktree.worktree(checkout.folder, commit, "kept", prefix="", keep=True) as kept:
        pass
    killed = home / "reproduce/killed"
    git(checkout.folder, "worktree", "add", "--detach", str(killed / worktree.CHECKOUT), commit)
    with worktree.worktree(checkout.folder, commit, "next", prefix="", keep=False):
        assert not killed.exists()
    assert kept.is_dir()
    assert listed(checkout) == 2


def test_what_it_runs_ends_with_it(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, signal\n"
        "from pathlib import Path\n"
        "from vidpred.tracking.lineage import worktree\n"
        "child = 'import os, time, pathlib; pathlib.Path(\"pid\").write_text(str(os.getpid())); time.sleep(100)'\n"
        "with worktree.ended_softly():\n"
        f"    worktree.run([{sys.executable!r}, '-c', child], cwd=Path('.'), env=dict(os.environ))\n"
    )
    process = subprocess.Popen([sys.executable, str(program)], cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()


def test_no_registry_or_cluster_leads_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "MLFLOW_TRACKING_TOKEN",
        "RAY_ADDRESS",
        "VIDPRED_ALLOW_OPEN_RAY",
        "DVC_EXP_NAME",
        "PYTHONPATH",
        "GIT_DIR",
    ):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://team:5000")
    env = worktree.environment(tmp_path)
    assert env["MLFLOW_TRACKING_URI"] == ""
    assert env["VIDPRED_HOME"] == str(tmp_path)
    assert "x" not in env.values()


def test_hashes_are_those_of_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    monkeypatch.chdir(tmp_path)
    for name in ("b.txt", "a/z.txt", "a/b/c.txt", "a.txt"):
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    for command in (("init", "--no-scm", "-q"), ("add", "-q", "folder")):
        subprocess.run(dvc.command(*command), check=True, cwd=tmp_path)
    md5 = yaml.safe_load((tmp_path / "folder.dvc").read_text())["outs"][0]["md5"]
    assert dvc.md5_of(tmp_path / "folder") == md5
    cache = dvc.cache_of(tmp_path)
    assert cache is not None
    known = dvc.files_in_cache(cache, md5)
    assert known is not None
    assert sorted(known) == ["a.txt", "a/b/c.txt", "a/z.txt", "b.txt"]
    assert all(dvc.md5_of(dvc.cached(cache, one)) == one for one in known.values())
