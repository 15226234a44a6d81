"""`vidpred summary`: the last results in a few lines: results/, and what the registry has of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vidpred.errors import UserError
from vidpred.tracking.receipt import RECEIPT, read_receipt, standing
from vidpred.training.figures import BASELINES, interval_of, verdict
from vidpred.workspace import find_root

OF_CLASSES = (
    ("top1", "top-1", "{:.1%}"),
    ("top5", "top-5", "{:.1%}"),
    ("cross_entropy", "cross-entropy", "{:.3f}"),
)
SHOWN = (
    ("perceptual_distance", "PD", "{:.2f}"),
    ("psnr_db", "PSNR, dB", "{:.2f}"),
    ("ssim", "SSIM", "{:.4f}"),
)
OUTPUTS = {"model": "models/trained", "report": "report/index.html"}
GET_OUTPUTS = (
    "these figures came with git from where they were computed; `dvc pull` brings what was made there, if it was "
    "shared, `dvc checkout` what this machine has in its cache, and `make repro` makes it here"
)
"""What to do where figures are there and what they tell of is not."""


def show_summary() -> None:
    """Prints test figures of the model beside the baselines, what the registry said, and where things are.

    Raises:
        UserError: nothing has been evaluated yet, or the file is damaged.
    """
    root = find_root()
    metrics = _read(root / "results/evaluate/metrics.json")
    model = metrics["model"]["name"]
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    classify = metrics.get("kind") == "classify"
    judged = "video" if classify else "window"
    shown = [column for column in OF_CLASSES if column[0] in metrics["test"][model]] if classify else SHOWN
    table.add_column(f"test, {metrics[f'{judged}s']:,} {judged}{'s' * (metrics[f'{judged}s'] != 1)}")
    for _, heading, _ in shown:
        table.add_column(heading, justify="right")
    order = [*BASELINES["interpolate"], *BASELINES["classify"], "flow_gate", model]
    for name in sorted(metrics["test"], key=lambda n: order.index(n) if n in order else len(order)):
        figures = metrics["test"][name]
        own = name == model
        cells = [form.format(figures[key]).replace("%", " %") for key, _, form in shown]
        table.add_row(name, *cells, style="bold" if own else "")
    console = Console(highlight=False)
    console.print()
    console.print(table)
    console.print()
    for label, text in _lines(root, metrics):
        console.print(f"{label:<10}{text}", markup=False, soft_wrap=True)


def _lines(root: Path, metrics: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [("gain", _gain(metrics))]
    if (root / RECEIPT).is_file():
        lines.append(("registry", _registered(root)))
    lines += [(label, path) for label, path in OUTPUTS.items() if (root / path).exists()]
    missing = [f"the {label}" for label, path in OUTPUTS.items() if not (root / path).exists()]
    if missing:
        lines.append(("not here", f"{' and '.join(missing)}: {GET_OUTPUTS}"))
    return lines


def _gain(metrics: dict[str, Any]) -> str:
    bar, gain, beats = verdict(metrics)
    if gain.get("still"):
        return str(metrics["why_not"])
    interval = interval_of(gain)
    shown = f"beats {bar}" if beats else f"not shown to beat {bar}: {metrics['why_not']}"
    unit, sign = ("points of top-1", "") if metrics.get("kind") == "classify" else ("% in PD", " %")
    sure = f" (95 %: {100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}{sign})" if interval else ""
    return f"{100 * gain['pooled']:+.1f} {unit} over {bar}{sure}; {shown}"


def _registered(root: Path) -> str:
    """What the registry has: the receipt may be of another machine's, since git and DVC bring it."""
    receipt = read_receipt(root)
    if receipt is None:
        raise UserError(f"{root / RECEIPT} is damaged: `dvc repro --force register` makes it again")
    here = _weights_here(root)
    if here not in (None, receipt["weights_sha256"]):
        return f"nothing of this model yet ({RECEIPT} tells of another one): `vidpred register` registers it"
    name, alias, found = receipt["name"], receipt["alias"], standing(receipt)
    if found.state == "none":
        return str(receipt["reason"])
    if found.state == "unknown":
        was = f"{RECEIPT} tells of a {alias or 'version without an alias'}"
        return f"not known now, though {was}: {found.trouble}"
    if found.state != "here":
        return f"not registered: {found.trouble}"
    if alias in found.aliases:
        return f"models:/{name}@{alias} ({receipt['reason']})"
    place = f"models:/{name}/{found.version}"
    if not (alias or found.aliases):
        return f"{place}, without an alias ({receipt['reason']})"
    now = f"is {' and '.join(found.aliases)} now" if found.aliases else "is without an alias now"
    was = alias or "neither champion nor challenger"
    return f"{place} {now}; it was registered as {was}, and `vidpred models --registry` tells who changed that, and why"


def _weights_here(root: Path) -> str | None:
    """The sha256 of the weights of the project's own model, as it says itself; None: it is not here, or damaged."""
    try:
        return str(json.loads((root / OUTPUTS["model"] / "model.json").read_bytes())["weights_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path.name} of {path.parent.name} is not there yet: `make repro` makes it") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): `make repro` makes it again") from None
    return value
