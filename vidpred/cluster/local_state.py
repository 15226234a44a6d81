"""What is remembered of clusters on this machine, so that another process finds and ends them.

VIDPRED_HOME/cluster/<name>/
    state.json      addresses, and the processes by pid and start time
    token           what the cluster wants of whoever speaks with it; mode 600
    head.log, node-<n>.log
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from vidpred.workspace import home, write_json


@dataclass
class NodeProcess:
    """`ray start --block` of a node."""

    name: str
    pid: int
    started: float
    """Seconds since the epoch: a pid is used again some day."""
    node_id: str = ""
    """Ray's; "" until it is there."""

    def process(self) -> psutil.Process | None:
        """None: it is gone."""
        try:
            found = psutil.Process(self.pid)
            alive = abs(found.create_time() - self.started) < 1 and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return found if alive else None


@dataclass
class LocalCluster:
    """What is remembered of a cluster."""

    name: str
    port: int
    """Of the control service."""
    job_port: int
    """Of the dashboard and job server."""
    temporary: str
    """Sockets and logs of Ray, a folder for each node."""
    cpus_per_node: int
    nodes: list[NodeProcess] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def job_server(self) -> str:
        return f"http://127.0.0.1:{self.job_port}"

    @property
    def folder(self) -> Path:
        return clusters_folder() / self.name

    def exports(self) -> dict[str, str]:
        """The environment in which programs find the cluster."""
        return {
            "RAY_ADDRESS": self.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
        }

    def save(self) -> None:
        write_json(self.folder / "state.json", asdict(self))


def clusters_folder() -> Path:
    return home() / "cluster"


def remembered() -> list[LocalCluster]:
    """The clusters of this VIDPRED_HOME, by name."""
    found = []
    for path in sorted(clusters_folder().glob("*/state.json")):
        known = json.loads(path.read_text())
        found.append(LocalCluster(**known | {"nodes": [NodeProcess(**node) for node in known["nodes"]]}))
    return found
