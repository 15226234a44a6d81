"""`vidpred cluster`: a cluster of several nodes on this machine, and jobs on one elsewhere."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vidpred.cluster.local_state import LocalCluster

cluster_app = typer.Typer(
    name="cluster",
    help="Start, look at and end a Ray cluster of several nodes on this machine; stop a sweep that runs on a cluster "
    "elsewhere. Clusters of real machines: docs/clusters.md.",
    epilog='Examples: `eval "$(vidpred cluster up --nodes 3)" && dvc repro tune`; `vidpred cluster status`; '
    "`vidpred cluster down`",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
Name = Annotated[str, typer.Option("--name", help="Of the cluster; several live side by side.")]


@cluster_app.command(
    epilog='Examples: `vidpred cluster up --nodes 3`; `eval "$(vidpred cluster up --nodes 2 --cpus-per-node 1)"`'
)
def up(
    nodes: Annotated[int, typer.Option(min=1, max=64, help="How many, the head among them.")] = 2,
    cpus_per_node: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Default: this machine's cores, shared out.")
    ] = None,
    name: Name = "default",
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait until all nodes are there.")] = 180,
) -> None:
    """Start a cluster (or what is missing of it) and print the exports that make `dvc repro` use it.

    Only its own token opens it. It stays until `vidpred cluster down`.
    """
    from rich.console import Console

    from vidpred.cluster import local
    from vidpred.workspace import set_up_logging

    set_up_logging()
    console = Console(stderr=True, highlight=False)
    with console.status(f"starting {nodes} nodes"):
        cluster = local.up(name, nodes=nodes, cpus_per_node=cpus_per_node, seconds=timeout)
    for key, value in cluster.exports().items():
        typer.echo(f"export {key}={shlex.quote(value)}")
    console.print(
        f"cluster {cluster.name} is up: {nodes} nodes, {cluster.cpus_per_node} CPU(s) each. `dvc repro` uses it "
        f"with these exports. As a job, as from elsewhere: set resources.storage in params.yaml to a folder, and "
        f"RAY_ADDRESS={cluster.job_server} (its dashboard too)",
        soft_wrap=True,
    )


@cluster_app.command(epilog="Example: `vidpred cluster status`")
def status() -> None:
    """Show the clusters that were started here: nodes, resources, who is alive. Exit code 1 if a node is missing."""
    from vidpred.cluster.local_state import remembered

    clusters = remembered()
    if not clusters:
        typer.echo("no cluster was started here: `vidpred cluster up`")
    whole = [_show(cluster) for cluster in clusters]
    raise typer.Exit(0 if all(whole) else 1)


def _show(cluster: LocalCluster) -> bool:
    from rich.console import Console
    from rich.table import Table

    from vidpred.cluster.local import nodes_of

    seen = nodes_of(cluster)
    by_id = {node["node_id"]: node for node in seen or []}
    table = Table(title=f"cluster {cluster.name}", title_justify="left")
    for column in ("node", "state", "node id", "pid"):
        table.add_column(column)
    for column in ("CPUs", "GPUs", "memory, GiB"):
        table.add_column(column, justify="right")
    whole = True
    for node in cluster.nodes:
        known = by_id.get(node.node_id, {})
        state = str(known.get("state", "no answer" if seen is None else "not there")).lower()
        if node.process() is None:
            state = "dead"
        whole &= state == "alive"
        there = known.get("resources_total") or {}
        table.add_row(
            node.name, state, node.node_id[:12], str(node.pid), f"{there.get('CPU', 0):g}",
            f"{there.get('GPU', 0):g}", f"{there.get('memory', 0) / 2**30:.1f}",
        )  # fmt: skip
    console = Console(highlight=False)
    console.print(table)
    for key, value in cluster.exports().items():
        console.print(f"export {key}={shlex.quote(value)}", soft_wrap=True)
    console.print(f"job server and dashboard: {cluster.job_server}", soft_wrap=True)
    if not whole:
        console.print(f"what is missing is started again by `vidpred cluster up --nodes {len(cluster.nodes)}`")
    return whole


@cluster_app.command(epilog="Examples: `vidpred cluster down`; `vidpred cluster down --name other`")
def down(name: Name = "default") -> None:
    """End every process of a cluster and remove its files. Sweeps on it go on with the next `dvc repro`, elsewhere."""
    from vidpred.cluster import local

    ended = local.down(name)
    typer.echo(f"cluster {name} is down: {ended} processes ended")


@cluster_app.command(epilog="Example: `RAY_ADDRESS=node1:6379 vidpred cluster wait --nodes 4`")
def wait(
    nodes: Annotated[int, typer.Option(min=1, help="How many.")] = 1,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds.")] = 300,
) -> None:
    """Wait until the cluster of RAY_ADDRESS has so many nodes, as a script does that starts them one by one."""
    import os

    from vidpred.cluster.connect import wait_for_nodes
    from vidpred.errors import UserError

    if not os.environ.get("RAY_ADDRESS"):
        raise UserError("set RAY_ADDRESS to the cluster that is waited for, host:port")
    typer.echo(f"{wait_for_nodes(nodes, seconds=timeout)} nodes are there")


@cluster_app.command(epilog="Example: `RAY_ADDRESS=http://head:8265 vidpred cluster jobs`")
def jobs() -> None:
    """List the sweeps that run or ran as jobs on the cluster whose job server RAY_ADDRESS names."""
    from vidpred.cluster.jobs import JobServer

    found = JobServer(_job_server()).jobs()
    for job in found:
        typer.echo(f"{job.name}  {job.state}")
    if not found:
        typer.echo("no jobs of ours there")


@cluster_app.command(
    "stop-job",
    epilog="Examples: `RAY_ADDRESS=http://head:8265 vidpred cluster stop-job`, which stops the only one that runs; "
    "`vidpred cluster stop-job 1f0c62a9b7d3e845-2`",
)
def stop_job(
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="As `vidpred cluster jobs` names it, or its key.")
    ] = None,
) -> None:
    """Stop a sweep that runs as a job. What its trials saved stays: the next `dvc repro` goes on from there."""
    from vidpred.cluster.jobs import JobServer
    from vidpred.errors import UserError

    server = JobServer(_job_server())
    running = [one for one in server.jobs() if one.alive]
    wanted = [one for one in running if job in (None, one.name, one.key)]
    names = ", ".join(one.name for one in running) or "none"
    if len(wanted) != 1:
        raise UserError(
            f"say which of the running jobs to stop ({names})" if job is None else f"no job {job} runs ({names})"
        )
    typer.echo(f"job {wanted[0].name} is {server.stop(wanted[0].name).state}")


def _job_server() -> str:
    from vidpred.cluster.remote import job_server
    from vidpred.errors import UserError

    url = job_server()
    if url is None:
        raise UserError("set RAY_ADDRESS to the cluster's job server, such as http://head:8265")
    return url
