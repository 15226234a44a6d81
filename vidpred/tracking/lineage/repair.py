"""Registers again what a registry has lost and the project's receipt tells of.

In: the receipt. Out: the version, with the alias that the gate gives it. Files that the stage needs and that are not
here come from DVC's cache; a file that is here stays as it is.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidpred import workspace
from vidpred.errors import UserError
from vidpred.models.files import INFO, WEIGHTS
from vidpred.tracking.lineage import dvc
from vidpred.tracking.lineage.checks import lost
from vidpred.tracking.meant import TRAINED
from vidpred.tracking.receipt import RECEIPT

log = logging.getLogger(__name__)

_NEEDED = (TRAINED, "data/shards", "data/split", "data/evaluation")


def repair(receipt: Mapping[str, Any]) -> str:
    """Registers the receipt's model; what came of it, in a sentence.

    Raises:
        UserError: the registry has it, its files are nowhere, or the stage fails. The receipt is as it was then.
    """
    root = workspace.find_root()
    if not receipt["identity"]:
        return str(receipt["reason"])
    if not lost(receipt):
        return f"the registry has the version that {RECEIPT} tells of: nothing is registered"
    missing = [path for path in _NEEDED if not (root / path).exists()]
    if missing:
        done = subprocess.run(
            dvc.command("checkout", *missing), cwd=root, env=dvc.environment(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise UserError(
                f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} neither here nor in DVC's cache: run "
                "`dvc pull` if it was shared, or `dvc repro`, which makes it again"
            )
        log.info("brought back from DVC's cache: %s", ", ".join(missing))
    _same_weights(root, receipt)
    before = (root / RECEIPT).read_bytes()
    try:
        code = subprocess.run([sys.executable, "-m", "stages.register"], cwd=root, env=dvc.environment(), check=False)
        if code.returncode:
            raise UserError("it was not registered: the message above says why")
        after = json.loads((root / RECEIPT).read_bytes())
    except BaseException:
        (root / RECEIPT).write_bytes(before)
        raise
    alias = after["alias"] or "neither champion nor challenger"
    if after == json.loads(before):
        return f"registered as {alias}, as {RECEIPT} says"
    told = (
        f"registered as {alias} ({after['reason']}); {RECEIPT} said {receipt['alias'] or 'neither'} and is written anew"
    )
    return told if _taken_up(root) else f"{told}: `dvc commit register` takes it up"


def _taken_up(root: Path) -> bool:
    """Lets DVC take the new receipt for what the stage made, and make anew what depends on it."""
    for arguments in (("commit", "--quiet", "--force", "register"), ("repro", "--quiet", "--downstream", "register")):
        done = subprocess.run(
            dvc.command(*arguments), cwd=root, env=dvc.environment(), stdin=subprocess.DEVNULL, stdout=sys.stderr,
            check=False,
        )  # fmt: skip
        if done.returncode:
            return False
    return True


def _same_weights(root: Path, receipt: Mapping[str, Any]) -> None:
    wanted = receipt["weights_sha256"]
    try:
        said = json.loads((root / TRAINED / INFO).read_bytes())["weights_sha256"]
        found = workspace.file_sha256(root / TRAINED / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError):
        said = found = None
    if not wanted == said == found:
        raise UserError(
            f"{TRAINED} does not hold the weights {str(wanted)[:12]} that {RECEIPT} tells of: `dvc checkout "
            f"{TRAINED}` brings those of dvc.lock; of two that belong together git has both files"
        )
