"""What ffmpeg is told: which file to open and how, what to make of its frames, and where to write them.

In: a job (a file or part of one) and a look (what frames are made). Out: arguments. The graph is ffmpeg-python's;
nothing is run here.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from vidpred.data.complaints import Facts, MediaError
from vidpred.data.gifs import is_gif

SUFFIXES = frozenset(
    (".gif", ".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".m2ts", ".3gp")
)
"""Names that may be a GIF or video."""

UNTIMED = frozenset((".mjpeg", ".pngs", ".npy"))
"""Sequences of frames without a time, as fetch packs them: JPEGs or PNGs one after the other, or a NumPy array."""

_FORMATS = "gif,mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegts,mpegvideo,asf,flv,ogg,h264,hevc,m4v,yuv4mpegpipe"
SCALING = "area+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
_UNTIMED_FPS = 10.0
_STREAMS = 64
_BLACK = 24.5 / 255
"""Share of white that bars stay under: cropdetect's own default, 24 of 255, in words that hold for 10 bits too."""
_LAYERED = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that read a transparency layer, which ffmpeg's own leave out."""

Fit = Literal["crop", "pad", "stretch"]
Box = tuple[int, int, int, int]
"""Width, height, x and y of what lies between black bars."""


@dataclass(frozen=True)
class Look:
    """What frames are made of a file: all that decides their bytes, but the file and ffmpeg's version."""

    height: int
    """Rows of a frame."""
    width: int
    """Columns of a frame."""
    fit: Fit = "crop"
    """How another shape is brought to this one."""
    background: str = "white"
    """What shows through where a source is transparent: black, white or #rrggbb."""
    crop_bars: bool = False
    """Whether black bars are cut off first."""
    max_seconds: float = 60
    """Only so much from the start."""
    max_frames: int = 20_000
    """Frames at the most."""
    max_pixels: int = 40_000_000
    """Pixels of a source frame at the most."""
    untimed_fps: float | None = None
    """Frames per second of what has no time; None: 10."""

    @property
    def frame_bytes(self) -> int:
        """Of one frame."""
        return self.height * self.width * 3

    @property
    def colour(self) -> int:
        """The background as a number, 0xRRGGBB."""
        named = {"black": "000000", "white": "ffffff"}
        return int(named.get(self.background, self.background.lstrip("#")), 16)


@dataclass(frozen=True)
class Job:
    """A file, or a part of it, to be read."""

    path: Path
    start_seconds: float | None = None
    """Where to begin; None: at the file's start."""
    end_seconds: float | None = None
    """Where to end; None: at the file's end."""


@dataclass(frozen=True)
class Reading:
    """What a file needs so that its transparency is seen, and a part of it is found."""

    composite: bool = False
    decoder: str | None = None
    jump: bool = True
    """Whether a part's beginning is jumped to, rather than waited for."""

    @classmethod
    def of(cls, job: Job, facts: Facts | None = None) -> Reading:
        """By a file's name, and by what it says of itself once that is known; GIF's decoder fills in the background."""
        if job.path.suffix == ".pngs":  # each image by itself may be transparent
            return cls(composite=True)
        if facts is None:
            return cls()
        decoder = _LAYERED.get(facts.codec) if facts.alpha_layer else None
        return cls(composite=decoder is not None or (facts.alpha and facts.codec != "gif"), decoder=decoder)


def seconds_of(job: Job, look: Look) -> float:
    if job.end_seconds is None:
        return look.max_seconds
    return max(0.001, min(look.max_seconds, job.end_seconds - (job.start_seconds or 0)))


Options = tuple[tuple[str, Any], ...]


