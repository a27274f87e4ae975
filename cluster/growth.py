"""Nodes of a cluster that come and go while it runs."""

import asyncio
import contextlib

from gossip_counter.cluster import ports
from gossip_counter.cluster.client import ClientError, NoAnswerError, RequestRefusedError
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import MAX_NODES, Manifest, Member
from gossip_counter.cluster.processes import READY_S, Cluster
from gossip_counter.node.core.membership import UP_NS

LEAVE_S = 25.0
"""Longer than a node takes to hand over, or to say that it can't."""

REMOVE_S = 2 * UP_NS / 1e9
"""How long a node that has just died may seem to be up."""

POLL_S = 0.02


async def join(cluster: Cluster, name: str = "") -> Member:
    """Start a new node and wait until it is a member. It is gone again if it can't. Raises `ClusterError`.

    Without a name it gets the next one.
    """
    manifest = cluster.manifest
    if cluster.settings.gossip == "full":
        raise ClusterError("nodes that were started with --gossip full stay as many as they are")
    if len(manifest.members) >= MAX_NODES:
        raise ClusterError(f"a cluster has at most {MAX_NODES} nodes")
    if not cluster.alive():
        raise ClusterError("no node is up that could be joined: 'cluster restart n1' starts one")
    member = Member(name or _new_name(cluster), joined=True)
    ports.assign_one(manifest, member)
    _add(manifest, member, cluster.alive()[0])
    try:
        cluster.start(member)
        await cluster.ready(member)
        await _is_member(cluster, member)
    except BaseException:
        cluster.stop([member])
        drop(cluster, member)
        raise
    return member


def _add(manifest: Manifest, member: Member, beside: Member) -> None:
    """A new node; while a partition lasts, in the group of this other one."""
    for group in manifest.partition:
        if beside.name in group:
            group.append(member.name)
    manifest.members[member.name] = member


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
            await _check_has_left(cluster, member)
    cluster.stop([member])
    drop(cluster, member)


async def _check_has_left(cluster: Cluster, member: Member) -> None:
    """Whether some other node knows that this one, which ended, has left: then it had handed over first.

    Raises `ClusterError` if not.
    """
    for other in cluster.alive():
        async with await cluster.connect(other) as client:
            with contextlib.suppress(ClientError):
                if any((each["name"], each["state"]) == (member.name, "left") for each in await client.members()):
                    return
    raise ClusterError(
        f"{member.name} ended before it had handed over, and is a member yet: 'cluster restart {member.name}' first"
    )


async def remove(cluster: Cluster, member: Member) -> None:
    """Remove a dead node for good, once the others have missed it. Raises `ClusterError` and `ClientError`."""
    deadline = asyncio.get_running_loop().time() + REMOVE_S
    while True:
        async with await cluster.connect(cluster.any_running()) as client:
            try:
                await client.remove(member.name)
                break
            except RequestRefusedError as error:
                if "is up" not in str(error) or asyncio.get_running_loop().time() > deadline:
                    raise
        await asyncio.sleep(POLL_S)
    drop(cluster, member)


def drop(cluster: Cluster, member: Member) -> None:
    """Forget a node. Raises `ClusterError`."""
    manifest = cluster.manifest
    manifest.members.pop(member.name, None)
    groups = [[name for name in group if name != member.name] for group in manifest.partition]
    groups = [group for group in groups if group]
    manifest.partition = groups if len(groups) > 1 else []
    manifest.save()
