"""`vidpred reproduce MODEL`: says what it would run, asks, runs it elsewhere, and says what came of it."""

from __future__ import annotations

import json
import sys

import typer
from rich.console import Console
from rich.text import Text

from vidpred.commands.explain import printable
from vidpred.errors import UserError
from vidpred.tracking import store
from vidpred.tracking.lineage.again import Plan, differences, plan
from vidpred.tracking.lineage.again import reproduce as make_again
from vidpred.tracking.lineage.outcome import Outcome
from vidpred.tracking.lineage.subject import opened

_NAMED = 12
"""Files and parameters named; the others are counted."""


def reproduce(
    model: str, *, yes: bool, dry_run: bool, keep: bool, evaluate: bool, pull: bool, trust: bool, as_json: bool
) -> int:
    """Does it; the exit code: 1 where the weights are others.

    Raises:
        UserError: it cannot be made again, or its registry is not to be trusted.
    """
    notes = Console(stderr=True, highlight=False, soft_wrap=True)
    with opened(model) as subject:
        if subject.version is not None and not subject.live and not (trust or dry_run or store.is_own()):
            raise UserError(
                f"{subject.uri} is in {store.display(store.tracking_uri())}, not in this project's own store: its code "
                "and parameters would be run here. Look at them with --dry-run, and say --trust-registry if you trust "
                "all who may write there"
            )
        what = plan(subject, evaluate=evaluate, pull=pull)
        for line in _told(what):
            notes.print(line)
        differs = differences(subject.record or {})
        for name, (then, now) in differs.items():
            notes.print(Text.assemble(("differs  ", "yellow"), f"{name}: then {printable(then)}, here {now}"))
        if dry_run:
            _show(what, as_json=as_json)
            return 0
        if not yes:
            if not sys.stdin.isatty():
                raise UserError("nobody to ask whether to run that: say --yes, or look at it with --dry-run")
            if not typer.confirm("Run it?", err=True):
                notes.print("nothing is run")
                return 0
        outcome = make_again(subject, what, keep=keep)
    if as_json:
        typer.echo(json.dumps(outcome.as_json(), indent=2))
    else:
        console = Console(highlight=False, soft_wrap=True)
        for line in _outcome(outcome):
            console.print(line)
    return 0 if outcome.same else 1


def _show(what: Plan, *, as_json: bool) -> None:
    """All that would be laid over the commit: whoever is to trust it has to see it."""
    if as_json:
        typer.echo(json.dumps(what.as_json(), indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in what.changes.splitlines():
        console.print(Text("\t".join(printable(part) for part in line.split("\t")), styles.get(line[:1], "")))


def _told(what: Plan) -> list[Text]:
    lines = [_line("commit", what.commit)]
    if what.changed:
        lines.append(_line("patch", f"{_some(list(what.changed))} changed since the commit"))
    lines += [
        _line("params", f"{name}: {printable(now)} instead of the commit's {printable(then)}")
        for name, (then, now) in list(what.params.items())[:_NAMED]
    ]
    if len(what.params) > _NAMED:
        lines.append(_line("params", f"and {len(what.params) - _NAMED} more"))
    if not what.params:
        lines.append(_line("params", "params.yaml as in the commit"))
    if what.kept:
        lines.append(_line("record", f"{', '.join(what.kept)} as it was"))
    if what.restored:
        lines.append(_line("data", f"{', '.join(what.restored)} from DVC's cache"))
    if what.pulled:
        lines.append(_line("data", f"{', '.join(what.pulled)} from DVC's remote"))
    lines += [_line("run", f"{name}: {printable(command)}") for name, command in what.stages.items()]
    if what.threads is not None:
        lines.append(_line("threads", f"{what.threads}, as the training had"))
    lines += [Text.assemble(("warning  ", "yellow"), printable(warning)) for warning in what.warnings]
    return lines


def _outcome(outcome: Outcome) -> list[Text]:
    if outcome.same:
        lines = [Text.assemble(("equal    ", "bold green"), f"weights sha256 {outcome.now}")]
    else:
        lines = [
            Text.assemble(("other    ", "bold yellow"), f"weights sha256 {outcome.now}, registered {outcome.then}")
        ]
        if outcome.furthest is not None:
            name, apart = outcome.furthest
            lines.append(_line("", f"the largest difference of a weight is {apart:.3g}, in {printable(name)}"))
        else:
            lines.append(_line("", "the weights have other names or shapes, or the registered ones cannot be read"))
        lines += [_line("", reason) for reason in _reasons(outcome)]
    for name, (then, now) in outcome.metrics.items():
        same = "equal" if then == now else f"{now - then:+.3g}"
        lines.append(_line("test", f"{name} {now:.6g}, then {then:.6g} ({same})"))
    return lines


def _reasons(outcome: Outcome) -> list[str]:
    found = []
    if outcome.data[0] != outcome.data[1]:
        found.append(f"the data are others: data_id {outcome.data[1][:12]}, then {outcome.data[0][:12]}")
    if outcome.code:
        found.append(f"the code is not what dvc.lock says was run then: {_some(outcome.code)}")
    found += [f"{name} differs: then {printable(then)}, here {now}" for name, (then, now) in outcome.differs.items()]
    return found or ["nothing that is on record differs: the training does not give the same bytes twice here"]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(printable(name) for name in names[:_NAMED]) + more


def _line(label: str, text: str) -> Text:
    return Text.assemble((f"{label:<9}", "bold"), printable(text))
