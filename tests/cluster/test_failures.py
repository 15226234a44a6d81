"""Why a trial broke, in one line that says what to do."""

from __future__ import annotations

import pytest
import torch
from ray.exceptions import OutOfMemoryError, RayActorError

from vidpred.cluster.failures import in_words
from vidpred.errors import UserError


def torch_s_own() -> RuntimeError:
    try:
        torch.empty(2**48)
    except RuntimeError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("the loss has not been finite for 20 steps"), "the loss has not been finite for 20 steps"),
        (ValueError("no good\n  at all"), "ValueError: no good at all"),
        (KeyError(), "KeyError"),
        (MemoryError(), "out of memory: lower train.batch_size or resources.trials_at_once (MemoryError)"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory on the GPU: lower train.batch_size"),
        (torch_s_own(), "out of memory: lower train.batch_size"),
        (OutOfMemoryError("killed"), "out of memory: Ray's memory monitor ended its worker"),
        (RayActorError(), "its worker or machine died"),
        (RayActorError(error_msg="The worker died: SIGKILL, perhaps by the OOM killer"), "its worker or machine died"),
    ],
)
def test_a_failure_is_one_line(error: Exception, said: str) -> None:
    told = in_words(error)
    assert told.startswith(said)
    assert "\n" not in told
    assert len(told) <= 310


def test_what_the_monitor_did_is_known_of_a_worker_s_worker_too() -> None:
    class TrainingFailedError(Exception):
        worker_failures = {1: OutOfMemoryError("low on memory"), 2: ValueError("lost peer")}  # noqa: RUF012

    assert in_words(TrainingFailedError()).startswith("out of memory: Ray's memory monitor")