def input_options(job: Job, look: Look) -> Options:
    """Of an input of ffmpeg: one format or whitelisted ones, whitelisted protocols only."""
    options: dict[str, Any] = {"protocol_whitelist": "file,pipe", "threads": 1, "max_pixels": look.max_pixels}
    rate = look.untimed_fps or _UNTIMED_FPS
    match job.path.suffix:
        case ".npy":
            options |= _array_options(job.path, look.max_pixels) | {"framerate": rate}
        case ".mjpeg":
            options |= {"format": "mjpeg", "format_whitelist": "mjpeg", "framerate": rate}
        case ".pngs":
            options |= {"format": "png_pipe", "format_whitelist": "png_pipe", "framerate": rate}
        case _:
            # what a GIF fills in is opaque to all that follows: no compositing, which would cost as much
            options["trans_color"] = look.colour
            if is_gif(job.path):  # to be told so takes ffmpeg less time than to read a list
                options["format"] = "gif"
            else:
                options |= {"format_whitelist": _FORMATS, "max_streams": _STREAMS}
    if job.start_seconds:
        options["ss"] = job.start_seconds
    return tuple(options.items())


_UNTOLD = {"map_metadata": -1, "map_chapters": -1}
"""An output repeats none of what a file says of itself: its words could look like ffmpeg's."""

_PATH, _NUMBER = "PATH", "NUMBER"
"""What stands for a job's file and number in arguments that are made once for all jobs alike: ffmpeg-python takes a
third of a millisecond to make them, a tenth of what it takes to read a small GIF."""


@lru_cache(maxsize=256)
def decoding(
    look: Look, options: Options, seconds: float, box: Box | None, reading: Reading, timed: bool
) -> tuple[str, ...]:
    """Arguments that write raw frames, and beside them a line a frame with its time, unless that is known."""
    import ffmpeg as graph

    video = _seen(look, options, reading)
    if box is not None:
        video = video.filter("crop", *box)
    output = graph.output(
        _fitted(video, look.height, look.width, look.fit),
        f"[f=rawvideo]{_NUMBER}.rgb|[f=framecrc]{_NUMBER}.crc" if timed else f"{_NUMBER}.rgb",
        format="tee" if timed else "rawvideo",
        vcodec="rawvideo",
        pix_fmt="rgb24",
        flags="+bitexact",
        fps_mode="passthrough",
        enc_time_base="1/1000000",
        threads=1,
        t=seconds,
        **_UNTOLD,
        **{"frames:v": look.max_frames},
    )
    return tuple(graph.get_args(output))


@lru_cache(maxsize=256)
def looking_for_bars(look: Look, options: Options, seconds: float, reading: Reading) -> tuple[str, ...]:
    """Arguments that write down what lies between black bars, frame by frame; the last line holds for all."""
    import ffmpeg as graph

    noted = _seen(look, options, reading).filter("cropdetect", limit=_BLACK, round=2, skip=0, reset=0)
    noted = noted.filter("metadata", mode="print", file=f"{_NUMBER}.bars")
    limits = {"t": seconds, "frames:v": look.max_frames}
    return tuple(graph.get_args(graph.output(noted, "-", format="null", fps_mode="passthrough", **_UNTOLD, **limits)))


def _seen(look: Look, options: Options, reading: Reading) -> Any:
    """The video of an input as a viewer sees it."""
    import ffmpeg as graph

    before = dict(options)
    if reading.decoder:
        before["vcodec"] = reading.decoder
    begin = 0 if reading.jump else before.pop("ss")
    video = graph.input(_PATH, **before)["V"]
    if begin:
        video = video.filter("trim", start=begin).filter("setpts", f"PTS-{begin}/TB")
    return _flattened(video, look.colour) if reading.composite else video


def filled(arguments: Sequence[str], job: Job, number: int) -> list[str]:
    """Arguments for one job, from those for all alike."""
    path = f"file:{os.path.abspath(job.path)}"  # noqa: PTH100 - Path.resolve costs more than reading a small GIF's header
    return [path if value == _PATH else value.replace(_NUMBER, str(number)) for value in arguments]


