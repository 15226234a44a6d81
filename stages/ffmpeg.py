"""Notes which ffmpeg makes the frames: frames differ between its versions, so transcode depends on this."""

from __future__ import annotations

import logging
from pathlib import Path

from vidpred.config import load_params
from vidpred.data.launch import ffmpeg_version
from vidpred.workspace import atomic, run_stage


def main() -> None:
    """Writes data/ffmpeg.txt."""
    version = ffmpeg_version(load_params().transcode.ffmpeg)
    with atomic(Path("data/ffmpeg.txt")) as part:
        part.write_text(version + "\n")
    logging.getLogger(__name__).info("ffmpeg %s", version)


if __name__ == "__main__":
    run_stage(main)
