"""Odd files, made with ffmpeg and by hand, and how the tests read them."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vidpred.data import launch, media
from vidpred.data.media import Decoded, Job, Look, MediaError

FFMPEG = launch.ffmpeg_binary()


def written(path: Path, frames: np.ndarray, *options: str, fps: float | str = 10, before: Sequence[str] = ()) -> Path:
    """A file of uint8 frames (T, H, W, 3 or 4), by ffmpeg's own options."""
    height, width, colours = frames.shape[1:]
    kind = {3: "rgb24", 4: "rgba"}[colours]
    raw = ["-f", "rawvideo", "-pixel_format", kind, "-video_size", f"{width}x{height}", "-framerate", str(fps)]
    command = [str(FFMPEG), "-v", "error", *raw, *before, "-i", "-", *options, "-y", f"file:{path}"]
    subprocess.run(command, input=frames.tobytes(), check=True, timeout=60)
    return path


def copied(source: Path, path: Path, *options: str, before: Sequence[str] = ()) -> Path:
    """The same streams in another file."""
    command = [str(FFMPEG), "-v", "error", *before, "-i", str(source), "-c", "copy", *options, "-y", f"file:{path}"]
    subprocess.run(command, check=True, timeout=60)
    return path


LOSSLESS = ("-c:v", "libx264", "-crf", "0", "-pix_fmt", "yuv444p")
GIF = ("-filter_complex", "split[a][b];[a]palettegen=stats_mode=full[p];[b][p]paletteuse=dither=none")
CLEAR_GIF = ("-filter_complex", "split[a][b];[a]palettegen=reserve_transparent=1[p];[b][p]paletteuse=dither=none")


def read_all(
    paths: Iterable[Path | Job], look: Look, *, ffmpeg: Path = FFMPEG, timeout_seconds: float = 60
) -> list[tuple[np.ndarray, Decoded] | MediaError]:
    """What `decode_to` gives for files that stand in one batch; frames uint8 (T, H, W, 3)."""
    jobs = [path if isinstance(path, Job) else Job(path) for path in paths]
    with tempfile.TemporaryDirectory(prefix="vidpred-test-") as folder:
        results = media.decode_to(Path(folder), jobs, look, ffmpeg=ffmpeg, timeout_seconds=timeout_seconds)
        return [
            result
            if isinstance(result, MediaError)
            else (np.fromfile(result.raw, np.uint8).reshape(-1, look.height, look.width, 3), result)
            for result in results
        ]


def read(path: Path | Job, look: Look, *, ffmpeg: Path = FFMPEG) -> tuple[np.ndarray, Decoded]:
    """One file; raises MediaError."""
    (result,) = read_all([path], look, ffmpeg=ffmpeg)
    if isinstance(result, MediaError):
        raise result
    return result


def canvas(height: int, width: int) -> bytes:
    """The start of a GIF of two colours."""
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes([0, 0, 0, 255, 255, 255])


def dot(*, delay: int = 10, x: int = 0, y: int = 0) -> bytes:
    """A GIF's frame of one pixel: 24 bytes."""
    control = b"\x21\xf9\x04\x00" + struct.pack("<H", delay) + b"\x00\x00"
    return control + b"\x2c" + struct.pack("<HHHHB", x, y, 1, 1, 0) + b"\x02\x02\x44\x01\x00"


def squares(count: int = 12, height: int = 48, width: int = 64) -> np.ndarray:
    """A white square that moves right by 2 pixels a frame over a dark gradient; uint8 (T, H, W, 3)."""
    out = np.zeros((count, height, width, 3), np.uint8)
    out[..., 1] = np.linspace(0, 60, width, dtype=np.uint8)
    for t, frame in enumerate(out):
        frame[10:22, 4 + 2 * t : 16 + 2 * t] = 255
    return out


CORNERS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (250, 250, 250))
"""Of `quarters`: upper left, upper right, lower left, lower right."""


def quarters(count: int = 4, height: int = 48, width: int = 64) -> np.ndarray:
    """Four colours, and a small grey square that moves; uint8 (T, H, W, 3)."""
    out = np.zeros((count, height, width, 3), np.uint8)
    top, left = slice(0, height // 2), slice(0, width // 2)
    bottom, right = slice(height // 2, None), slice(width // 2, None)
    for (rows, columns), colour in zip(
        ((top, left), (top, right), (bottom, left), (bottom, right)), CORNERS, strict=True
    ):
        out[:, rows, columns] = colour
    for t, frame in enumerate(out):
        frame[1:5, 1 + 3 * t : 5 + 3 * t] = 128
    return out


def corners(frame: np.ndarray) -> np.ndarray:
    """The colours in the middle of a frame's quarters; int (4, 3)."""
    height, width = frame.shape[:2]
    rows, columns = (height // 4, height - height // 4), (width // 4, width - width // 4)
    return np.array([frame[y, x] for y in rows for x in columns], int)


def gif_of(greys: Sequence[int], delays: Sequence[int], *, size: tuple[int, int] = (64, 48)) -> bytes:
    """A GIF of one grey a frame, with delays in hundredths of a second."""
    images = [Image.new("L", size, grey) for grey in greys]
    out = io.BytesIO()
    images[0].save(out, "GIF", save_all=True, append_images=images[1:], duration=100, loop=0, optimize=False)
    data = bytearray(out.getvalue())
    controls = [match.start() for match in re.finditer(rb"\x21\xf9\x04...." + rb"\x00", data, re.DOTALL)]
    assert len(controls) == len(delays)
    for at, delay in zip(controls, delays, strict=True):
        data[at + 4 : at + 6] = delay.to_bytes(2, "little")
    return bytes(data)


def jpeg(image: Image.Image, *, thumbnail: bool = False, orientation: int | None = None, **options: object) -> bytes:
    """A JPEG, with a red JPEG as its EXIF thumbnail or an EXIF orientation if wanted."""
    extra = {"exif": _exif(orientation or 1)} if thumbnail or orientation else {}
    out = io.BytesIO()
    image.save(out, "JPEG", quality=95, **extra, **options)
    return out.getvalue()


def _exif(orientation: int) -> bytes:
    small = io.BytesIO()
    Image.new("RGB", (32, 24), (255, 0, 0)).save(small, "JPEG")
    first = struct.pack("<HHHII", 1, 0x0112, 3, 1, orientation)
    second_at = 8 + len(first) + 4
    data_at = second_at + 2 + 3 * 12 + 4
    entries = ((0x0103, 3, 1, 6), (0x0201, 4, 1, data_at), (0x0202, 4, 1, len(small.getvalue())))
    second = struct.pack("<H", 3) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + struct.pack("<I", second_at) + second + small.getvalue()


def png(image: Image.Image, **options: object) -> bytes:
    """A PNG."""
    out = io.BytesIO()
    image.save(out, "PNG", **options)
    return out.getvalue()


def plain(grey: int, size: tuple[int, int] = (64, 48), mode: str = "RGB") -> Image.Image:
    """An image of one grey."""
    return Image.new("L", size, grey).convert(mode)
