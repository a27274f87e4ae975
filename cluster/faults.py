"""Faults for experiments beyond signals: cut nodes off from each other, heal, lose a disk."""

import asyncio
import shutil

from gossip_counter.cluster.client import ClientError
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Manifest, Member
from gossip_counter.cluster.processes import Cluster


async def partition(cluster: Cluster, groups: list[list[str]]) -> None:
    """Cut these groups of nodes off from each other; no groups: heal. Nodes that start later are in their groups too.

    Raises `ClusterError`. If it names nodes that did not confirm, all other nodes have applied the change.
    """
    manifest = cluster.manifest
    _check(manifest, groups)
    manifest.partition = groups
    manifest.save()
    running = cluster.alive()
    results = await asyncio.gather(*(_apply(cluster, member) for member in running), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, ClientError):
            raise result
    failed = [member.name for member, result in zip(running, results, strict=True) if result is not None]
    if failed:
        raise ClusterError(f"{', '.join(failed)} did not confirm the change: run the command again")


async def heal(cluster: Cluster) -> None:
    """Let all nodes receive from each other again. Raises `ClusterError` as `partition` does."""
    await partition(cluster, [])


def _check(manifest: Manifest, groups: list[list[str]]) -> None:
    if not manifest.settings.faults:
        raise ClusterError("this cluster was not started for experiments: 'cluster up --faults' is")
    named = [name for group in groups for name in group]
    if groups and (sorted(named) != sorted(manifest.members) or len(groups) < 2):
        for name in named:
            manifest.member(name)
        example = _example_groups(list(manifest.members))
        raise ClusterError(f"each node must be in one of two or more groups, as in {example}")


def _example_groups(names: list[str]) -> str:
    half = (len(names) + 1) // 2
    return f"{','.join(names[:half])}/{','.join(names[half:])}"


async def _apply(cluster: Cluster, member: Member) -> None:
    async with await cluster.connect(member) as client:
        try:
            await client.fault(cluster.settings.loss, cluster.manifest.cut_off_from(member.name))
        except ClientError:
            # A paused node reads the request when it goes on. A dead one gets it as options at its start.
            if cluster.process(member) and not cluster.is_paused(member):
                raise


def wipe(cluster: Cluster, member: Member) -> None:
    """Delete a dead node's data directory, as if its disk was lost. Raises `ClusterError` if there is none."""
    if cluster.settings.ephemeral and cluster.manifest.is_up:
        raise ClusterError("this cluster keeps nothing on disk")
    if cluster.process(member):
        raise ClusterError(
            f"{member.name} is up: 'cluster kill {member.name}' first (with 'up --restart' it comes back at once)"
        )
    path = cluster.manifest.data_path(member.name)
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        raise ClusterError(f"{member.name} has no data in {path}: it is wiped") from None
