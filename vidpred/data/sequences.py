"""Videos that are no video files: images in a folder, and NumPy arrays.

In: JPEG or PNG images in order, or an .npy of one or many videos. Out: one file a video, of a kind that transcode
reads: `.mjpeg` or `.pngs` (the images' own bytes, one after the other) and `.npy` (uint8 (T, H, W) or (T, H, W, 3)).
Nothing is decoded here. In all three every image is a frame, and there is no time.
"""

from __future__ import annotations

import logging
import math
import re
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from vidpred.config import FetchParams
from vidpred.errors import UserError
from vidpred.workspace import atomic

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png"))
"""Names of images that may be frames of a sequence."""

_IMAGE_BYTES = 1 << 28
"""Of one image at the most: it is held in memory."""
_SMALLEST = 8
"""Rows and columns of a frame at the least: fewer are colours, or a shape of another order."""
_SOI = b"\xff\xd8"
_PNG = b"\x89PNG\r\n\x1a\n"
# in packed pixels 0xFF is followed by zero or a restart marker; any other marker ends them
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class SequenceError(UserError):
    """Images or an array that are no video. The text is `code: detail`."""


def natural_key(name: str) -> tuple[object, ...]:
    """For sorting: cat_2 before cat_10, and cat_result after both."""
    pieces = re.split("([0-9]+)", name.casefold())
    # by length, then by digits, is by number, of any size
    keys = [(0, len(p.lstrip("0")), p.lstrip("0")) if n % 2 else (1, 0, p) for n, p in enumerate(pieces) if p]
    return tuple(keys), name


