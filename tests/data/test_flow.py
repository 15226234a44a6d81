"""Flow: its sign, its unit, its determinism, its pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vidpred.data.flow import flow_picture, flow_pictures, flow_to_previous

ALL = [("dis", "ultrafast"), ("dis", "fast"), ("dis", "medium"), ("dis", "fine"), ("farneback", "medium")]


def texture(size: int = 96) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return np.asarray(cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX))


def moving(count: int, *, right: int = 2, down: int = 1, size: int = 64) -> np.ndarray:
    """Frames whose content moves by so many pixels from each to the next."""
    image = texture(size + 2 * max(right, down) * count)
    corners = [((count - i) * down, (count - i) * right) for i in range(count)]
    return np.stack([image[y : y + size, x : x + size] for y, x in corners])


@pytest.mark.parametrize(("method", "preset"), ALL)
def test_flow_leads_back_to_the_frame_before(method: str, preset: str) -> None:
    frames = moving(2, right=3, down=1)
    flow = flow_to_previous(frames, method=method, preset=preset)
    assert flow.shape == (1, 2, 64, 64)
    assert flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow, axis=(0, 2, 3)), [-3, -1], atol=0.15)
    np.testing.assert_array_equal(flow, flow_to_previous(frames, method=method, preset=preset))


def test_flow_over_an_interval_is_that_of_every_so_many_frames() -> None:
    frames = moving(7)
    flow = flow_to_previous(frames, interval=3)
    assert flow.shape == (4, 2, 64, 64)
    for i in range(4):
        np.testing.assert_array_equal(flow[i : i + 1], flow_to_previous(frames[[i, i + 3]]))


@pytest.mark.parametrize("method", ["dis", "farneback"])
def test_small_and_flat_frames_are_taken(method: str) -> None:
    image = texture()
    assert flow_to_previous(np.stack([image[:8, :9], image[:8, 1:10]]), method=method).shape == (1, 2, 8, 9)
    assert not flow_to_previous(np.full((3, 20, 20, 3), 77, np.uint8), method=method).any()


def test_other_input_is_refused() -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        flow_to_previous(np.zeros((2, 16, 16, 3)))
    with pytest.raises(ValueError, match="no flow 'dis' with preset 'slow'"):
        flow_to_previous(np.zeros((2, 16, 16, 3), np.uint8), preset="slow")
    with pytest.raises(ValueError, match="no flow 'raft'"):
        flow_to_previous(np.zeros((2, 16, 16, 3), np.uint8), method="raft")
    with pytest.raises(ValueError, match="no flow over 2 of 2 frames"):
        flow_to_previous(np.zeros((2, 16, 16, 3), np.uint8), interval=2)
    with pytest.raises(ValueError, match=r"expected \(2, H, W\)"):
        flow_picture(np.zeros((16, 16, 2)))


def test_the_colour_wheel() -> None:
    def colour(x: float, y: float) -> list[int]:
        return flow_picture(np.array([x, y], np.float32)[:, None, None], largest=4)[0, 0].tolist()

    assert colour(0, 0) == [255, 255, 255]
    assert colour(4, 0) == colour(40, 0) == [255, 0, 0]
    assert colour(-4, 0) == [0, 255, 255]
    assert colour(2, 0) == [255, 128, 128]
    assert len({tuple(colour(4 * np.cos(a), 4 * np.sin(a))) for a in np.linspace(0, 6, 24)}) == 24


def test_pictures_show_where_things_go() -> None:
    still = np.repeat(moving(2)[:1], 3, axis=0)
    frames = np.concatenate([still, moving(2, right=3, down=1)])
    dx, dy, colour = flow_pictures(frames)
    assert dx.shape == dy.shape == (64, 64)
    assert colour.shape == (64, 64, 3)
    assert dx.dtype == dy.dtype == colour.dtype == np.uint8
    assert np.median(dx) > np.median(dy) + 40 > 128 + 40  # to the right, and a little down
    assert np.median(colour[..., 0]) == 255
    assert np.median(colour[..., 2]) < 80
    for picture, blank in zip(flow_pictures(still), (128, 128, 255), strict=True):
        assert (picture == blank).all()
