"""Nodes of a cluster that come and go while it runs."""

import asyncio

from gossip_counter.cluster import ports
from gossip_counter.cluster.client import NoAnswerError
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import MAX_NODES, Member
from gossip_counter.cluster.processes import READY_S, Cluster

LEAVE_S = 25.0
"""Longer than a node takes to hand over, or to say that it can't."""

POLL_S = 0.02


async def join(cluster: Cluster) -> Member:
    """Start a new node and wait until it is a member. It is gone again if it can't. Raises `ClusterError`."""
    manifest = cluster.manifest
    if cluster.settings.gossip == "full":
        raise ClusterError("nodes that were started with --gossip full stay as many as they are")
    if len(manifest.members) >= MAX_NODES:
        raise ClusterError(f"a cluster has at most {MAX_NODES} nodes")
    if not cluster.alive():
        raise ClusterError("no node is up that could be joined: 'cluster restart n1' starts one")
    member = Member(_new_name(cluster), joined=True)
    ports.assign_one(manifest, member)
    manifest.members[member.name] = member
    try:
        cluster.start(member)
        await cluster.ready(member)
        await _is_member(cluster, member)
    except BaseException:
        cluster.stop([member])
        drop(cluster, member)
        raise
    return member


def _new_name(cluster: Cluster) -> str:
    """A name that no node of this cluster had: who was removed can't come back, and who left has its data still."""
    data = cluster.manifest.data_path("n1").parent
    used = {*cluster.members, *([each.name for each in data.iterdir()] if data.exists() else [])}
    used |= {each.stem for each in cluster.manifest.log_path("n1").parent.iterdir()}
    return f"n{max((int(name[1:]) for name in used if name[1:].isdigit()), default=0) + 1}"


async def _is_member(cluster: Cluster, member: Member) -> None:
    """Wait until some other node knows this one, and this one some other."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + READY_S
    async with await cluster.connect(member) as client:
        while loop.time() < deadline:
            if (await client.gossip_status())["members"] > 1:
                return
            await asyncio.sleep(POLL_S)
    raise ClusterError(
        f"{member.name} was not taken in within {READY_S:g} s: 'cluster members' and"
        f" {cluster.manifest.log_path(member.name)} show why; 'cluster remove' takes out nodes that are gone for good"
    )


async def leave(cluster: Cluster, member: Member) -> None:
    """Let a node leave, and wait until it has ended. Raises `ClusterError` and `ClientError`; it stays then."""
    if len(cluster.members) == 1:
        raise ClusterError(f"{member.name} is the only node: 'cluster down' stops it")
    async with await cluster.connect(member, LEAVE_S) as client:
        try:
            await client.leave()
        except NoAnswerError:
            if cluster.process(member):
                raise
    cluster.stop([member])
    drop(cluster, member)


def drop(cluster: Cluster, member: Member) -> None:
    """Forget a node. Raises `ClusterError`."""
    manifest = cluster.manifest
    manifest.members.pop(member.name, None)
    groups = [[name for name in group if name != member.name] for group in manifest.partition]
    manifest.partition = [group for group in groups if group]
    manifest.save()
