"""`vidpred register`: the stage, or, with --if-missing, only where the registry lacks what the receipt tells of."""

from __future__ import annotations

import logging

import typer

from vidpred.commands.stages import run
from vidpred.errors import UserError
from vidpred.tracking.receipt import RECEIPT, read_receipt, standing
from vidpred.workspace import find_root

log = logging.getLogger(__name__)


def register_missing() -> None:
    """Asks the registry, and registers what it lacks. A version that somebody deleted stays deleted.

    Raises:
        UserError: the registry does not answer, or the model is not here.
    """
    receipt = read_receipt(find_root())
    if receipt is None:
        run("register")
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
