"""`vidpred register --if-missing`: the model of the receipt, where the registry lacks it."""

from __future__ import annotations

import logging

import typer

from vidpred.errors import UserError
from vidpred.tracking.receipt import RECEIPT, read_receipt, standing
from vidpred.workspace import find_root

log = logging.getLogger(__name__)


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
