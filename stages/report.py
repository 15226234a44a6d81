"""Stage `report`: one HTML page with the tables, curves and moving pictures, `report/index.html`."""

from __future__ import annotations

import logging
from pathlib import Path

from vidpred.config import load_params
from vidpred.report.classes import write_class_report
from vidpred.report.inputs import read_class_inputs, read_inputs
from vidpred.report.page import write_report
from vidpred.workspace import fresh_folder, run_stage


def main() -> None:
    """Reads what the other stages left behind and writes the page."""
    params = load_params()
    page = fresh_folder(Path("report")) / "index.html"
    if params.task.kind == "classify":
        from vidpred.training.device import set_threads  # torch, which other reports do without
        from vidpred.visualize.for_report import write_for_report

        inputs, looks = read_class_inputs(Path()), page.with_name("looks")
        set_threads(params.resources.threads)
        write_for_report(
            looks, Path("models/trained"), shards=Path("data/shards"), split=Path("data/split"), asked=params.task
        )
        write_class_report(inputs, page, title=params.report.title, looks_folder=looks)
    else:
        write_report(read_inputs(Path()), page, title=params.report.title)
    logging.getLogger(__name__).info("%s, %.1f MB", page, page.stat().st_size / 1e6)


if __name__ == "__main__":
    run_stage(main)
