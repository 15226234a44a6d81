"""What nodes do and what travels, without a cluster; tests/e2e/test_ray_transcode.py has one."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vidpred.cluster import carriers
from vidpred.cluster.carriers import ThroughStorage, Work, made_through_ray, made_through_storage
from vidpred.config import TranscodeParams
from vidpred.data import encode, launch
from vidpred.data.clip_cache import Plan, Unit, local_engine
from vidpred.errors import UserError
from vidpred.workspace import file_sha256


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three GIFs and a text, as fetch names them."""
    folder = tmp_path_factory.mktemp("files")
    for seed in range(3):
        grey = np.random.default_rng(seed).integers(0, 8, (7 + seed, 24, 24, 1), dtype=np.uint8) * 30
        encode.write_gif(folder / "new.gif", grey.repeat(3, axis=-1), 10)
        (folder / "new.gif").rename(folder / f"{file_sha256(folder / 'new.gif')}.gif")
    (folder / "new.gif").write_text("hello")
    (folder / "new.gif").rename(folder / f"{file_sha256(folder / 'new.gif')}.gif")
    return folder


@pytest.fixture
def units(files: Path) -> list[Unit]:
    return [Unit(path.stem, path.name, None, None) for path in sorted(files.iterdir())]


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.of(TranscodeParams(height=24, width=24), launch.ffmpeg_version())


@pytest.fixture
def local(files: Path, units: list[Unit], plan: Plan, tmp_path: Path) -> Path:
    """What the local engine keeps."""
    list(local_engine(1)([units], files, tmp_path / "local", plan))
    return tmp_path / "local"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_task_gives_what_the_local_engine_keeps(files: Path, units: list[Unit], plan: Plan, local: Path) -> None:
    names = [unit.file for unit in units]
    made, *frames = made_through_ray(Work(units, plan), names, *(np.fromfile(files / name, np.uint8) for name in names))
    for unit, result in zip(units, frames, strict=True):
        note, text = made[unit.key]
        assert text == (local / f"{unit.key}.json").read_text()
        if "failed" in note:
            assert result is None
        else:
            assert result.tobytes() == (local / f"{unit.key}.rgb").read_bytes()


def test_through_a_storage_comes_what_the_local_engine_keeps(
    files: Path, units: list[Unit], plan: Plan, local: Path, tmp_path: Path
) -> None:
    storage, store = tmp_path / "storage", tmp_path / "store"
    way = ThroughStorage(str(storage), files, store, plan)
    assert list(way.found(units)) == []
    (batch,) = way.ready([units])
    assert contents(storage / "files") == contents(files)
    notes = made_through_storage(Work(batch, plan), way.url)
    assert contents(storage / "clips" / plan.key) == contents(local)
    (found,) = way.found(units)
    assert found == {key: note for key, (note, _) in notes.items()}
    assert contents(store) == contents(local)


def test_what_is_half_in_the_storage_is_done_again(
    files: Path, units: list[Unit], plan: Plan, local: Path, tmp_path: Path
) -> None:
    storage = tmp_path / "storage"
    frames = shutil.copytree(local, storage / "clips" / plan.key)
    first, second = sorted(frames.glob("*.rgb"))[:2]
    first.write_bytes(first.read_bytes()[:-1])
    second.with_suffix(".json").unlink()
    way = ThroughStorage(str(storage), files, tmp_path / "store", plan)
    (found,) = way.found(units)
    assert set(found) == {unit.key for unit in units} - {first.stem, second.stem}
    assert not (tmp_path / "store" / f"{first.stem}.json").exists()
    # sources too: one cut short is sent again, the others are not
    list(way.ready([units]))
    times = {path.name: path.stat().st_mtime_ns for path in (storage / "files").iterdir()}
    broken = storage / "files" / units[0].file
    broken.write_bytes(b"1")
    list(way.ready([units]))
    again = {path.name: path.stat().st_mtime_ns for path in (storage / "files").iterdir()}
    assert {name for name in times if times[name] != again[name]} == {broken.name}
    assert contents(storage / "files") == contents(files)


def test_a_source_that_is_not_what_its_name_says_is_refused(
    files: Path, units: list[Unit], plan: Plan, tmp_path: Path
) -> None:
    way = ThroughStorage(str(tmp_path / "storage"), files, tmp_path / "store", plan)
    list(way.ready([units]))
    victim = tmp_path / "storage" / "files" / units[1].file
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=rf"node {socket.gethostname()} .+/{units[1].file} is not the file of its name"):
        made_through_storage(Work(units, plan), way.url)


def test_another_version_on_a_node_is_refused(
    units: list[Unit], plan: Plan, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(units[:1], plan)
    monkeypatch.setattr(carriers, "__version__", "0.0.1")
    with pytest.raises(UserError, match=r"node .+: this machine has vidpred 0\.0\.1, the driver .+: install the same"):
        made_through_ray(work, [units[0].file], np.fromfile(files / units[0].file, np.uint8))


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may become larger than a mebibyte: as on a full disk, but for the reason."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_is_told_with_the_name_of_the_node(plan: Plan) -> None:
    unit = Unit("0" * 64, "video.mp4", None, None)
    with pytest.raises(UserError, match=rf"node {socket.gethostname()} \(.+\): nothing more can be written \(File too"):
        made_through_ray(Work([unit], plan), [unit.file], np.zeros(2 << 20, np.uint8))


def test_what_a_killed_worker_left_is_removed(
    units: list[Unit], plan: Plan, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, used, new = (tmp_path / f"vidpred-task-{name}" for name in ("left", "used", "new"))
    for folder in (left, used, new):
        folder.mkdir()
        (folder / "lock").touch()
        if folder is not new:
            os.utime(folder, (0, 0))
    with (used / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made_through_ray(Work(units[:1], plan), [units[0].file], np.fromfile(files / units[0].file, np.uint8))
    assert sorted(tmp_path.glob("vidpred-*")) == [new, used]
