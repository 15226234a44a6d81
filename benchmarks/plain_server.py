"""A server as written in an afternoon: an upload at a time, a process to read it and one to write the answer.

The other side of `benchmarks.serve`: FastAPI, a handler in a thread, the same decoder, model and writer. Arguments: a
model's folder. Prints its port.
"""

# no `from __future__ import annotations`: FastAPI reads the handler's annotations, which name what is local here

import socket
import sys
import tempfile
import threading
from pathlib import Path

import uvicorn
from fastapi import FastAPI, File, Form, Response, UploadFile
from rich.console import Console

from vidpred.data import media
from vidpred.data.encode import write_gif
from vidpred.data.launch import any_ffmpeg
from vidpred.serving.predictor import FramePredictor
from vidpred.training.device import set_threads


def make_app(model: Path) -> FastAPI:
    """The whole of it."""
    predictor = FramePredictor.load(model)
    fps = predictor.fps or 10
    one_at_a_time = threading.Lock()
    app = FastAPI()

    @app.post("/api/predict")
    def predict(file: UploadFile = File(), frames: int = Form(5)) -> Response:  # noqa: B008 - FastAPI's way
        with tempfile.TemporaryDirectory() as folder:
            path, out = Path(folder) / "in.gif", Path(folder) / "out.gif"
            path.write_bytes(file.file.read())
            height, width = predictor.task.height, predictor.task.width
            clip = media.decode(path, height=height, width=width, ffmpeg=any_ffmpeg(), fps=fps)
            with one_at_a_time:
                following = predictor.predict(clip, frames)
            write_gif(out, following, fps)
            return Response(out.read_bytes(), media_type="image/gif")

    return app


def main() -> None:
    """Serves until it is ended."""
    set_threads(None)
    app = make_app(Path(sys.argv[1]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Console(soft_wrap=True, highlight=False).print(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        sys.stdout.flush()
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run([listener])


if __name__ == "__main__":
    main()
