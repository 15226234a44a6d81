"""What pages of every task share: `Stages` in, HTML out of templates that extend base.html, and what these show.

Pages load nothing from anywhere: style, charts and pictures are in them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vidpred import __version__
from vidpred.report import board_section, data_section, lineage_section
from vidpred.report.inputs import Stages
from vidpred.report.sweep_section import section
from vidpred.report.words import figure, percent, plural, points, share, size, sure
from vidpred.training.figures import verdict

LISTED = 200
"""Set-aside files named in the page; the others are counted."""


def draw(template: str, content: Mapping[str, Any], *, title: str) -> str:
    """A page as text; `content` is of `shared` and what the template itself asks for."""
    environment = Environment(
        loader=PackageLoader("vidpred.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "points": points,
        "share": share,
        "sure": sure,
        "count": "{:,}".format,
        "size": size,
        "plural": plural,
        "figure": figure,
    }
    style = Markup(files("vidpred.report").joinpath("style.css").read_text(encoding="utf-8"))  # ours, not input
    return environment.get_template(template).render(title=title, style=style, version=__version__, **content)


def shared(stages: Stages) -> dict[str, Any]:
    """What base.html shows."""
    set_aside = stages.sources[stages.sources["status"] != "kept"]
    model = stages.model
    trained = {"model": model["name"], "config": model["config"], **rounded(model["training"])}
    return {
        "name": stages.metrics["model"]["name"],
        "metrics": stages.metrics,
        "judged": verdict(stages.metrics),
        "sweep": section(stages.sweep, stages.params),
        "board": board_section.section(stages),
        "fetch": stages.fetch,
        "transcode": stages.transcode,
        "split": stages.split,
        "data": data_section.section(stages),
        "set_aside": set_aside.head(LISTED)[["name", "status", "reason"]].to_dict("records"),
        "set_aside_more": max(0, len(set_aside) - LISTED),
        "receipt": stages.receipt,
        "lineage": lineage_section.section(stages),
        "model": model,
        "params": stages.params,
        "params_text": {key: _yaml(value) for key, value in stages.params.items()},
        "trained_text": _yaml(trained),
    }


def _yaml(value: object) -> str:
    return str(yaml.safe_dump(value, sort_keys=False)).strip()


def rounded(figures: Mapping[str, object]) -> dict[str, object]:
    """Numbers in four digits."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in figures.items()}


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of a media type as a URI that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
