"""Flow: its sign, its unit, its determinism."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vidpred.data.flow import flow_to_previous


def texture(size: int = 96) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return np.asarray(cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX))


@pytest.mark.parametrize("preset", ["ultrafast", "fast", "medium"])
def test_flow_leads_back_to_the_frame_before(preset: str) -> None:
    image = texture()
    frames = np.stack([image[16:80, 16:80], image[15:79, 13:77]])  # what is seen moves right by 3, down by 1
    flow = flow_to_previous(frames, preset=preset)
    assert flow.shape == (1, 2, 64, 64)
    assert flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow, axis=(0, 2, 3)), [-3, -1], atol=0.15)
    np.testing.assert_array_equal(flow, flow_to_previous(frames, preset=preset))


def test_small_frames_are_taken() -> None:
    image = texture()
    assert flow_to_previous(np.stack([image[:8, :9], image[:8, 1:10]])).shape == (1, 2, 8, 9)


def test_other_input_is_refused() -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        flow_to_previous(np.zeros((2, 16, 16, 3)))
    with pytest.raises(ValueError, match="no flow 'dis' with preset 'slow'"):
        flow_to_previous(np.zeros((2, 16, 16, 3), np.uint8), preset="slow")
