"""A cluster of several nodes on this machine: real raylets, token authentication, ports of its own.

Several live side by side; what is known of them is in `VIDPRED_HOME/cluster/` (local_state.py). All that one starts
carries its folder of sockets in `VIDPRED_CLUSTER`, so that `down` finds what is left even where a parent was killed.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import httpx
import psutil

from vidpred.cluster.guard import headers
from vidpred.cluster.local_state import LocalCluster, NodeProcess, clusters_folder, remembered
from vidpred.errors import UserError
from vidpred.workspace import cores, home, locked

_MARK = "VIDPRED_CLUSTER"
_LONGEST = 20
"""Characters of the folder for temporary files: we and Ray add some 80, and a socket's path may have 107."""
_GRACE_SECONDS = 15
_TRIES = 3
"""To start a node."""
_STORE_SHARE = 0.25
"""Of the machine's memory, for the object stores of all nodes together."""
_LEAST_STORE = 100 << 20


def up(name: str, *, nodes: int, cpus_per_node: int | None = None, seconds: float = 180) -> LocalCluster:
    """Starts what is missing of a cluster and waits until all its nodes are there.

    Args:
        name: Of the cluster.
        nodes: How many, the head among them.
        cpus_per_node: Trials that Ray puts on a node at once; by default this machine's cores, shared out.
        seconds: To wait for it.

    Raises:
        UserError: the name is no good, a node ends or does not come in time (what was started is stopped again), or
            there is a cluster of this name with more nodes or other CPUs.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", name):
        raise UserError(f"a cluster is not called {name!r}: take up to 31 small letters, digits and dashes")
    with locked(clusters_folder()):
        cluster = next((one for one in remembered() if one.name == name), None)
        if cluster and (not cluster.nodes or cluster.nodes[0].process() is None):
            _end(cluster)  # nothing works without its head
            cluster = None
        new = cluster is None
        if cluster is None:
            cluster = _planned(name, cpus_per_node or max(1, cores() // nodes))
        elif len(cluster.nodes) > nodes or cpus_per_node not in (None, cluster.cpus_per_node):
            raise UserError(
                f"cluster {name} is up with {len(cluster.nodes)} nodes of {cluster.cpus_per_node} CPUs: "
                "`vidpred cluster down` first, or give another --name"
            )
        deadline = time.monotonic() + seconds
        try:
            # one after the other: several at once would take longer to start than Ray waits, on a small machine
            for number in range(nodes):
                if number >= len(cluster.nodes) or cluster.nodes[number].process() is None:
                    _add(cluster, number, nodes, deadline, seconds)
        except BaseException:
            if new:
                _end(cluster, keep_logs=True)
            raise
    return cluster


def down(name: str) -> int:
    """Ends every process of a cluster and removes its files; returns how many processes there were.

    Raises:
        UserError: there is none of this name.
    """
    with locked(clusters_folder()):
        cluster = next((one for one in remembered() if one.name == name), None)
        if cluster is None:
            known = ", ".join(one.name for one in remembered())
            raise UserError(
                f"no cluster {name} was started here ({f'there are: {known}' if known else 'there is none'})"
            )
        return _end(cluster)


def nodes_of(cluster: LocalCluster) -> list[dict[str, Any]] | None:
    """The nodes as Ray sees them, the dead ones too: `node_id`, `node_name`, `state`, `resources_total` and more.

    None: it does not answer.
    """
    try:
        answer = httpx.get(
            f"{cluster.job_server}/api/v0/nodes",
            params={"limit": 1000},
            headers=headers((cluster.folder / "token").read_text()),
            timeout=10,
        )
        listed: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]["result"]
    except (httpx.HTTPError, OSError, KeyError, TypeError, ValueError):
        return None
    return listed


def _planned(name: str, cpus_per_node: int) -> LocalCluster:
    folder = clusters_folder() / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text(secrets.token_hex(32))
    below = tempfile.gettempdir()
    temporary = tempfile.mkdtemp(prefix="vp-", dir=below if len(below) <= _LONGEST else "/tmp")
    port, job_port = _free_ports(2)
    return LocalCluster(
        name=name, port=port, job_port=job_port, temporary=temporary, cpus_per_node=cpus_per_node
    )  # fmt: skip


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("", 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


class _EndedError(UserError):
    """A node ended as it started."""


def _add(cluster: LocalCluster, number: int, nodes: int, deadline: float, seconds: float) -> None:
    """Starts one node and waits for it; ends it where it does not come."""
    earlier = {node["node_id"] for node in (number and nodes_of(cluster)) or []}
    for tries_left in reversed(range(_TRIES)):
        node = _start(cluster, number, nodes)
        cluster.nodes[number : number + 1] = [node]
        cluster.save()
        try:
            node.node_id = _came(cluster, node, earlier, deadline, seconds)
            break
        except _EndedError:  # Ray gives a raylet 30 seconds, too few where the machine is busy
            if not tries_left or time.monotonic() > deadline:
                raise
        except BaseException:
            if process := node.process():
                _stop([process, *process.children(recursive=True)], [process])
            raise
    cluster.save()


def _start(cluster: LocalCluster, number: int, nodes: int) -> NodeProcess:
    name = "head" if number == 0 else f"node-{number}"
    memory = psutil.virtual_memory().total
    store = max(_LEAST_STORE, int(memory * _STORE_SHARE / nodes))
    options = {
        "node-name": name,
        "node-ip-address": "127.0.0.1",
        "num-cpus": cluster.cpus_per_node,
        "memory": int(memory * (1 - _STORE_SHARE) / nodes),
        "object-store-memory": store,
        "min-worker-port": 0,  # any: the default ranges of several nodes would meet
        "max-worker-port": 0,
        "dashboard-agent-listen-port": 0,
        "include-log-monitor": "false",
        # of its own: nodes that share one unpack the code of jobs over each other
        "temp-dir": f"{cluster.temporary}/{number}",
    }
    if number == 0:
        (client_port,) = _free_ports(1)
        options |= {
            "port": cluster.port,
            "dashboard-host": "127.0.0.1",
            "dashboard-port": cluster.job_port,
            "ray-client-server-port": client_port,
        }
    else:
        options["address"] = cluster.address
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *(["--head"] if number == 0 else [])]
    with (cluster.folder / f"{name}.log").open("wb") as log_file:
        started = subprocess.Popen(
            [*command, *(f"--{key}={value}" for key, value in options.items())],
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            env=_environment(cluster),
            cwd=cluster.folder,
            start_new_session=True,  # a Ctrl-C is not meant for it
        )
    return NodeProcess(name, started.pid, psutil.Process(started.pid).create_time())


def _environment(cluster: LocalCluster) -> Mapping[str, str]:
    hidden = ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_MODE", "RAY_JOB_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    # programs of this environment first: jobs say `python`
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    exports = {key: value for key, value in cluster.exports().items() if key != "RAY_ADDRESS"}
    return kept | exports | {
        "PATH": path,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "VIDPRED_HOME": str(home()),
        _MARK: cluster.temporary,
    }  # fmt: skip


def _came(cluster: LocalCluster, node: NodeProcess, earlier: Set[str], deadline: float, seconds: float) -> str:
    """Waits for a node; returns its id, which is not one of the earlier."""
    while True:
        if node.process() is None:
            said = _last_line(cluster.folder / f"{node.name}.log")
            raise _EndedError(
                f"{node.name} of cluster {cluster.name} ended as it started ({said}): see {cluster.folder}"
            )
        for found in nodes_of(cluster) or []:
            if (found["node_name"], found["state"]) == (node.name, "ALIVE") and found["node_id"] not in earlier:
                return str(found["node_id"])
        if time.monotonic() > deadline:
            raise UserError(
                f"cluster {cluster.name} did not start within {seconds:g} s ({node.name} is not there): give it longer "
                f"with --timeout, or fewer --nodes; Ray's words are in {cluster.folder}"
            )
        time.sleep(0.3)


def _last_line(log_file: Path) -> str:
    lines = [line.strip() for line in log_file.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"


def _end(cluster: LocalCluster, *, keep_logs: bool = False) -> int:
    family = _family(cluster)
    _stop(family, [process for node in reversed(cluster.nodes) if (process := node.process())])  # the head last
    _stop(_family(cluster), [])  # what was started meanwhile
    shutil.rmtree(cluster.temporary, ignore_errors=True)
    if keep_logs:
        for name in ("state.json", "token"):
            (cluster.folder / name).unlink(missing_ok=True)
    else:
        shutil.rmtree(cluster.folder, ignore_errors=True)
    return len(family)


def _stop(family: list[psutil.Process], parents: list[psutil.Process]) -> None:
    """Asks parents to end with their families, and ends by force what is left."""
    for process in parents:
        process.send_signal(signal.SIGTERM)
    left = psutil.wait_procs(family, timeout=_GRACE_SECONDS)[1] if parents else family
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=_GRACE_SECONDS)


def _family(cluster: LocalCluster) -> list[psutil.Process]:
    """All processes of a cluster, by what they inherited."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(_MARK) == cluster.temporary:
                found.append(process)
        except (psutil.Error, OSError):  # gone, or somebody else's
            continue
    return found
