"""`vidpred verify MODEL`: hashes at every hop; a line for what is not as it was, with what to do."""

from __future__ import annotations

import json

import typer
from rich.console import Console
from rich.text import Text

from vidpred.commands.explain import printable
from vidpred.errors import UserError
from vidpred.tracking.lineage.checks import check
from vidpred.tracking.lineage.repair import repair
from vidpred.tracking.receipt import read_receipt


def verify(model: str, *, as_json: bool, mend: bool) -> int:
    """Prints it; the exit code.

    Raises:
        UserError: there is no such model, the store does not answer, or it cannot be repaired.
    """
    notes = Console(stderr=True, highlight=False, soft_wrap=True)
    if mend:
        receipt = read_receipt()
        if receipt is None:
            raise UserError("there is no receipt to go by here: --repair works in the project that made the model")
        notes.print(repair(receipt), markup=False)
    if notes.is_terminal:
        with notes.status("") as status:
            report = check(model, tell=lambda name: status.update(Text(printable(name)[-70:])))
    else:
        report = check(model)
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=2))
        return 1 if report.findings else 0
    console = Console(highlight=False, soft_wrap=True)
    for line in report.checked:
        console.print(Text.assemble(("ok    ", "green"), printable(line)))
    for line in report.notes:
        console.print(Text.assemble(("note  ", "yellow"), printable(line)))
    for line in report.unseen:
        console.print(Text.assemble(("?     ", "yellow"), printable(line)))
    for finding in report.findings:
        console.print(Text.assemble(("WRONG ", "bold red"), f"{printable(finding.what)}: ", (finding.do, "bold")))
    if report.findings:
        console.print(f"{printable(report.model)}: {len(report.findings)} not as it was", markup=False)
        return 1
    unseen = f"; {len(report.unseen)} could not be seen from here" if report.unseen else ""
    console.print(f"{printable(report.model)}: all that was looked at is as it was{unseen}", markup=False)
    return 0
