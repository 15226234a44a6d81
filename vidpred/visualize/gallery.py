"""What a classifier looks for, as files in a folder: GIFs, PNGs, `visualize.json` and a page that shows them.

In: a model, and clips where saliency is wanted. Out: the folder; `visualize.json` says what is in it, with figures:

    ascent    a row a class and kind of motion: clip, flow in colours and with arrows, what the model and, where one is
              asked, another model take it for, and the mean (dx, dy) the way things go
    saliency  a row a clip
    kernels   a row a first layer
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from markupsafe import Markup
from PIL import Image

from vidpred import __version__
from vidpred.config import FlowParams
from vidpred.data.clips import make_batch
from vidpred.data.encode import write_gif
from vidpred.data.progress import progress
from vidpred.errors import UserError
from vidpred.evaluation.pictures import enlarge
from vidpred.report.looks import looks
from vidpred.types import Task, to_float
from vidpred.visualize.ascent import Ascent, Found, ascend, rounds
from vidpred.visualize.drawing import SIDE, flow_film, kernel_sheet, overlay
from vidpred.visualize.kernels import first_kernels
from vidpred.visualize.saliency import Baseline, Method, Saliency, saliency
from vidpred.visualize.subject import Shown, Subject
from vidpred.visualize.turns import Turns
from vidpred.workspace import atomic

log = logging.getLogger(__name__)

TOLD = "visualize.json"
_OF_ONE_FILE = (".gif", ".mp4", ".png", ".webp", ".html", ".json")
What = Literal["ascent", "saliency", "kernels"]
PARTS: tuple[What, ...] = ("ascent", "saliency", "kernels")
"""All there is."""
KERNEL_FPS = 3.0


def write_gallery(
    folder: Path,
    subject: Subject,
    *,
    what: Sequence[What] = PARTS,
    classes: Sequence[int],
    clips: Sequence[Shown] = (),
    towards: str | None = None,
    how: Ascent,
    motions: Sequence[Literal["slow", "free"]] | None = None,
    start: Shown | None = None,
    judge: Subject | None = None,
    method: Method = "integrated",
    baseline: Baseline = "grey",
) -> dict[str, Any]:
    """Writes the folder, in place of what an earlier call left there, and returns what `visualize.json` says.

    Args:
        folder: Empty, new, or of an earlier call.
        subject: The model.
        what: Which parts.
        classes: That clips are found for, by their places.
        clips: For saliency.
        towards: The class that saliency asks about; None: the one that the model takes the clip for.
        how: Of the ascent.
        motions: Kinds of motion that clips are found with; None: both for models that take flow, else free.
        start: What the ascent starts from; None: noise.
        judge: Another model, which says what it takes the found clips for.
        method: Of saliency.
        baseline: Of saliency.

    Raises:
        UserError: the judge is for another task, or the folder holds other things or cannot be written.
    """
    if judge is not None:
        _alike(subject.task, judge.task)
    kinds = motions or (("slow", "free") if subject.model.needs_flow else ("free",))
    steps = rounds(len(classes), how) * len(kinds) if "ascent" in what else 0
    said: dict[str, Any] = {
        "model": {key: subject.info[key] for key in ("name", "weights_sha256", "data_id") if key in subject.info},
        "judge": None if judge is None else {key: judge.info[key] for key in ("name", "weights_sha256")},
        "settings": asdict(how) | {"start": None if start is None else start.name},
        "complete": False,
        "ascent": [],
        "saliency": [],
        "kernels": [],
    }
    _own_folder(folder)
    _write_told(folder, said)
    with progress("looking", steps + len(clips) * ("saliency" in what) + ("kernels" in what)) as done:
        if "ascent" in what:
            flow = _flow_of(subject, start) if start is not None else None
            turns = Turns.of(subject.info, subject.task, flow=subject.model.needs_flow)
            for kind in kinds:
                found = ascend(
                    subject.model, subject.task, classes, replace(how, motion=kind), on_step=done, turns=turns,
                    start=None if start is None else start.frames, start_flow=None if flow is None else flow[0].numpy(),
                )  # fmt: skip
                said["ascent"] += [_write_found(folder, one, kind, subject, judge) for one in found]
            said["ascent"].sort(key=lambda row: row["number"])
        if "saliency" in what:
            for number, clip in enumerate(clips):
                said["saliency"].append(_write_saliency(folder, number, clip, towards, subject, method, baseline))
                done()
        if "kernels" in what:
            said["kernels"] = _write_kernels(folder, subject)
            done()
    said["complete"] = True
    _write_page(folder / "index.html", said)
    _write_told(folder, said)
    return said


def _own_folder(folder: Path) -> None:
    """An empty folder; one that holds what was not written here is left alone.

    Raises:
        UserError: it is such a folder, or none can be made.
    """
    if folder.is_file() or (folder.suffix.lower() in _OF_ONE_FILE and not folder.exists()):
        what = "is a file" if folder.is_file() else "is the name of a file"
        raise UserError(
            f"--output {folder} {what}, but GIFs and a page are written: name a folder, such as "
            f"{folder.with_suffix('')}"
        )
    try:
        if folder.is_dir() and any(folder.iterdir()) and not (folder / TOLD).is_file():
            raise UserError(f"{folder} holds other things than what `vidpred visualize` wrote: name another folder")
        folder.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            shutil.rmtree(folder / part, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None


def _write_told(folder: Path, said: Mapping[str, Any]) -> None:
    with atomic(folder / TOLD) as part:
        part.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def _alike(mine: Task, other: Task) -> None:
    wrong = [
        f"{name} {getattr(other, name)} instead of {getattr(mine, name)}"
        for name in ("context", "height", "width")
        if getattr(mine, name) != getattr(other, name)
    ]
    if set(mine.classes) != set(other.classes):
        wrong.append("other classes")
    if wrong:
        raise UserError(f"the model that is to judge was trained for another task: {', '.join(wrong)}")


def _flow_of(subject: Subject, clip: Shown) -> torch.Tensor | None:
    """(1, T-1, 2, H, W), where the model takes it."""
    if not subject.model.needs_flow:
        return None
    params = FlowParams(**subject.info.get("flow", {}))
    return make_batch(clip.frames[None], context=len(clip.frames), flow=params).flow


def _believed(subject: Subject, frames: np.ndarray, flow: np.ndarray | None) -> dict[str, float]:
    """Of each class, for a window."""
    clip = to_float(torch.from_numpy(np.ascontiguousarray(frames)))[None].to(subject.device)
    moved = None
    if subject.model.needs_flow:
        given = torch.from_numpy(flow)[None] if flow is not None else _flow_of(subject, Shown("", frames))
        moved = given.to(subject.device) if given is not None else None
    with torch.no_grad():
        shares = subject.model(clip, moved).logits.float().softmax(dim=1)[0].tolist()
    return dict(zip(subject.task.classes, shares, strict=True))


def _write_found(folder: Path, found: Found, kind: str, subject: Subject, judge: Subject | None) -> dict[str, Any]:
    number = subject.task.classes.index(found.label)
    stem = f"ascent/{number:03d}-{_plain(found.label)}-{kind}"
    still = len(found.seen) == 1
    pictures = {"clip": f"{stem}.{'png' if still else 'gif'}"}
    (folder / "ascent").mkdir(exist_ok=True)
    large = enlarge(found.clip, SIDE)
    if still:
        _write_png(folder / pictures["clip"], large[0])
    else:
        write_gif(folder / pictures["clip"], large, subject.fps)
    arrays = {"clip": found.clip}
    if found.flow is not None:
        arrays["flow"] = found.flow
        for name in ("colours", "arrows"):
            pictures[name] = f"{stem}-{name}.gif"
            write_gif(folder / pictures[name], flow_film(found.flow, arrows=name == "arrows"), subject.fps)
    with atomic(folder / f"{stem}.npz") as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # its stub takes `allow_pickle` for one of them
    row: dict[str, Any] = {
        "label": found.label,
        "number": number,
        "motion": kind,
        "answer": found.answer,
        "believed": round(found.believed, 4),
        "going": None if found.going is None else [round(part, 4) for part in found.going],
        "judged": None,
        "pictures": pictures,
        "arrays": f"{stem}.npz",
    }
    if judge is not None:
        shares = _believed(judge, found.clip, found.flow)
        row["judged"] = {"answer": max(shares, key=shares.__getitem__), "believed": round(shares[found.label], 4)}
    return row


def _write_saliency(
    folder: Path, number: int, clip: Shown, towards: str | None, subject: Subject, method: Method, baseline: Baseline
) -> dict[str, Any]:
    flow = _flow_of(subject, clip)
    shares = _believed(subject, clip.frames, None if flow is None else flow[0].numpy())
    answer = max(shares, key=shares.__getitem__)
    asked = towards or answer
    found: Saliency = saliency(
        subject.model,
        to_float(torch.from_numpy(np.ascontiguousarray(clip.frames)))[None].to(subject.device),
        None if flow is None else flow.to(subject.device),
        subject.task.classes.index(asked),
        method=method,
        baseline=baseline,
    )
    (folder / "saliency").mkdir(exist_ok=True)
    stem = f"saliency/{number:03d}-{_plain(Path(clip.name).stem)}"
    pictures = {"clip": f"{stem}.gif"}
    write_gif(folder / pictures["clip"], overlay(clip.frames, found.pixels), subject.fps)
    if found.flow is not None:
        pictures["flow"] = f"{stem}-flow.gif"
        write_gif(folder / pictures["flow"], overlay(clip.frames[1:], found.flow), subject.fps)
    return {
        "clip": clip.name,
        "label": clip.label,
        "answer": answer,
        "towards": asked,
        "believed": round(shares[asked], 4),
        "method": method,
        "baseline": baseline,
        "logit": round(found.logit, 4),
        "missing": None if found.missing is None else round(found.missing, 5),
        "pictures": pictures,
    }


def _write_kernels(folder: Path, subject: Subject) -> list[dict[str, Any]]:
    rows = []
    for number, kernels in enumerate(first_kernels(subject.model, subject.task)):
        (folder / "kernels").mkdir(exist_ok=True)
        sheet = kernel_sheet(kernels.weights, of_flow=kernels.of == "flow" and kernels.weights.shape[2] == 2)
        moving = len(sheet) > 1
        picture = f"kernels/{number:03d}-{_plain(kernels.layer)}-{kernels.of}.{'gif' if moving else 'png'}"
        if moving:
            write_gif(folder / picture, sheet, KERNEL_FPS)
        else:
            _write_png(folder / picture, sheet[0])
        count, moments, _, height, width = kernels.weights.shape
        rows.append(
            {
                "layer": kernels.layer,
                "of": kernels.of,
                "kernels": kernels.total,
                "shown": count,
                "moments": moments,
                "size": [height, width],
                "picture": picture,
            }
        )
    return rows


def _write_png(path: Path, picture: np.ndarray) -> None:
    with atomic(path) as part:
        Image.fromarray(picture).save(part, "PNG")


def _plain(name: str) -> str:
    """A name that every file system takes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "x"


def _write_page(path: Path, said: Mapping[str, Any]) -> None:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("vidpred.visualize").joinpath("gallery.html").read_text(encoding="utf-8"))
    style = Markup(files("vidpred.report").joinpath("style.css").read_text(encoding="utf-8"))  # ours, not input
    page = template.render(model=said["model"], style=style, version=__version__, looks=looks(said, str))
    with atomic(path) as part:
        part.write_text(page, encoding="utf-8")
