"""The report's section of where its model comes from, hop by hop, each with its hash.

In: what the stages left behind. Out: HTML. Only what is the same for the same work: commit, run and machine differ from
time to time, and `vidpred explain` tells of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from vidpred.report.inputs import Inputs


class Hop(NamedTuple):
    """One step of the way back."""

    name: str
    what: str
    hash: str = ""
    hash_of: str = ""


def section(inputs: Inputs) -> Markup:
    """The section, from the weights to the sources."""
    template = files("vidpred.report").joinpath("lineage.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    name, alias = inputs.receipt["name"], inputs.receipt["alias"]
    uri = f"models:/{name}@{alias}" if alias else "models/trained"
    return Markup(environment.from_string(template).render(hops=_hops(inputs), uri=uri))  # escaped by the template


def _hops(inputs: Inputs) -> list[Hop]:
    model, training = inputs.model, inputs.model.get("training", {})
    sweep = inputs.params["train"].get("model") is None
    steps = f"step {training['best_step']:,}" if "best_step" in training else "done"
    if "steps" in training:
        steps += f" of {training['steps']:,}"
    return [
        Hop("weights", model["name"], model["weights_sha256"], "model.safetensors, sha256"),
        Hop(
            "version", f"of {inputs.receipt['name']}", inputs.receipt["identity"], "weights, name, config, task; sha256"
        ),
        Hop("training", f"{steps}; {'chosen by the sweep' if sweep else 'named in params.yaml'}"),
        Hop("split", f"by {inputs.split['kind']}: {_parts(inputs.split)}"),
        Hop("data", _frames(inputs), model["data_id"], "data_id, over the shards"),
        Hop("sources", _sources(inputs)),
    ]


def _parts(split: Mapping[str, Any]) -> str:
    return ", ".join(f"{count:,} clips {part}" for part, count in split["clips"].items())


def _frames(inputs: Inputs) -> str:
    shape = inputs.params["transcode"]
    return f"{inputs.transcode['frames']:,} frames of {shape['height']}×{shape['width']}"


def _sources(inputs: Inputs) -> str:
    kept = inputs.sources[inputs.sources["status"] == "kept"]
    told = kept["licence"] if "licence" in kept else [""] * len(kept)
    counted = Counter(str(licence or "").strip() or "licence unknown" for licence in told)
    return "; ".join(f"{count:,} file{'s' * (count != 1)}: {licence}" for licence, count in counted.most_common(8))
