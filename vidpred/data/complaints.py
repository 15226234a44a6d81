"""What ffmpeg says on stderr, in few words: why a file gives no frames, or what a file says about itself.

In: ffmpeg's text. Out: a short reason for people, or `Facts`. Runs nothing itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vidpred.errors import UserError

MEMORY_GIB = 4
"""Address space that ffmpeg gets."""
MAX_RATE = 240
"""Frames per second at the most."""

_PREFIX = re.compile(r"^(\[[^\]]* @ 0x[0-9a-f]+\]\s*)+")
_NOISE = re.compile(
    r"^(Error opening input|Last message repeated|Not detecting m3u8|$)"
    # a stream that starts between two key frames loses references that no shown frame needs
    r"|mmco: unref short failure|co located POCs unavailable"
)
_VIDEO = re.compile(r"Stream #\S+.*?: Video: (?P<rest>.*)")
_SIZE = re.compile(r"\b(\d{1,6})x(\d{1,6})\b")
_RATE = re.compile(r"([\d.]+)(k?) (fps|tbr)\b")
_DURATION = re.compile(r"Duration: (\d+):(\d\d):([\d.]+)")
_ROTATION = re.compile(r"rotation of (-?[\d.]+) degrees")


class MediaError(UserError):
    """A file that gives no frames; the message is a short reason, without the file's name."""


@dataclass(frozen=True)
class Facts:
    """What a file says about itself."""

    height: int
    """Rows of a frame as shown, rotation applied."""
    width: int
    """Columns of a frame as shown."""
    fps: float
    """Frames per second."""
    seconds: float | None
    """Length, where the file says it."""


def reason_told(told: str, *, max_pixels: int = 0) -> str:
    """ffmpeg's complaint in few words, or nothing."""
    lines = [_PREFIX.sub("", line.strip()) for line in told.splitlines()]
    if any("max pixel count" in line or "Picture size" in line for line in lines):
        return f"more than {max_pixels} pixels a frame"
    if any("Cannot allocate memory" in line for line in lines):
        return f"needs more than {MEMORY_GIB} GiB of memory"
    if any("matches no streams" in line for line in lines):
        return "no video in it"
    if any("whitelist" in line for line in lines):
        return "not a GIF or video"
    told_lines = [line for line in lines if not _NOISE.search(line)]
    if told_lines:
        return f"damaged: {told_lines[0][:160].rstrip('.')}"
    return "not a GIF or video" if any(line.startswith("Error opening input") for line in lines) else ""


def facts_told(told: str, *, max_pixels: int = 0) -> Facts:
    """Size, rate and length from ffmpeg's description of its input.

    Raises:
        MediaError: it describes no video.
    """
    streams = [m["rest"] for m in map(_VIDEO.search, told.splitlines()) if m and "attached pic" not in m["rest"]]
    if not streams:
        complaint = "\n".join(line for line in told.splitlines() if "rror" in line)
        raise MediaError(
            "no video in it"
            if "Stream #" in told
            else reason_told(complaint, max_pixels=max_pixels) or "not a GIF or video"
        )
    size = _SIZE.search(streams[0])
    rates = {unit: float(number) * (1000 if k else 1) for number, k, unit in _RATE.findall(streams[0])}
    fps = rates.get("fps") or rates.get("tbr")
    if size is None or not fps:
        raise MediaError("says no size or frame rate")
    width, height = int(size[1]), int(size[2])
    turned = _ROTATION.search(told)
    if turned and round(float(turned[1]) / 90) % 2:
        width, height = height, width
    length = _DURATION.search(told)
    seconds = int(length[1]) * 3600 + int(length[2]) * 60 + float(length[3]) if length else None
    return Facts(height=height, width=width, fps=min(fps, MAX_RATE), seconds=seconds)
