"""The part of `vidpred check` that looks at clips: whether there are any, and which classes they are of.

In: `fetch.source`, where it is a folder, of which names alone are read; else the split, where it was made of the source
that params.yaml names. Out: the classes, or none where they are not known before the clips are fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from vidpred.config import Params
from vidpred.errors import UserError


def classes_known(root: Path, params: Params) -> tuple[str, ...]:
    """The classes, sorted, where `task.kind` is `classify` and they can be known; empty where not.

    Raises:
        UserError: the source is a folder in which nothing lies, or whose clips are of fewer than two classes.
    """
    source = root / params.fetch.source
    if source.is_dir():
        names = _names(source)
        if not names:
            raise UserError(f"fetch.source: {params.fetch.source} is an empty folder: put GIFs or videos into it")
        return _of_names(names, params) if params.task.kind == "classify" else ()
    return _of_split(root, params) if params.task.kind == "classify" else ()


def _names(folder: Path) -> list[str]:
    """Paths of files below a folder, without hidden ones."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return [name.as_posix() for name in names if not any(p.startswith(".") or p == "__MACOSX" for p in name.parts)]


def _of_names(names: Sequence[str], params: Params) -> tuple[str, ...]:
    from vidpred.data.archives import is_archive
    from vidpred.data.graphs import SUFFIXES
    from vidpred.data.intake import grouped, told_by_folders
    from vidpred.data.sequences import grouped_by_folder

    if any(is_archive(name) for name in names):
        return ()  # what is in them comes to light when they are fetched
    clips = [name for name in names if Path(name).suffix.lower() in SUFFIXES | {".npy"}]
    clips += grouped_by_folder(list(names))
    if not clips:
        return ()
    labels = {grouped(name)[1] or told_by_folders(name).label for name in clips} - {""}
    classes = tuple(sorted(labels - set(params.split.drop_labels)))
    if not labels:
        raise UserError(
            f"task.kind is classify, but no clip of {params.fetch.source} has a label: put the clips of each class "
            "into a folder of its name, or give a list with a column label (docs/classify.md)"
        )
    if len(classes) < 2:
        raise UserError(
            f"task.kind is classify, but all clips of {params.fetch.source} are of the class "
            f"{classes[0] if classes else 'none'}: put the clips of each class into a folder of its name "
            "(docs/classify.md)"
        )
    return classes


def _of_split(root: Path, params: Params) -> tuple[str, ...]:
    """Of the training part, if DVC made it of this source and with these values."""
    try:
        stages = yaml.safe_load((root / "dvc.lock").read_text(encoding="utf-8"))["stages"]
        source = {dep["path"] for dep in stages["fetch"]["deps"]}
        split = stages["split"]["params"]["params.yaml"]["split"]
        rows = _rows(root / "data/split/groups.parquet")
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return ()
    if params.fetch.source not in source or split != params.split.model_dump(mode="json"):
        return ()
    classes = tuple(sorted({label for label, part in rows if label and "train" in part.split()}))
    return classes if len(classes) > 1 else ()


def _rows(path: Path) -> list[tuple[str, str]]:
    import pyarrow.parquet as pq

    if not path.is_file():
        return []
    table = pq.read_table(path, columns=["label", "part"])
    return [(row["label"], row["part"]) for row in table.to_pylist()]
