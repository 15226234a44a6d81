"""CPUs and GPUs that are set aside for nobody.

Ray Train sets aside what its workers take in a placement group of its controller. When a trial ends while its workers
train, the controller and the workers end with it, but not that group. Ray has a cleaner for this, which asks the
dashboard, and we start none; so the driver asks the cluster itself.
"""

from __future__ import annotations

import time
from typing import Any

import ray
from ray._private.state import state
from ray.core.generated import gcs_pb2
from ray.util.placement_group import PlacementGroup, remove_placement_group

_LOOK_SECONDS = 1.0


class Orphans:
    """Of this process's job."""

    def __init__(self) -> None:
        self._looked = 0.0

    def release(self, *, now: bool = False) -> int:
        """Frees what actors that are dead had set aside; how many groups. Looks once a second, or `now`."""
        if not now and time.monotonic() - self._looked < _LOOK_SECONDS:
            return 0
        self._looked = time.monotonic()
        job = ray.get_runtime_context().job_id.binary()
        found = [group for group in _groups() if group.creator_job_id == job and _is_orphan(group)]
        for group in found:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
        return len(found)


def _is_orphan(group: Any) -> bool:
    # of what the driver itself sets aside Ray also says that no actor lives that did
    return bool(group.creator_actor_dead) and not ray.ActorID(group.creator_actor_id).is_nil()


def _groups() -> list[Any]:
    """Those that are not removed."""
    known: Any = gcs_pb2.PlacementGroupTableData  # type: ignore[attr-defined]  # generated when it is imported
    groups = [known.FromString(raw) for raw in state._connect_and_get_accessor().get_placement_group_table()]
    return [group for group in groups if group.state != known.REMOVED and not group.is_detached]
