"""Makes frames of one size and rate, and keeps them as memory-mapped shards."""

from __future__ import annotations

import logging
from pathlib import Path

from vidpred.config import TranscodeParams, load_params
from vidpred.data.card import write_card
from vidpred.data.clip_cache import Engine, local_engine
from vidpred.data.launch import ffmpeg_version
from vidpred.data.shards import Shards
from vidpred.data.transcode import transcode
from vidpred.errors import UserError
from vidpred.workspace import cores, home, run_stage, write_json


def engine_of(params: TranscodeParams, workers: int) -> Engine:
    """Where ffmpeg runs."""
    if params.engine == "local":
        return local_engine(workers)
    from vidpred.cluster.transcode import ray_engine

    return ray_engine(params.storage)


def main() -> None:
    """Writes data/shards, results/transcode/summary.json and results/transcode/card.html."""
    params = load_params()
    note = Path("data/ffmpeg.txt")
    version = ffmpeg_version(params.transcode.ffmpeg)
    noted = note.read_text().strip() if note.is_file() else "none"
    if noted != version:
        raise UserError(f"data/ffmpeg.txt names ffmpeg {noted}, this machine has {version}: run `dvc repro -f ffmpeg`")
    workers = params.resources.workers or cores()
    done = transcode(
        Path("data/raw"),
        Path("data/shards"),
        home() / "clips",
        params.transcode,
        version=version,
        engine=engine_of(params.transcode, workers),
        workers=workers,
    )
    write_json(Path("results/transcode/summary.json"), done.summary)
    write_card(
        Path("results/transcode/card.html"),
        sources=done.sources,
        shards=Shards("data/shards"),
        summary=done.summary,
        throughput=done.throughput,
    )
    if params.transcode.engine == "ray" and params.transcode.storage:
        from vidpred.data.storage import push_shards

        push_shards(Path("data/shards"), params.transcode.storage)
    logging.getLogger(__name__).info(
        "%(inputs)d inputs: %(kept)d kept, %(dropped)d dropped, %(failed)d failed; %(frames)d frames (%(seconds).0f s)",
        done.summary,
    )


if __name__ == "__main__":
    run_stage(main)
