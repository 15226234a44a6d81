"""What git knows of a project: the commit, what was changed since, where it came from. Nothing is locked or written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from vidpred.workspace import main_checkout

_SECONDS = 60
MACHINE_MADE = ("dvc.lock", "results")
"""Tracked files that the stages write: that they differ from the commit is no change of anybody's."""
APART = ("params.yaml", "dvc.yaml", *MACHINE_MADE)
"""Not in the patch: they are recorded as they are."""
PRIVATE = (".dvc", "deploy")
"""Never in the patch: settings of one place, which may hold passwords, and decide no result."""


@dataclass(frozen=True)
class State:
    """How a checkout stands to its commit."""

    commit: str
    prefix: str
    """Of the project in its repository, such as `sub/`; mostly empty."""
    remote: str
    """Without credentials; empty: there is none."""
    changed: tuple[str, ...]
    """Tracked files that differ from the commit, but for what the stages write."""
    untracked: tuple[str, ...]
    """Files that git neither tracks nor ignores: they are not in the patch."""
    patch: bytes
    """From the commit to the code as it is, for `git apply`; without `APART` and `PRIVATE`."""


def run(root: Path, *arguments: str) -> bytes | None:
    """What a git command printed; None where it fails, is not installed, or this is no repository."""
    # no locks: DVC may be working in the same repository
    env = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS,
            check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def text(root: Path, *arguments: str) -> str | None:
    """As `run`, stripped."""
    found = run(root, *arguments)
    return None if found is None else found.decode("utf-8", "replace").strip()


def state(root: Path) -> State | None:
    """How the project stands; None without git or a first commit."""
    commit = text(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if commit is None:
        return None
    machine_made = [f":(exclude){path}" for path in MACHINE_MADE]
    left_out = [f":(exclude){path}" for path in (*APART, *PRIVATE)]
    # no programs that git's own settings name
    diff = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD")
    patch = run(root, *diff, "--binary", "--", ".", *left_out)
    return State(
        commit=commit,
        prefix=text(root, "rev-parse", "--show-prefix") or "",
        remote=remote(main_checkout(root.resolve())),  # a clone of DVC's queue has none
        changed=_names(run(root, *diff, "--name-only", "-z", "--relative", "--", ".", *machine_made)),
        untracked=_names(run(root, "ls-files", "--others", "--exclude-standard", "-z", "--", ".", *left_out)),
        patch=patch or b"",
    )


def remote(root: Path) -> str:
    """Where the repository came from, without user, password or query; empty: there is no remote."""
    names = (text(root, "remote") or "").split()
    if not names:
        return ""
    return without_credentials(text(root, "remote", "get-url", "origin" if "origin" in names else names[0]) or "")


def without_credentials(url: str) -> str:
    """A URL without user, password, query and fragment; a path or `git@host:path` as it is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if not parts.scheme or not parts.netloc:
        user, at, rest = url.rpartition("@")
        return f"{user.partition(':')[0]}{at}{rest}"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def has_commit(root: Path, commit: str) -> bool:
    """Whether this repository has it."""
    return run(root, "cat-file", "-e", f"{commit}^{{commit}}") is not None


def _names(listed: bytes | None) -> tuple[str, ...]:
    return tuple(sorted(name for name in (listed or b"").decode("utf-8", "replace").split("\0") if name))


def files_of(patch: bytes) -> Sequence[str]:
    """Names in a patch, as it writes them."""
    lines = (line for line in patch.splitlines() if line.startswith(b"diff --git "))
    return [line.decode("utf-8", "replace").rpartition(" b/")[2] for line in lines]
