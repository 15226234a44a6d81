"""Makes frames of one size and rate, and keeps them as memory-mapped shards."""

from __future__ import annotations

import logging
from pathlib import Path

from vidpred.config import load_params
from vidpred.data.media import ffmpeg_binary, ffmpeg_version
from vidpred.data.transcode import transcode
from vidpred.errors import UserError
from vidpred.workspace import cores, home, run_stage, write_json


def main() -> None:
    """Writes data/shards and results/transcode/summary.json."""
    params = load_params()
    note = Path("data/ffmpeg.txt")
    version = ffmpeg_version(params.transcode.ffmpeg)
    noted = note.read_text().strip() if note.is_file() else "none"
    if noted != version:
        raise UserError(f"data/ffmpeg.txt names ffmpeg {noted}, this machine has {version}: run `dvc repro -f ffmpeg`")
    summary = transcode(
        Path("data/raw"),
        Path("data/shards"),
        home() / "clips",
        params.transcode,
        ffmpeg=ffmpeg_binary(params.transcode.ffmpeg),
        version=version,
        workers=params.resources.workers or cores(),
    )
    write_json(Path("results/transcode/summary.json"), summary)
    logging.getLogger(__name__).info(
        "%(inputs)d inputs: %(kept)d kept, %(dropped)d dropped, %(failed)d failed; %(frames)d frames (%(seconds).0f s)",
        summary,
    )


if __name__ == "__main__":
    run_stage(main)
