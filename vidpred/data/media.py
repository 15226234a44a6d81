"""The only place that runs ffmpeg: files to frames, frames to files.

Media files are untrusted. ffmpeg reads each in a process of its own, never in ours, from a list of formats (a playlist
named .gif is still a playlist) and protocols, with limits on pixels, frames, seconds, memory and time; its graph is
made by ffmpeg-python. One thread and bit-exact scaling, so that one version of ffmpeg always gives the same frames.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from vidpred.data.complaints import MAX_RATE, MEMORY_GIB, facts_told, reason_told
from vidpred.data.complaints import Facts as Facts  # both are part of what this file offers
from vidpred.data.complaints import MediaError as MediaError
from vidpred.data.gifs import cut_short
from vidpred.errors import UserError
from vidpred.workspace import atomic

SUFFIXES = frozenset(
    (".gif", ".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".m2ts", ".3gp")
)
"""Names that may be a GIF or video."""

_FORMATS = "gif,mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegts,mpegvideo,asf,flv,ogg,h264,hevc,m4v,yuv4mpegpipe"
_SCALING = "area+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
_TICK_SECONDS = 0.25
_WRITE_SECONDS = 600

# sh sets the limits and becomes ffmpeg, within a thousandth of a second; a launcher in Python takes as long as a small
# GIF. macOS has no limit on memory: there the command goes on without.
_LAUNCHER = 'ulimit -v "$1" 2>/dev/null; ulimit -t "$2" 2>/dev/null; shift 2; exec "$@"'

_ALWAYS = ("-nostdin", "-hide_banner", "-filter_complex_threads", "1")
"""Small frames filter fastest on one thread, and several files at once keep the cores busy."""

Fit = Literal["crop", "pad", "stretch"]


class Stopped(Exception):
    """The caller's `stop` was set while ffmpeg ran."""


def ffmpeg_binary(choice: str = "bundled") -> Path:
    """The ffmpeg to run.

    Args:
        choice: `bundled` (of imageio-ffmpeg), `system` (on the PATH), or a path.

    Raises:
        UserError: there is none.
    """
    if choice == "bundled":
        bundled = _bundled()
        if bundled is None:
            raise UserError(
                "imageio-ffmpeg carries no ffmpeg for this machine: install one and set transcode.ffmpeg: system"
            )
        return bundled
    if choice == "system":
        found = shutil.which("ffmpeg")
        if found is None:
            raise UserError("no ffmpeg on the PATH: install one, or set transcode.ffmpeg: bundled")
        return Path(found)
    path = Path(choice).expanduser()
    if not path.is_file():
        raise UserError(f"transcode.ffmpeg: {choice} is no file: give bundled, system or the path of an ffmpeg")
    return path.resolve()


def _bundled() -> Path | None:
    import imageio_ffmpeg

    try:
        found = Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        return None
    # where it carries none it gives the system's, without a word
    carried = found.is_relative_to(Path(imageio_ffmpeg.__file__).parent)
    return found if carried or os.environ.get("IMAGEIO_FFMPEG_EXE") else None


def any_ffmpeg() -> Path:
    """An ffmpeg for work whose frames no stage depends on: the bundled one, else the one on the PATH.

    Raises:
        UserError: there is neither.
    """
    found = _bundled() or shutil.which("ffmpeg")
    if found is None:
        raise UserError("no ffmpeg: imageio-ffmpeg carries none for this machine and none is on the PATH: install one")
    return Path(found)


def ffmpeg_version(choice: str = "bundled") -> str:
    """The version of an ffmpeg, such as `7.0.2-static`.

    Raises:
        UserError: there is no such ffmpeg, or it does not run.
    """
    binary = ffmpeg_binary(choice)
    try:
        told = subprocess.run([str(binary), "-version"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"{binary} does not run ({error}): set transcode.ffmpeg to another") from None
    match = re.match(r"ffmpeg version (\S+)", told)
    if match is None:
        raise UserError(f"{binary} is no ffmpeg: set transcode.ffmpeg to another")
    return match[1]


def _launch(
    arguments: Sequence[str],
    *,
    ffmpeg: Path,
    timeout_seconds: float,
    stdout: IO[bytes] | None = None,
    stop: threading.Event | None = None,
) -> tuple[int, str]:
    """Runs ffmpeg within limits; gives its exit status and what it said."""
    limits = [str(MEMORY_GIB << 20), str(math.ceil(timeout_seconds) + 1)]
    command = ["/bin/sh", "-c", _LAUNCHER, "sh", *limits, str(ffmpeg), *_ALWAYS, *arguments]
    deadline = time.monotonic() + timeout_seconds
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if stdout is None else stdout,
        stderr=subprocess.PIPE,
    )
    try:
        while True:
            try:
                _, told = process.communicate(timeout=_TICK_SECONDS)
                return process.returncode, told.decode(errors="replace")
            except subprocess.TimeoutExpired:
                if stop is not None and stop.is_set():
                    raise Stopped from None
                if time.monotonic() > deadline:
                    raise MediaError(f"timed out after {timeout_seconds:g} s") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _open_input(path: Path, max_pixels: int) -> Any:
    """An input of ffmpeg-python's graph, from whitelisted formats and protocols only."""
    import ffmpeg

    return ffmpeg.input(
        f"file:{path.resolve()}",
        protocol_whitelist="file,pipe",
        format_whitelist=_FORMATS,
        threads=1,
        max_pixels=max_pixels,
    )


