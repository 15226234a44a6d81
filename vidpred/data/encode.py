"""Frames to GIF and MP4 files: exact where they can be, the same bytes for the same frames.

In: uint8 frames (T, H, W, 3). Out: a file, written by ffmpeg, with a graph made by ffmpeg-python.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vidpred.data.complaints import MediaError, reason_told
from vidpred.data.graphs import SCALING
from vidpred.data.launch import any_ffmpeg, run
from vidpred.errors import UserError
from vidpred.workspace import atomic

_WRITE_SECONDS = 600
_OUTPUT = "OUTPUT"
"""Stands for the file in the graph, whose names must be UTF-8: those of files need not be."""


def _write(
    path: Path, frames: np.ndarray, fps: float, ffmpeg: Path | None, kind: Literal["gif", "mp4"], crf: int
) -> None:
    import ffmpeg as graph

    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}, expected uint8 (T, H, W, 3)")
    height, width = frames.shape[1:3]
    raw = {"format": "rawvideo", "pixel_format": "rgb24"}
    options: dict[str, Any] = {"fflags": "+bitexact", "flags": "+bitexact", "threads": 1, "map_metadata": -1}
    with atomic(path) as part, tempfile.TemporaryDirectory(prefix="vidpred-") as folder:
        # not through a pipe: what communicate has not sent when it times out is never sent
        frames.tofile(source := Path(folder) / "frames.rgb")
        video = graph.input(f"file:{source}", **raw, video_size=(width, height), framerate=fps)
        if kind == "gif":
            options["loop"] = 0
            colours = _colours(frames)
            if len(colours) <= 256:
                # palettegen would move them: it goes through another colour space, and comes back one level off
                table = Path(folder) / "palette.rgb"
                table.write_bytes(np.concatenate([colours, np.repeat(colours[:1], 256 - len(colours), 0)]).tobytes())
                palette = graph.input(f"file:{table}", **raw, video_size=(16, 16), framerate=fps)
                video = graph.filter([video, palette], "paletteuse", dither="none")
            else:
                branches = video.split()
                palette = branches[0].filter("palettegen", stats_mode="full", reserve_transparent=0)
                video = graph.filter([branches[1], palette], "paletteuse", dither="sierra2_4a")
        else:
            if height % 2 or width % 2:  # 4:2:0, the only layout that every player shows, wants even sides
                video = video.filter("pad", "ceil(iw/2)*2", "ceil(ih/2)*2")
            video = video.filter("scale", out_color_matrix="bt709", out_range="tv", flags=SCALING)
            video = video.filter("format", "yuv420p")
            # else x264 takes whatever instructions it finds, and now and then comes to other bytes
            options |= {"vcodec": "libx264", "x264-params": "cpu-independent=1", "crf": crf, "movflags": "+faststart"}
            options |= {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"}
        arguments: list[str] = graph.get_args(graph.output(video, _OUTPUT, format=kind, **options))
        target = f"file:{part.resolve()}"
        try:
            status, told = run(
                ["-v", "level+error", *(target if one == _OUTPUT else one for one in arguments), "-y"],
                ffmpeg=ffmpeg or any_ffmpeg(),
                timeout_seconds=_WRITE_SECONDS,
            )
        except MediaError as error:
            raise UserError(f"{path} could not be written: {error}") from None
        if status != 0 or not part.is_file():
            raise UserError(f"{path} could not be written: {reason_told(told) or f'ffmpeg ended with status {status}'}")


def _colours(frames: np.ndarray) -> np.ndarray:
    """The different colours, in order: uint8 (N, 3)."""
    packed = np.unique(frames.reshape(-1, 3).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32))
    return np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=-1).astype(np.uint8)


def write_gif(path: Path, frames: np.ndarray, fps: float, *, ffmpeg: Path | None = None) -> None:
    """Writes a GIF that repeats for ever; exact where there are at most 256 colours.

    Args:
        path: Where to.
        frames: uint8 (T, H, W, 3), RGB.
        fps: Frames per second; GIF rounds a frame's time to hundredths of a second.
        ffmpeg: From `ffmpeg_binary`; None: `any_ffmpeg`.

    Raises:
        UserError: it cannot be written.
    """
    _write(path, frames, fps, ffmpeg, "gif", 0)


def write_mp4(path: Path, frames: np.ndarray, fps: float, *, crf: int = 14, ffmpeg: Path | None = None) -> None:
    """Writes H.264 that every player shows; an odd side gets one black row or column. Arguments as of `write_gif`.

    Args:
        crf: x264's quality, from 0 (exact but for colour) to 51.
    """
    _write(path, frames, fps, ffmpeg, "mp4", crf)


def write_video(path: Path, frames: np.ndarray, fps: float, *, ffmpeg: Path | None = None) -> None:
    """`write_gif` or `write_mp4`, by the name's suffix.

    Raises:
        UserError: the suffix is neither .gif nor .mp4, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in (".gif", ".mp4"):
        raise UserError(f"{path}: frames are written as .gif or .mp4, not {suffix or 'without a suffix'}")
    (write_gif if suffix == ".gif" else write_mp4)(path, frames, fps, ffmpeg=ffmpeg)
