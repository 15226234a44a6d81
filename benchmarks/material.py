"""What is decoded: GIFs and videos with texture and motion, made from a seed, in folders as fetch leaves them.

In: sizes and seeds, or a folder of real GIFs. Out: files. Flat shapes would flatter every contestant: they compress to
nothing and decode in no time. The GIFs are as large as the 8-frame GIFs of UCF-101 that are passed around (100 to
250 kB).
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from vidpred.data.encode import write_gif
from vidpred.data.intake import Source
from vidpred.data.launch import any_ffmpeg
from vidpred.errors import UserError

_NOISES = 8
_GIF_END = b"\x3b"


def moving(seed: int, frames: int, height: int, width: int, *, texture: float = 1.0) -> Iterator[np.ndarray]:
    """Frames of a textured scene that pans, with textured things that move in it and a camera's noise.

    Args:
        seed: Another seed, another scene.
        frames: How many.
        height: Rows.
        width: Columns.
        texture: How rough it is; 0 is nearly flat.

    Yields:
        uint8 (H, W, 3), RGB.
    """
    import cv2

    rng = np.random.default_rng(seed)

    def rough(rows: int, columns: int) -> np.ndarray:
        """Noise of several sizes, as in a picture of nature: float32 (rows, columns, 3), about 0."""
        out = np.zeros((rows, columns, 3), np.float32)
        for size, amount in ((64, 45.0), (16, 20.0 * texture), (4, 12.0 * texture), (1, 3.0 * texture)):
            small = rng.normal(0, amount, (max(2, rows // size), max(2, columns // size), 3)).astype(np.float32)
            out += cv2.resize(small, (columns, rows), interpolation=cv2.INTER_CUBIC)
        return out

    def picture(values: np.ndarray) -> np.ndarray:
        shown: np.ndarray = np.clip(values, 0, 255).astype(np.uint8)
        return shown

    margin = max(8, height // 4)
    ground = picture(rough(height + margin, width + margin) + 128)
    size = (height // 3, width // 4)
    things = [picture(rough(*size) + rng.uniform(50, 205, 3).astype(np.float32)) for _ in range(4)]
    room = np.array([height - size[0], width - size[1]])
    places, speeds = rng.uniform(0, room, (4, 2)), rng.normal(0, height / 50, (4, 2))
    noises = [rng.normal(0, 1.5 * texture, (height, width, 3)).astype(np.int16) for _ in range(_NOISES)]
    for t in range(frames):
        y, x = (np.abs((np.array([t * 1.3, t * 0.9]) + margin) % (2 * margin) - margin)).astype(int)
        frame = ground[y : y + height, x : x + width].astype(np.int16)
        for thing, place, speed in zip(things, places, speeds, strict=True):
            # back and forth between the edges
            at, left = (room - np.abs((place + speed * t) % (2 * room) - room)).astype(int)
            frame[at : at + size[0], left : left + size[1]] = thing
        yield picture(frame + noises[t % _NOISES])


def gifs(folder: Path, count: int, *, frames: int, height: int, width: int, seed: int = 0) -> list[Path]:
    """Writes so many different GIFs of 10 frames per second."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.gif" for number in range(count)]
    for number, path in enumerate(paths):
        # some smooth, some rough: sizes differ as they do among real ones
        texture = 0.25 + 0.75 * (number + 1) / count
        scene = moving(seed + number, frames, height, width, texture=texture)
        write_gif(path, np.stack(list(scene)), 10)
    return paths


def real_gifs(folder: Path) -> list[Path]:
    """The GIFs of a folder.

    Raises:
        UserError: there is none.
    """
    found = sorted(folder.glob("*.gif"))
    if not found:
        raise UserError(f"{folder} holds no .gif: give --real another folder, or leave it out")
    return found


def video(path: Path, *, seed: int, seconds: float, height: int, width: int, fps: int = 30) -> Path:
    """Writes H.264 as phones and sites do: 4:2:0, a key frame every 250 frames at the most.

    Raises:
        UserError: it could not be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = f"{width}x{height}"
    command = [
        *(str(any_ffmpeg()), "-v", "error", "-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", shape),
        *("-framerate", str(fps), "-i", "pipe:0", "-c:v", "libx264", "-preset", "fast", "-crf", "23"),
        *("-pix_fmt", "yuv420p", "-y", str(path)),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for frame in moving(seed, round(seconds * fps), height, width):
            process.stdin.write(frame.tobytes())
        process.stdin.close()
    if process.returncode != 0:
        raise UserError(f"{path} could not be written: ffmpeg ended with status {process.returncode}")
    return path


def tagged(gif: bytes, tag: str) -> bytes:
    """The same GIF with a comment before its end: other bytes, the same frames."""
    text = tag.encode()
    return gif.removesuffix(_GIF_END) + b"\x21\xfe" + bytes([len(text)]) + text + b"\x00" + _GIF_END


def raw_folder(raw: Path, files: Sequence[Path], count: int | None = None, *, first: int = 0) -> None:
    """Writes or extends a folder as `vidpred fetch` leaves it.

    Args:
        raw: The folder.
        files: What to put there.
        count: So many copies of them, each made different by a comment (GIFs only); None: the files themselves.
        first: Number of the first copy.
    """
    into = raw / "files"
    into.mkdir(parents=True, exist_ok=True)
    contents = {path: path.read_bytes() for path in files}
    with (raw / "sources.jsonl").open("a") as listed:
        for number in range(first, first + (len(files) if count is None else count)):
            path = files[number % len(files)]
            data = contents[path] if count is None else tagged(contents[path], f"copy {number}")
            sha256 = hashlib.sha256(data).hexdigest()
            name = f"{sha256}{path.suffix}"
            (into / name).write_bytes(data)
            row = Source(
                name=f"{number}-{path.name}",
                origin="benchmark",
                file=name,
                sha256=sha256,
                bytes=len(data),
                group=str(number),
                label="",
                licence="",
                status="ok",
                reason="",
            )
            listed.write(json.dumps(asdict(row)) + "\n")