def grouped_by_folder(names: Iterable[str]) -> dict[str, list[str]]:
    """The images of each folder in natural order, folders too. Names that are no JPEG or PNG are left out.

    Args:
        names: With `/` between their parts; a folder is what stands before the last, or an empty string.
    """
    folders: dict[str, list[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        if path.suffix.lower() in IMAGE_SUFFIXES:
            folders.setdefault(path.parent.as_posix() if "/" in name else "", []).append(name)
    ordered = sorted(folders, key=lambda folder: [natural_key(part) for part in folder.split("/")])
    return {folder: sorted(folders[folder], key=natural_key) for folder in ordered}


def pack_images(images: Iterable[Path | BinaryIO], out: Path, *, max_bytes: int) -> str:
    """Writes images into one file, one after the other; gives the suffix that it must have: `.mjpeg` or `.pngs`.

    What follows an image's own end in its file (a second picture, a maker's notes) is left out: it would be read as a
    frame, or as none.

    Args:
        images: At least two, in the order of the frames, all JPEG or all PNG.
        out: File to write; where this fails there is none.
        max_bytes: Of the file, at the most.

    Raises:
        SequenceError: fewer than two images, both kinds, no image, an image cut short, or too many bytes.
    """
    kinds: set[str] = set()
    count = size = 0
    with atomic(out) as part, part.open("wb") as file:
        for image in images:
            count += 1
            data = _one_image(_bytes(image, min(_IMAGE_BYTES, max_bytes), count), count)
            kinds.add(".pngs" if data.startswith(_PNG) else ".mjpeg")
            if len(kinds) > 1:
                raise SequenceError(f"mixed images: image {count} is not of the kind of those before it")
            size += len(data)
            if size > max_bytes:
                raise SequenceError(f"too large: more than {max_bytes} bytes (fetch.max_bytes)")
            file.write(data)
        if count < 2:
            raise SequenceError("single image: a sequence has two or more" if count else "no image")
    return kinds.pop()


def _bytes(image: Path | BinaryIO, most: int, number: int) -> bytes:
    try:
        if isinstance(image, Path):
            with image.open("rb") as file:
                data = file.read(most + 1)
        else:
            data = image.read(most + 1)
    except OSError as error:
        raise SequenceError(f"cannot be read: image {number}: {error.strerror or error}") from None
    if len(data) > most:
        raise SequenceError(f"too large: image {number} has more than {most} bytes")
    return data


def _one_image(data: bytes, number: int) -> bytes:
    """The image itself, without what follows it."""
    if data.startswith(_PNG):
        end = _png_end(data)
    elif data.startswith(_SOI):
        end = _jpeg_end(data)
    else:
        raise SequenceError(f"no image: image {number} is no JPEG or PNG, it begins with {data[:8]!r}")
    if end is None:
        raise SequenceError(f"cut short: image {number} has no end")
    return data[:end]


def _jpeg_end(data: bytes) -> int | None:
    """Where the first image ends: thumbnails within its segments have ends of their own."""
    at = len(_SOI)
    while found := _MARKER.search(data, at):
        at = found.end()
        kind = data[at - 1]
        if kind == 0xD9:
            return at
        if kind == 0xD8:  # another begins before this one has ended
            return None
        if kind != 0x01:  # all others have a length, of which it is a part
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
    return None


def _png_end(data: bytes) -> int | None:
    at = len(_PNG)
    while at + 12 <= len(data):
        kind = data[at + 4 : at + 8]
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        if kind == b"IEND":
            return at if at <= len(data) else None
    return None


@dataclass(frozen=True)
class _Layout:
    """How the videos of an array lie in it."""

    videos: int
    frames: int
    frame: tuple[int, ...]
    """Its shape, as it is stored."""
    time_first: bool

    @property
    def frame_bytes(self) -> int:
        return math.prod(self.frame)


def split_npy(path: Path, *, params: FetchParams) -> Iterator[tuple[str, np.ndarray]]:
    """The videos of an .npy file, one at a time: its number (such as 0042), and uint8 (T, H, W) or (T, H, W, 3).

    Shapes: (T, H, W), (T, H, W, 1) and (T, H, W, 3) are one video, whose number is an empty string; it is a memory map.
    Four axes of which the last is neither 1 nor 3, or five of which the last or the third is, are many videos: of the
    first two axes the smaller is time, so that Moving MNIST's (20, 10000, 64, 64) and the more usual (10000, 20, 64,
    64) both are 10000 videos of 20 frames. Where the two are equal it cannot be told, and the file is refused; where
    one of them is 1, the other is time.

    Args:
        path: The file.
        params: `max_bytes` is the limit of a video, `max_archive_bytes` that of the file, `max_members` that of videos.

    Raises:
        SequenceError: it is no .npy, holds no uint8, no such shape, less than it says, or more than the limits.
    """
    try:
        with path.open("rb", buffering=0) as file:
            shape = _npy_shape(file)
            start, size = file.tell(), path.stat().st_size
            layout = _layout(shape)
            if size < start + math.prod(shape):
                raise SequenceError(f"cut short: {size - start} of the {math.prod(shape)} bytes of {shape} are there")
            if size > params.max_archive_bytes or layout.videos > params.max_members:
                raise SequenceError(
                    f"too large: {layout.videos} videos in {size} bytes (fetch.max_archive_bytes, fetch.max_members)"
                )
            if layout.frames * layout.frame_bytes > params.max_bytes:
                raise SequenceError(f"too large: a video has more than {params.max_bytes} bytes (fetch.max_bytes)")
            if layout.videos == 1:
                yield "", _channels_last(np.memmap(path, np.uint8, "r", start, (layout.frames, *layout.frame)))
                return
            log.info("%s: %d videos of %d frames, by its shape %s", path.name, layout.videos, layout.frames, shape)
            for number in range(layout.videos):
                video = _read_video(file, start, layout, number)
                yield f"{number:0{len(str(layout.videos - 1))}d}", _channels_last(video)
    except OSError as error:
        raise SequenceError(f"cannot be read: {error.strerror or error}") from None


def _npy_shape(file: BinaryIO) -> tuple[int, ...]:
    """Reads the header; the file stands behind it."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise SequenceError(f"no video: an .npy of version {version}, which is for records")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # for files of Python 2, as Moving MNIST may be
            shape, fortran, dtype = read(file)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError, EOFError) as error:
        raise SequenceError(f"damaged: no .npy header: {' '.join(str(error).split())[:200]}") from None
    if dtype != np.uint8:
        how = "np.round(255 * x)" if dtype.kind == "f" else "255 * x" if dtype.kind == "b" else "x"
        raise SequenceError(f"no video: holds {dtype}; save {how} as uint8: np.save(path, ({how}).astype(np.uint8))")
    if fortran and len(shape) > 1:
        raise SequenceError("no video: is in Fortran order: save np.ascontiguousarray(x)")
    return shape


def _layout(shape: tuple[int, ...]) -> _Layout:
    """Raises SequenceError where it is no shape of videos, or of more than one."""
    if len(shape) not in (3, 4, 5) or min(shape) < 1:
        raise SequenceError(f"no video: shape {shape}: (T, H, W), (T, H, W, 3) or (N, T, H, W) is one")
    if len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3)):
        layout = _Layout(1, shape[0], shape[1:], time_first=True)
    elif 1 in shape[:2]:
        return _layout(shape[1:] if shape[0] == 1 else (shape[0], *shape[2:]))
    else:
        if len(shape) == 5 and shape[4] not in (1, 3) and shape[2] not in (1, 3):
            raise SequenceError(f"no video: shape {shape}: neither the last nor the third axis is of 1 or 3 colours")
        if shape[0] == shape[1]:
            raise SequenceError(f"ambiguous: shape {shape}: which axis is time? Save each video, (T, H, W), in a file")
        if len(shape) == 4 and shape[1] == 3:
            raise SequenceError(f"no video: shape {shape}: save colours as the last axis")
        layout = _Layout(max(shape[:2]), min(shape[:2]), shape[2:], time_first=shape[0] < shape[1])
    pixels = layout.frame[1:] if len(layout.frame) == 3 and layout.frame[2] not in (1, 3) else layout.frame[:2]
    if min(pixels) < _SMALLEST or layout.frames < 2:
        raise SequenceError(f"no video: shape {shape} would be {layout.frames} frames of {pixels[0]}x{pixels[1]}")
    return layout


def _read_video(file: FileIO, start: int, layout: _Layout, number: int) -> np.ndarray:
    """One of many, read rather than mapped: the pages of a map count as memory until there is none left."""
    video = np.empty((layout.frames, *layout.frame), np.uint8)
    if layout.time_first:
        for time, frame in enumerate(video):
            _fill(file, start + (time * layout.videos + number) * layout.frame_bytes, frame)
    else:
        _fill(file, start + number * video.nbytes, video)
    return video


def _fill(file: FileIO, position: int, array: np.ndarray) -> None:
    view = array.data.cast("B")
    file.seek(position)
    while view:
        read = file.readinto(view)
        if not read:
            raise SequenceError("cut short: it has become shorter")
        view = view[read:]


def _channels_last(video: np.ndarray) -> np.ndarray:
    """(T, H, W) of one colour, (T, H, W, 3) of three, from colours in the last or the second axis, or none."""
    if video.ndim == 3:
        return video
    if video.shape[3] not in (1, 3):
        video = video.transpose(0, 2, 3, 1)
    return video[..., 0] if video.shape[3] == 1 else video


def write_npy(out: Path, frames: np.ndarray) -> None:
    """Writes one video, with a header of version 1.0: the same frames always give the same bytes.

    Args:
        out: File to write, atomically.
        frames: uint8 (T, H, W) or (T, H, W, 3).
    """
    if frames.dtype != np.uint8 or not (frames.ndim == 3 or (frames.ndim == 4 and frames.shape[3] == 3)):
        raise ValueError(f"{frames.dtype} {frames.shape} is no uint8 (T, H, W) or (T, H, W, 3)")
    with atomic(out) as part, part.open("wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(frames), version=(1, 0), allow_pickle=False)
