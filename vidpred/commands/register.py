"""`vidpred register`: what it takes; with --if-missing the model of the receipt, where the registry lacks it."""

from __future__ import annotations

import logging
from pathlib import Path

import typer

from vidpred.errors import UserError
from vidpred.tracking.lineage import dvc
from vidpred.tracking.receipt import RECEIPT, read_receipt, standing
from vidpred.workspace import find_root

log = logging.getLogger(__name__)

_TRAINED = "models/trained"
_WEIGHTS = "model.safetensors"
_JUDGED = "results/evaluate/metrics.json"


def check_folder(folder: Path) -> None:
    """Whether it is the one that the stage registers.

    Raises:
        UserError: it is another one.
    """
    if folder.expanduser().resolve() == (find_root() / _TRAINED).resolve():
        return
    raise UserError(
        f"register takes no folder: it registers {_TRAINED}, which this project's stages trained and judged on test. A "
        f"model from elsewhere is of use without a registry (`vidpred predict {folder} cat.gif`), and `vidpred "
        f"leaderboard submit {folder}` judges it beside others"
    )


def check_judged() -> None:
    """Whether the figures at hand are of the weights at hand, as far as dvc.lock and DVC's cache tell.

    Raises:
        UserError: they are of others.
    """
    root = find_root()
    stage = dvc.stages_of(root).get("evaluate", {})
    trained, judged = dvc.dependencies(stage).get(_TRAINED), dvc.outputs(stage).get(_JUDGED)
    if not (trained and judged and (root / _JUDGED).is_file() and (root / _TRAINED / _WEIGHTS).is_file()):
        return  # which the stage tells itself
    if dvc.md5_of(root / _JUDGED) != judged or dvc.md5_of(root / _TRAINED) == trained:
        return  # judged by hand, or all is as it was
    cache = dvc.cache_of(root)
    files = dvc.files_in_cache(cache, trained) if cache else None
    if files and _WEIGHTS in files and files[_WEIGHTS] != dvc.md5_of(root / _TRAINED / _WEIGHTS):
        raise UserError(
            f"{_TRAINED} was trained, or put there, since {_JUDGED} was written, which tells of another model: "
            "`vidpred evaluate` judges it, then `vidpred register` takes it; "
            f"`dvc checkout --force {_TRAINED}` brings the other one back"
        )


def register_missing() -> None:
    """Asks the registry, and registers what it lacks. A version that somebody deleted stays deleted.

    Raises:
        UserError: there is no receipt, the registry does not answer, or the model is not here.
    """
    root = find_root()
    receipt = read_receipt(root)
    if receipt is None:
        state = "damaged" if (root / RECEIPT).is_file() else "not here"
        raise UserError(f"{RECEIPT} is {state}: `dvc repro --force register` registers the model and writes it")
    found = standing(receipt)
    if found.state in ("missing", "hollow"):
        from vidpred.tracking.lineage.repair import repair

        typer.echo(repair(receipt))
    elif found.state == "unknown":
        raise UserError(f"whether the registry has what {RECEIPT} tells of is not known: {found.trouble}")
    elif found.state == "deleted":
        log.warning("not registered again: %s", found.trouble)
    elif found.state == "here":
        typer.echo(f"models:/{receipt['name']}/{found.version} is there already: nothing to do")
    else:
        typer.echo(str(receipt["reason"]))
