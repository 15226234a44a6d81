"""What a classifier looks for, as a part of a page: the pictures of `vidpred.visualize` with their figures.

In: what `visualize.json` says, and how its pictures get into the page. Out: HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup


def looks(said: Mapping[str, Any], src: Callable[[str], str]) -> Markup:
    """The pictures below headings of the third level; nothing where there are none.

    Args:
        said: visualize.json.
        src: From a picture's path to what an `img` takes.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("vidpred.report").joinpath("looks.html").read_text(encoding="utf-8"))
    found = said["ascent"]
    missing = [row["missing"] for row in said["saliency"] if row["missing"] is not None]
    page = template.render(
        src=src,
        ascent=found,
        flowing=any(row["going"] for row in found),
        right=sum(row["judged"]["answer"] == row["label"] for row in found if row["judged"]),
        judge=said["judge"],
        start=said["settings"]["start"],
        saliency=said["saliency"],
        worst=max(missing, default=0.0),
        kernels=said["kernels"],
    )
    return Markup(page)  # escaped above
