"""The models that people may choose from, each the newest of its name: a new champion is taken up while serving.

An address such as `models:/vidpred@champion`, or a folder that training writes, may come to mean other weights. A
watcher asks now and then; the old ones serve until the new are loaded and have predicted something, and stay where the
new ones are broken. Weights and model.json are all that is read: code that lies beside them is never run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vidpred.errors import UserError
from vidpred.models.files import INFO
from vidpred.serving.classify import ClipClassifier
from vidpred.serving.load import load
from vidpred.serving.predictor import FramePredictor
from vidpred.serving.web.refusal import Refusal
from vidpred.tracking.card import read_card
from vidpred.tracking.download import download
from vidpred.tracking.opening import called
from vidpred.types import Task
from vidpred.workspace import file_sha256

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """One version of a model, ready."""

    model: FramePredictor | ClipClassifier
    folder: Path
    revision: str
    """sha256 of its model.json, which holds that of the weights."""
    since: float
    """When it was loaded, in seconds since 1970."""

    @property
    def info(self) -> dict[str, Any]:
        """Its model.json."""
        return self.model.info

    @property
    def task(self) -> Task:
        """What it was trained for."""
        return self.model.task

    @property
    def fps(self) -> float | None:
        """Frames per second of the clips that it was trained on; None where model.json does not tell."""
        return self.model.fps

    @property
    def predictor(self) -> FramePredictor:
        """It, where it predicts.

        Raises:
            Refusal: it classifies.
        """
        if isinstance(self.model, FramePredictor):
            return self.model
        raise Refusal(422, "other_task", "this model says which class a clip is of: ask /api/classify")

    @property
    def classifier(self) -> ClipClassifier:
        """It, where it classifies.

        Raises:
            Refusal: it predicts.
        """
        if isinstance(self.model, ClipClassifier):
            return self.model
        raise Refusal(422, "other_task", "this model predicts what follows: ask /api/predict")

    @property
    def weights(self) -> str:
        """The first digits of the weights' sha256."""
        return str(self.info.get("weights_sha256", ""))[:12]


class Place:
    """A name on the shelf, and what stands there now."""

    def __init__(self, address: str, title: str, loaded: Loaded) -> None:
        self.address, self.title, self.loaded = address, title, loaded
        self.problem = ""
        """Why the newest version is not served, or is not known; empty where all is well."""
        self.checked = time.time()
        """When it was last asked for."""


class Shelf:
    """All of them, and the thread that watches."""

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        device: str,
        poll_seconds: float,
        changed: Callable[[Place], object],
        failed: Callable[[Place], object],
    ) -> None:
        """Loads every model.

        Args:
            addresses: As `FramePredictor.load` takes them.
            device: Likewise.
            poll_seconds: Between two looks.
            changed: Is told of a version taken up.
            failed: Is told of one refused.

        Raises:
            UserError: one of them cannot be had.
        """
        self._device, self._poll_seconds = device, poll_seconds
        self._changed, self._failed = changed, failed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="models", daemon=True)
        titles = _titles(addresses)
        self.places = {title: Place(address, title, self._load(address)) for address, title in titles.items()}
        for place in self.places.values():
            changed(place)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the watch, soon: a look that is under way goes on, and is for nothing."""
        self._stop.set()

    @property
    def first(self) -> Place:
        """What those get who do not choose."""
        return next(iter(self.places.values()))

    def first_of(self, kind: Literal["predict", "classify"]) -> Place | None:
        """What those get who do not choose, of a task; None: there is no model for it."""
        return next((place for place in self.places.values() if place.loaded.task.kind == kind), None)

    def look(self) -> None:
        """Asks what each name means now, and takes up what is new."""
        for place in self.places.values():
            self._look(place)

    def _watch(self) -> None:
        while not self._stop.wait(self._poll_seconds):
            self.look()

    def _look(self, place: Place) -> None:
        try:
            folder = download(place.address)
            revision = file_sha256(folder / INFO)
            if revision != place.loaded.revision:
                fresh = self._loaded(place.address, folder, revision)
                log.info(
                    "%s: weights %s serve from now on, %s before", place.title, fresh.weights, place.loaded.weights
                )
                place.loaded = fresh
                self._changed(place)
            elif place.problem:
                log.info("%s: all is well again", place.title)
            place.problem = ""
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the new one, the old one serves
            problem = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            if problem != place.problem:
                log.warning("%s: weights %s go on serving: %s", place.title, place.loaded.weights, problem)
                place.problem = problem
                self._failed(place)
        place.checked = time.time()

    def _load(self, address: str) -> Loaded:
        folder = download(address)
        return self._loaded(address, folder, file_sha256(folder / INFO))

    def _loaded(self, address: str, folder: Path, revision: str) -> Loaded:
        with called(address, folder):
            model = load(folder, device=self._device)
        task = model.task
        if task.between:
            raise UserError(
                f"{address} puts frames between others, and the page shows what follows a clip: "
                f"`vidpred predict {address} clip.gif -o out.gif` shows what it makes"
            )
        still = np.zeros(((task.context - 1) * task.interval + 1, task.height, task.width, 3), np.uint8)
        try:
            if isinstance(model, ClipClassifier):
                model.scores(still)
            else:
                model.predict(still, 1)
        except (RuntimeError, ValueError, KeyError, IndexError, TypeError) as error:
            does = "classify" if isinstance(model, ClipClassifier) else "predict"
            raise UserError(f"{address} does not {does}: {error}") from None
        return Loaded(model, folder, revision, time.time())


def _titles(addresses: Sequence[str]) -> dict[str, str]:
    """A name for each address that tells strangers nothing of this machine's folders."""
    titles: dict[str, str] = {}
    for address in dict.fromkeys(addresses):
        if ":/" in address:
            title = address
        else:
            parts = Path(address).expanduser().resolve().parts[1:] or (address,)
            taken = set(titles.values())
            title = next(("/".join(parts[-n:]) for n in range(2, len(parts) + 1) if "/".join(parts[-n:]) not in taken),
                         "/".join(parts))  # fmt: skip
        titles[address] = title
    return titles


def picture(loaded: Loaded, name: str) -> Path | None:
    """A picture of a model's card, where it has it: of the kind that its name says, and small."""
    try:
        known = read_card(loaded.folder).get("pictures", ())
    except UserError:
        return None
    return loaded.folder / name if name in known else None


def facts(loaded: Loaded) -> dict[str, Any]:
    """What is known of a model: its `card`, or None, and what its `model.json` tells. A stranger's words."""
    try:
        card = read_card(loaded.folder)
    except UserError as error:
        log.warning("%s", error)
        card = {}
    return {"card": card or None, "model": loaded.info}