def merged(jobs: Sequence[Sequence[str]]) -> list[str]:
    """The arguments of one ffmpeg that does the work of several, each with one input, one graph and one output."""
    inputs: list[str] = []
    graphs: list[str] = []
    outputs: list[str] = []
    for number, arguments in enumerate(jobs):
        at = arguments.index("-filter_complex")
        inputs += arguments[:at]
        graphs.append(_LABEL.sub(rf"[j{number}\1]", arguments[at + 1]).replace("[0:V]", f"[{number}:V]"))
        outputs += [_LABEL.sub(rf"[j{number}\1]", value) if "[" in value else value for value in arguments[at + 2 :]]
    return [*inputs, "-filter_complex", ";".join(graphs), *outputs]


_LABEL = re.compile(r"\[(s\d+)\]")
"""A link of a graph, as ffmpeg-python names them."""


_MAGIC = b"\x93NUMPY\x01\x00"
_ARRAY_BYTES = 256
_ARRAY = re.compile(
    re.escape(_MAGIC) + rb"(..)\{'descr': '\|u1', 'fortran_order': False, 'shape': "
    rb"\((\d{1,9}, \d{1,6}, \d{1,6}(?:, 3)?)\), ?\} *\n",
    re.DOTALL,
)
"""Start of an array of frames as NumPy writes it. NumPy reads it as Python, which can be made to fail in many ways."""


def _array_options(path: Path, max_pixels: int) -> dict[str, Any]:
    """Input options for a NumPy array of uint8 (T, H, W) or (T, H, W, 3), as raw video behind its header."""
    try:
        with path.open("rb") as file:
            start = file.read(_ARRAY_BYTES)
        size = path.stat().st_size
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror}") from None
    header = _ARRAY.match(start)
    if header is None:
        raise MediaError("not a NumPy video: expected uint8 (T, H, W) or (T, H, W, 3) in C order, version 1.0")
    shape, offset = tuple(map(int, header[2].split(b","))), header.end()
    if 0 in shape or offset != len(_MAGIC) + 2 + int.from_bytes(header[1], "little"):
        raise MediaError(f"not a NumPy video: shape {shape}")
    colours = len(shape) == 4
    if shape[1] * shape[2] > max_pixels:
        raise MediaError(f"more than {max_pixels} pixels a frame")
    if size != offset + math.prod(shape):
        raise MediaError(f"damaged: {size - offset} bytes of frames, its shape {shape} has {math.prod(shape)}")
    return {
        "format": "rawvideo",
        "format_whitelist": "rawvideo",
        "pixel_format": "rgb24" if colours else "gray",
        "video_size": (shape[2], shape[1]),
        "skip_initial_bytes": offset,
    }


def _flattened(video: Any, colour: int) -> Any:
    """Lays a video with transparency over one colour."""
    import ffmpeg as graph

    branches = video.filter("format", "rgba").split()
    red, green, blue = colour.to_bytes(3, "big")
    # not drawbox: ffmpeg 5.1 crashes where that replaces RGB
    ground = branches[0].filter("lutrgb", r=red, g=green, b=blue, a=255)
    return graph.overlay(ground, branches[1], format="rgb")


def _fitted(video: Any, height: int, width: int, fit: Fit) -> Any:
    """Scales to one size as RGB; `dar` is the shape that a viewer sees, pixels need not be square."""
    if fit == "stretch":
        return video.filter("scale", width, height, flags=SCALING).filter("format", "rgb24")
    pick = "max" if fit == "crop" else "min"
    scaled = video.filter(
        "scale",
        w=f"max(1,{pick}({width},round({height}*dar)))",
        h=f"max(1,{pick}({height},round({width}/dar)))",
        flags=SCALING,
    ).filter("format", "rgb24")  # before the cut, which would else fall on whole chroma samples
    if fit == "crop":
        return scaled.filter("crop", width, height)
    return scaled.filter("pad", width, height, "(ow-iw)/2", "(oh-ih)/2", "black")
