"""A commit checked out in a folder of its own, as a git worktree, with the changes that a record kept; gone afterwards.

In: the project, a record. Out: a folder that is a whole project, with DVC's cache of the first one. Neither the first
checkout nor its index, branches, hooks or settings are touched; what git notes of the worktree goes with it.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from vidpred import workspace
from vidpred.errors import UserError
from vidpred.tracking.lineage import dvc, git

log = logging.getLogger(__name__)

CHECKOUT, HOME = "checkout", "home"
_KEPT = ".kept"
_GRACE_SECONDS = 20
_NO_HOOKS = ("-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false")
_OURS = ("VIDPRED_", "MLFLOW_", "RAY_", "DVC_", "GIT_", "PYTHON")
"""Variables that would lead the work out of its folder: to a registry, a cluster, another home or other code."""


@contextmanager
def worktree(root: Path, commit: str, name: str, *, prefix: str, keep: bool) -> Iterator[Path]:
    """A folder of `VIDPRED_HOME/reproduce/` with `checkout/`, the worktree, and `home/`, for the work in it.

    Args:
        root: The project.
        commit: Must be in its repository.
        name: Of the folder; two processes do not share one.
        prefix: Of the project in its repository.
        keep: Leave it there.

    Raises:
        UserError: it cannot be made.
    """
    folder = workspace.home(root) / "reproduce" / name
    _sweep(root, folder.parent)
    with workspace.locked(folder):
        _remove(root, folder)
        checkout = folder / CHECKOUT
        try:
            _git(root, "worktree", "add", "--quiet", "--detach", str(checkout), commit)
            project = checkout / prefix if prefix else checkout
            if not (project / "dvc.yaml").is_file():
                raise UserError(f"commit {commit[:12]} has no dvc.yaml: it is no commit of a vidpred project")
            (folder / HOME).mkdir(exist_ok=True)
            _share_cache(root, project)
            yield project
        finally:
            if keep and checkout.is_dir():
                (folder / _KEPT).touch()
                log.info("kept: %s; `git worktree remove --force %s` removes it", checkout, checkout)
            else:
                _remove(root, folder)
                shutil.rmtree(folder, ignore_errors=True)  # with its lock, which is still held


def apply(project: Path, prefix: str, patch: Path | None, files: Mapping[str, Path]) -> None:
    """Puts the changes of a record over the commit.

    Args:
        project: In the worktree.
        prefix: Of the project in its repository: the patch's paths begin there.
        patch: For `git apply`; None: the code was that of the commit.
        files: Path in the project to the file that takes its place.

    Raises:
        UserError: the patch does not fit.
    """
    top = project.parents[len(Path(prefix).parts) - 1] if prefix else project
    if patch is not None:
        _git(top, "apply", "--whitespace=nowarn", str(patch.resolve()))
    for path, source in files.items():
        target = project / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copyfile(source, target)


def environment(home: Path) -> dict[str, str]:
    """For commands in the worktree: no registry, cluster or home but its own."""
    env = {name: value for name, value in dvc.environment().items() if not name.startswith(_OURS)}
    return env | {"VIDPRED_HOME": str(home), "MLFLOW_TRACKING_URI": ""}


def run(command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> int:
    """Runs a command with what it says on stderr; ends it with all its processes where we are ended. Its exit code."""
    process = subprocess.Popen(
        command, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True
    )
    try:
        return process.wait()
    except BaseException:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
                process.wait(_GRACE_SECONDS)
                break
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        _end_group(process.pid)
        raise


@contextmanager
def ended_softly() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP end this process as an exception does, so that nothing is left behind."""

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _share_cache(root: Path, project: Path) -> None:
    """Lets DVC in the worktree use the first project's cache and remotes."""
    local = root / ".dvc/config.local"
    if local.is_file():
        shutil.copyfile(local, project / ".dvc/config.local")
    cache = dvc.cache_of(root)
    if cache is not None:
        subprocess.run(
            dvc.command("config", "--local", "cache.dir", str(cache)), cwd=project, env=environment(project),
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip


def _sweep(root: Path, folder: Path) -> None:
    """Removes what a killed process left behind."""
    for path in sorted(folder.glob("*")):
        if path.is_dir() and not (path / _KEPT).exists() and not workspace.in_use(path):
            _remove(root, path)
            shutil.rmtree(path, ignore_errors=True)


def _remove(root: Path, folder: Path) -> None:
    checkout = folder / CHECKOUT
    if checkout.exists():
        git.run(root, "worktree", "remove", "--force", str(checkout))
        shutil.rmtree(checkout, ignore_errors=True)
    git.run(root, "worktree", "prune")
    shutil.rmtree(folder / HOME, ignore_errors=True)
    (folder / _KEPT).unlink(missing_ok=True)


def _git(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["git", *_NO_HOOKS, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        line = next(iter((done.stderr or done.stdout).strip().splitlines()), "no reason given")
        raise UserError(f"git {arguments[0]}: {line}")
