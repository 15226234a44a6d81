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

_LINE = re.compile(r"^(?:\[[^\]]* @ 0x[0-9a-f]+\] )*\[(?:error|fatal|panic)\] (?P<rest>.*)$", re.MULTILINE)
"""An error, told with `-v level+…`; what a file says of itself comes with another level, so it cannot pass for one."""
_INPUT = re.compile(r"^\[info\] Input #(\d+), ", re.MULTILINE)
_MAPPING = re.compile(r"^\[info\] Stream mapping:$", re.MULTILINE)
_NO_ROOM = re.compile(r"No space left on device|File too large|Disk quota exceeded")
_NOISE = re.compile(
    r"^(Error opening input|Error opening output|Last message repeated|Not detecting m3u8|file:/|$)"
    # a stream that starts between two key frames loses references that no shown frame needs
    r"|mmco: unref short failure|co located POCs unavailable"
    # what a camera noted beside a JPEG is not its picture
    r"|invalid TIFF header in EXIF data"
)
# a title may read like any of these, but does not begin its line
_VIDEO = re.compile(r"^\[info\] +Stream #\d+:\d+.*?: Video: (?P<rest>.*)$", re.MULTILINE)
_SIZE = re.compile(r"\b(\d{1,6})x(\d{1,6})\b")
_RATE = re.compile(r"([\d.]+)(k?) (fps|tbr)\b")
_DURATION = re.compile(r"^\[info\]   Duration: (\d+):(\d\d):([\d.]+)", re.MULTILINE)
_ROTATION = re.compile(r"^\[info\] +(?:Display Matrix|displaymatrix): rotation of (-?[\d.]+) degrees", re.MULTILINE)
_ALPHA = re.compile(r", (yuva\d|rgba|bgra|argb|abgr|gbrap|ya\d|pal8)")
_ALPHA_LAYER = re.compile(r"^\[info\]\s+alpha_mode\s*: 1$", re.MULTILINE)


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
    codec: str = ""
    """ffmpeg's name of what the video is packed with."""
    alpha: bool = False
    """Whether pixels may be transparent."""
    alpha_layer: bool = False
    """Whether transparency comes in a layer of its own, as in WebM."""


def errors_told(told: str) -> list[str]:
    """ffmpeg's complaints, without those that no shown frame suffers from."""
    return [m["rest"].strip() for m in _LINE.finditer(told) if not _NOISE.search(m["rest"].strip())]


def no_room_told(told: str) -> str:
    """The complaint that nothing more can be written here, or an empty string; a file's own title may read like it."""
    return next((line for line in errors_told(told) if _NO_ROOM.search(line)), "")


def reason_told(told: str, *, max_pixels: int = 0) -> str:
    """ffmpeg's complaint about the one file that it read, in few words, or nothing."""
    begin, end = _description(told)
    told = told[:begin] + told[end:]  # where lines may stand that only look like ffmpeg's
    lines = [m["rest"].strip() for m in _LINE.finditer(told)]
    if any("max pixel count" in line or "Picture size" in line for line in lines):
        return f"more than {max_pixels} pixels a frame"
    if any("max_streams" in line for line in lines):
        return "too many streams"
    if any("Cannot allocate memory" in line for line in lines):
        return f"needs more than {MEMORY_GIB} GiB of memory"
    if any("matches no streams" in line for line in lines):
        return "no video in it"
    if any("whitelist" in line for line in lines):
        return "not a GIF or video"
    complaints = errors_told(told)
    if complaints:
        return f"damaged: {_printable(complaints[0])[:160].rstrip('.')}"
    return "not a GIF or video" if any(line.startswith(("Error opening input", "file:/")) for line in lines) else ""


def _description(told: str) -> tuple[int, int]:
    """Where, in the text on one input, stands what the file says of itself; nowhere, if ffmpeg did not come so far."""
    begin, ends = _INPUT.search(told), list(_MAPPING.finditer(told))
    return (begin.start(), ends[-1].start()) if begin and ends else (len(told), len(told))


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def input_told(told: str) -> str:
    """What ffmpeg says of its one input; all that it says where it does not get so far as to read on."""
    begin, end = _description(told)
    return told[begin:end] or told


def inputs_told(told: str, count: int) -> list[str] | None:
    """What ffmpeg says of each of its `count` inputs; None where it does not speak of each once and in order."""
    heads = list(_INPUT.finditer(told))
    if [int(head[1]) for head in heads] != list(range(count)):
        return None
    mappings = list(_MAPPING.finditer(told, heads[-1].start()))  # the last one is ffmpeg's own
    ends = [head.start() for head in heads[1:]] + [mappings[-1].start() if mappings else len(told)]
    return [told[head.start() : end] for head, end in zip(heads, ends, strict=True)]


def facts_told(told: str, *, max_pixels: int = 0) -> Facts:
    """Size, rate and length from ffmpeg's description of its input.

    Raises:
        MediaError: it describes no video.
    """
    streams = [m["rest"] for m in _VIDEO.finditer(told) if "attached pic" not in m["rest"]]
    if not streams:
        raise MediaError(
            "no video in it" if "Stream #" in told else reason_told(told, max_pixels=max_pixels) or "not a GIF or video"
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
    return Facts(
        height=height,
        width=width,
        fps=min(fps, MAX_RATE),
        seconds=int(length[1]) * 3600 + int(length[2]) * 60 + float(length[3]) if length else None,
        codec=re.split(r"[ ,]", streams[0], maxsplit=1)[0],
        alpha=bool(_ALPHA.search(streams[0])),
        alpha_layer=bool(_ALPHA_LAYER.search(told)),
    )
