"""Moving MNIST: idx files read or refused, and clips that move as the protocol says."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from vidpred.data import mnist
from vidpred.data.mnist import Digits, MovingMnistRecipe, planned, positions, read_digits, read_idx, recipe_of, rendered
from vidpred.errors import UserError


def recipe(**numbers: Any) -> MovingMnistRecipe:
    return MovingMnistRecipe.model_validate({"recipe": "moving_mnist", "images": "images", **numbers})


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def squares() -> Digits:
    """Digits of 28x28 that are one colour each, so that their borders can be found."""
    images = np.broadcast_to(np.arange(55, 255, dtype=np.uint8)[:, None, None], (200, 28, 28))
    return Digits(images, np.arange(200, dtype=np.uint8) % 10)


def test_idx_files_of_mnist(shared_data: Path) -> None:
    folder = shared_data / "mnist"
    if not folder.is_dir():
        pytest.skip("no idx files of MNIST there")
    images = read_idx(folder / "t10k-images-idx3-ubyte.gz", 3)
    labels = read_idx(folder / "t10k-labels-idx1-ubyte.gz", 1)
    assert (images.shape, images.dtype, labels.shape) == ((10_000, 28, 28), np.uint8, (10_000,))
    np.testing.assert_array_equal(np.bincount(labels), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
    assert images.mean() == pytest.approx(33.79, abs=0.01)
    numbers = recipe(
        images=str(folder / "t10k-images-idx3-ubyte.gz"),
        labels=str(folder / "t10k-labels-idx1-ubyte.gz"),
        sequences=40,
        groups=10,
    )
    digits = read_digits(numbers, Path("elsewhere"))
    clips = planned(numbers, digits)
    assert clips[0].label == "".join(str(labels[row]) for row in clips[0].digits)
    for clip in clips[:3]:
        frames = rendered(numbers, clip, digits)
        assert frames.shape == (20, 64, 64)
        assert (np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2)) > 1).all()


def test_idx_files_packed_or_not(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 5, 5), np.uint8)
    (tmp_path / "images").write_bytes(idx(images))
    (tmp_path / "labels").write_bytes(gzip.compress(idx(np.arange(6, dtype=np.uint8))))
    digits = read_digits(recipe(labels="labels", size=16), tmp_path)
    np.testing.assert_array_equal(digits.images, images)
    assert digits.labels is not None
    np.testing.assert_array_equal(digits.labels, np.arange(6))


def test_several_idx_files_are_taken_one_after_the_other(tmp_path: Path) -> None:
    for number, count in enumerate((3, 4)):
        (tmp_path / f"images{number}").write_bytes(idx(np.full((count, 5, 5), number, np.uint8)))
        (tmp_path / f"labels{number}").write_bytes(idx(np.full(count, 7 + number, np.uint8)))
    (tmp_path / "larger").write_bytes(idx(np.zeros((2, 6, 6), np.uint8)))
    both = {"images": ["images0", "images1"], "size": 16}
    digits = read_digits(recipe(**both, labels=["labels0", "labels1"]), tmp_path)
    assert digits.images[:, 0, 0].tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert digits.labels is not None
    assert digits.labels.tolist() == [7, 7, 7, 8, 8, 8, 8]
    with pytest.raises(UserError, match="labels: labels0 has 3 labels for 7 images"):
        read_digits(recipe(**both, labels="labels0"), tmp_path)
    with pytest.raises(UserError, match="images: larger has digits of 6x6, and the first file 5x5"):
        read_digits(recipe(images=["images0", "larger"], size=16), tmp_path)


def test_a_folder_without_digits_has_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "t10k-images-idx3-ubyte.gz").write_bytes(b"")
    assert recipe_of(tmp_path) is None
    (tmp_path / "mine-images.idx3-ubyte").write_bytes(b"")
    found = recipe_of(tmp_path)
    assert found is not None
    assert (found["images"], found["labels"]) == (["mine-images.idx3-ubyte"], None)  # the labels are of others


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is no idx3-ubyte file: it begins with nothing"),
        (b"GIF89a", "is no idx3-ubyte file: it begins with 47 49 46 38"),
        (idx(np.zeros(9, np.uint8)), "is no idx3-ubyte file: it begins with 00 00 08 01"),
        (idx(np.zeros((2, 5, 5), np.int32), 0x0C), "is no idx3-ubyte file: it begins with 00 00 0c 03"),
        (idx(np.zeros((2, 5, 5), np.uint8))[:-1], "holds less than (2, 5, 5)"),
        (idx(np.zeros((2, 5, 5), np.uint8))[:10], "is damaged: "),
        (idx(np.zeros((2, 5, 5), np.uint8)) + b"\0", "holds more than (2, 5, 5)"),
        (idx(np.zeros((0, 5, 5), np.uint8)), "says that it holds (0, 5, 5)"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "more than 1000 bytes, or none"),
        (gzip.compress(idx(np.zeros((2, 5, 5), np.uint8)))[:-9], "is damaged: "),
        (gzip.compress(idx(np.zeros((2, 5, 5), np.uint8)))[:-8] + bytes(8), "cannot be read: CRC check failed"),
        (gzip.compress(idx(np.zeros((2, 5, 5), np.uint8)) + bytes(50 << 20)), "holds more than (2, 5, 5)"),
        (b"\x1f\x8b\x08" + b"\xff" * 20, "is damaged: "),
    ],
)
def test_damaged_idx_files(tmp_path: Path, data: bytes, told: str) -> None:
    (tmp_path / "images").write_bytes(data)
    with pytest.raises(UserError) as error:
        read_idx(tmp_path / "images", 3, 1000)
    assert str(error.value).startswith(f"{tmp_path / 'images'} ")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_recipes_that_do_not_fit_their_files(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(idx(np.zeros((6, 28, 28), np.uint8)))
    (tmp_path / "oblong").write_bytes(idx(np.zeros((6, 28, 27), np.uint8)))
    (tmp_path / "labels").write_bytes(idx(np.zeros(5, np.uint8)))

    def told(**numbers: Any) -> str:
        with pytest.raises(UserError) as error:
            read_digits(recipe(**numbers), tmp_path)
        return str(error.value)

    assert "cannot be read: No such file" in told(images="none")
    assert told(images="oblong") == "images: oblong has digits of 28x27: they cannot move in 64"
    assert told(size=28) == "images: images has digits of 28x28: they cannot move in 28"
    assert told(labels="labels") == "labels: labels has 5 labels for 6 images"
    assert told(groups=4) == "groups: 4 pools of 6 digits: some have fewer than the 2 of a clip"
    assert told(groups=3, sequences=2) == "groups: 3 are more than the 2 sequences"
    for wrong in ({"recipe": "moving_digits"}, {"digitz": 2}, {"step": -1}, {"groups": 2}, {"frames": 1}):
        with pytest.raises(ValidationError):
            recipe(**wrong)


def test_digits_move_by_the_step_and_turn_at_the_borders() -> None:
    rng = np.random.default_rng(0)
    straight = turned = 0
    for _ in range(300):
        path = positions(rng, 20, 36, 3.6)
        assert path.shape == (20, 2)
        assert path.min() >= 0
        assert path.max() <= 36
        inside = ((path > 0) & (path < 36)).all(axis=1)
        steps = np.diff(path, axis=0)
        free = inside[1:] & inside[:-1]
        np.testing.assert_allclose(np.linalg.norm(steps[free], axis=1), 3.6)
        straight += free.sum()
        # at a border the digit stops, and goes back with the speed that it came with
        for axis in (0, 1):
            at = (
                np.flatnonzero(((path[1:-1, axis] == 0) | (path[1:-1, axis] == 36)) & (np.abs(steps[1:, axis]) > 0)) + 1
            )
            turned += len(at)
            assert (steps[at, axis] * np.where(path[at, axis] == 0, 1, -1) > 0).all()
        lengths = np.abs(steps[free])
        assert np.allclose(lengths, lengths[0]) if len(lengths) else True
    assert straight > 1000
    assert turned > 300


def test_digits_start_anywhere_and_go_in_any_direction() -> None:
    rng = np.random.default_rng(0)
    paths = np.stack([positions(rng, 3, 36, 3.6) for _ in range(4000)])
    np.testing.assert_allclose(paths[:, 0].mean(axis=0), 18, atol=0.7)
    np.testing.assert_allclose(paths[:, 0].std(axis=0), 36 / 12**0.5, atol=0.7)
    angles = np.arctan2(*(paths[:, 1] - paths[:, 0])[((paths > 0) & (paths < 36)).all(axis=(1, 2))].T)
    counts, _ = np.histogram(angles, 8, (-np.pi, np.pi))
    assert counts.min() > 0.7 * counts.mean()


def test_positions_are_cut_and_the_brighter_pixel_is_seen(squares: Digits) -> None:
    numbers = recipe(sequences=30)
    overlaps = 0
    for clip in planned(numbers, squares):
        frames = rendered(numbers, clip, squares)
        assert (frames.dtype, frames.shape) == (np.uint8, (20, 64, 64))
        dim, bright = sorted(int(squares.images[row, 0, 0]) for row in clip.digits)
        for frame in frames:
            rows, columns = np.nonzero(frame == bright)
            assert (np.ptp(rows), np.ptp(columns), len(rows)) == (27, 27, 28 * 28)  # whole, on whole pixels
            assert set(np.unique(frame)) <= {0, dim, bright}
            overlaps += np.count_nonzero(frame == dim) < 28 * 28
    assert 100 < overlaps < 600


def test_the_seed_decides_every_frame(squares: Digits) -> None:
    numbers = recipe(sequences=12, seed=7)
    clips = planned(numbers, squares)
    assert clips == planned(numbers, squares)
    first = [rendered(numbers, clip, squares) for clip in clips]
    for clip, frames in zip(reversed(clips), reversed(first), strict=True):
        np.testing.assert_array_equal(rendered(numbers, clip, squares), frames)
    assert len({frames.tobytes() for frames in first}) == 12
    other = recipe(sequences=12, seed=8)
    assert [clip.digits for clip in planned(other, squares)] != [clip.digits for clip in clips]
    # a longer set begins with the shorter one
    assert planned(recipe(sequences=20, seed=7), squares)[:12] == clips


def test_groups_share_no_digit(squares: Digits) -> None:
    numbers = recipe(sequences=300, groups=10)
    clips = planned(numbers, squares)
    of_digit: dict[int, set[str]] = {}
    for clip in clips:
        assert len(set(clip.digits)) == 2
        assert clip.label == "".join(str(row % 10) for row in clip.digits)
        for row in clip.digits:
            of_digit.setdefault(row, set()).add(clip.group)
    assert all(len(groups) == 1 for groups in of_digit.values())
    counts = {group: sum(clip.group == group for clip in clips) for group in {clip.group for clip in clips}}
    assert list(counts.values()) == [30] * 10
    alone = planned(recipe(sequences=300), Digits(squares.images, None))
    assert len({clip.group for clip in alone}) == len({clip.name for clip in alone}) == 300
    assert {clip.label for clip in alone} == {""}


def test_a_clip_is_written_as_an_array(tmp_path: Path, squares: Digits) -> None:
    numbers = recipe(sequences=3, digits=3, frames=5, size=48)
    clip = planned(numbers, squares)[2]
    frames = rendered(numbers, clip, squares)
    mnist.write_clip(tmp_path / clip.name, frames)
    assert clip.name == "mnist_000002.npy"
    np.testing.assert_array_equal(np.load(tmp_path / clip.name), frames)
    assert frames.shape == (5, 48, 48)