def _fitted(video: Any, height: int, width: int, fit: Fit) -> Any:
    """Scales to one size as RGB; `dar` is the shape that a viewer sees, pixels need not be square."""
    if fit == "stretch":
        return video.filter("scale", width, height, flags=_SCALING).filter("format", "rgb24")
    pick = "max" if fit == "crop" else "min"
    scaled = video.filter(
        "scale",
        w=f"max(1,{pick}({width},round({height}*dar)))",
        h=f"max(1,{pick}({height},round({width}/dar)))",
        flags=_SCALING,
    ).filter("format", "rgb24")  # before the cut, which would else fall on whole chroma samples
    if fit == "crop":
        return scaled.filter("crop", width, height)
    return scaled.filter("pad", width, height, "(ow-iw)/2", "(oh-ih)/2", "black")


def decode_to(
    out: Path,
    path: Path,
    *,
    height: int,
    width: int,
    ffmpeg: Path,
    fps: float | None = None,
    fit: Fit = "crop",
    max_seconds: float = 60,
    max_pixels: int = 40_000_000,
    timeout_seconds: float = 120,
    stop: threading.Event | None = None,
) -> int:
    """Writes the frames of a GIF or video to a file, and gives their number (at least 1).

    Args:
        out: File to write: raw uint8 (T, H, W, 3), RGB.
        path: The GIF or video.
        height: Rows of a frame.
        width: Columns of a frame.
        ffmpeg: From `ffmpeg_binary`.
        fps: Frames per second, sampled by time stamp; None takes every frame of the source.
        fit: How another shape is brought to this one.
        max_seconds: Only so much from the start.
        max_pixels: Pixels of a source frame at the most.
        timeout_seconds: Wall time at the most.
        stop: Ends the work early.

    Raises:
        MediaError: it is no GIF or video, is damaged, or takes too much; gives the reason.
        Stopped: `stop` was set.
    """
    import ffmpeg as graph

    _check_file(path)
    video = _open_input(path, max_pixels)["V"]
    if fps is not None:
        video = video.filter("fps", fps)
    arguments: list[str] = graph.get_args(
        graph.output(
            _fitted(video, height, width, fit),
            "pipe:1",
            format="rawvideo",
            pix_fmt="rgb24",
            fps_mode="passthrough",
            t=max_seconds,
            **{"frames:v": math.ceil(max_seconds * (fps or MAX_RATE))},
        )
    )
    with out.open("wb") as file:
        status, told = _launch(
            ["-v", "error", *arguments], ffmpeg=ffmpeg, timeout_seconds=timeout_seconds, stdout=file, stop=stop
        )
    count, rest = divmod(out.stat().st_size, height * width * 3)
    reason = reason_told(told, max_pixels=max_pixels)
    # ffmpeg's exit status alone says little: a file cut short gives 0
    if status != 0 or count == 0 or rest or reason:
        raise MediaError(reason or ("not a GIF or video" if count == 0 else f"ffmpeg ended with status {status}"))
    return count


def _check_file(path: Path) -> None:
    try:
        if not path.is_file():
            raise MediaError("no such file" if not path.exists() else "not a file")
        if path.stat().st_size == 0:
            raise MediaError("empty file")
        if cut_short(path):
            raise MediaError("damaged: cut short")
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror}") from None


def decode(
    path: Path,
    *,
    height: int,
    width: int,
    ffmpeg: Path,
    fps: float | None = None,
    fit: Fit = "crop",
    max_seconds: float = 60,
    max_pixels: int = 40_000_000,
    timeout_seconds: float = 120,
) -> np.ndarray:
    """The frames of a GIF or video in memory: uint8 (T, H, W, 3), RGB. Arguments and errors as of `decode_to`."""
    with tempfile.TemporaryDirectory(prefix="vidpred-") as folder:
        raw = Path(folder) / "frames.rgb"
        count = decode_to(
            raw,
            path,
            height=height,
            width=width,
            ffmpeg=ffmpeg,
            fps=fps,
            fit=fit,
            max_seconds=max_seconds,
            max_pixels=max_pixels,
            timeout_seconds=timeout_seconds,
        )
        return np.fromfile(raw, np.uint8).reshape(count, height, width, 3)


def facts(path: Path, *, ffmpeg: Path, max_pixels: int = 40_000_000, timeout_seconds: float = 30) -> Facts:
    """Size, rate and length of a GIF or video, without decoding it.

    Raises:
        MediaError: it is no GIF or video, or says no frame rate.
    """
    import ffmpeg as graph

    _check_file(path)
    # with nothing to write ffmpeg describes its input and ends
    arguments = graph.get_args(graph.output(_open_input(path, max_pixels), "unused"))[:-1]
    _, told = _launch(arguments, ffmpeg=ffmpeg, timeout_seconds=timeout_seconds)
    return facts_told(told, max_pixels=max_pixels)


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
            video = video.filter("scale", out_color_matrix="bt709", out_range="tv", flags=_SCALING)
            video = video.filter("format", "yuv420p")
            options |= {"vcodec": "libx264", "crf": crf, "movflags": "+faststart"}
            options |= {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"}
        arguments: list[str] = graph.get_args(graph.output(video, f"file:{part.resolve()}", format=kind, **options))
        try:
            status, told = _launch(
                ["-v", "error", *arguments, "-y"], ffmpeg=ffmpeg or any_ffmpeg(), timeout_seconds=_WRITE_SECONDS
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
