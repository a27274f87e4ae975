"""Nodes of a cluster that come and go while it runs."""

import asyncio
import contextlib

from gossip_counter.cluster import member_lists, ports
from gossip_counter.cluster.client import ClientError, NoAnswerError
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import MAX_NODES, Manifest, Member
from gossip_counter.cluster.processes import READY_S, Cluster
from gossip_counter.cluster.wording import is_number

POLL_S = 0.02


async def join(cluster: Cluster, name: str = "") -> Member:
    """Start a new node and wait until it is a member. It is gone again if it can't. Raises `ClusterError`.

    Without a name it gets the next one.
    """
    manifest = cluster.manifest
    check_can_change(cluster)
    if len(manifest.members) >= MAX_NODES:
        raise ClusterError(f"a cluster has at most {MAX_NODES} nodes")
    beside = cluster.some_running()[0]
    member = Member(name or _new_name(cluster), joined=True)
    ports.assign_one(manifest, member)
    _add(manifest, member, beside)
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


def check_can_change(cluster: Cluster) -> None:
    """Whether nodes may come and go. Raises `ClusterError`."""
    if cluster.settings.gossip == "full":
        raise ClusterError("nodes that were started with --gossip full stay as many as they are")


def _new_name(cluster: Cluster) -> str:
    """A name that no node of this cluster had: who was removed can't come back, and who left has its data still."""
    data = cluster.manifest.data_path("n1").parent
    used = {*cluster.members, *([each.name for each in data.iterdir()] if data.exists() else [])}
    used |= {each.stem for each in cluster.manifest.log_path("n1").parent.iterdir()}
    return f"n{max((int(name[1:]) for name in used if is_number(name[1:])), default=0) + 1}"


async def _is_member(cluster: Cluster, member: Member) -> None:
    """Wait until another node that runs lists this process of it as up. Raises `ClusterError` and `ClientError`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + READY_S
    async with await cluster.connect(member) as client:
        boot = next(each["boot"] for each in await client.members() if each["name"] == member.name)
    while loop.time() < deadline:
        if await _is_listed(cluster, member, state="up", boot=boot):
            return
        await asyncio.sleep(POLL_S)
    raise ClusterError(
        f"{member.name} was not taken in within {READY_S:g} s: 'cluster members' and"
        f" {cluster.manifest.log_path(member.name)} show why; 'cluster remove' takes out nodes that are gone for good"
    )


async def leave(cluster: Cluster, member: Member) -> str:
    """Let a node leave, and wait until it has ended; what came of it, in words.

    Raises `ClusterError` and `ClientError`; it stays then.
    """
    check_can_change(cluster)
    check_is_not_last(cluster, member)
    done = f"{member.name} has left"
    async with await cluster.connect(member, member_lists.LEAVE_S) as client:
        try:
            done = await member_lists.leave(client, member.name)
        except NoAnswerError:
            if cluster.process(member):
                raise
            await _check_has_left(cluster, member)
    cluster.stop([member])
    drop(cluster, member)
    return done


async def remove(cluster: Cluster, member: Member) -> str:
    """Remove a node that is dead; what came of it, in words. Raises `ClusterError` and `ClientError`."""
    name = member.name
    check_can_change(cluster)
    check_is_not_last(cluster, member)
    if cluster.is_paused(member):
        raise ClusterError(f"{name} is paused: 'cluster resume {name}' lets it go on, 'cluster kill {name}' ends it")
    if cluster.process(member):
        raise ClusterError(f"{name} is up: 'cluster leave {name}' lets it hand over first")
    lists = lists_of(cluster)
    done = await lists.remove(name) if await lists.find(name) else f"{name} is removed: it was no member yet"
    drop(cluster, member)
    return done


def check_is_not_last(cluster: Cluster, member: Member) -> None:
    """Whether another node would be left. Raises `ClusterError`."""
    if len(cluster.members) == 1:
        what = "'cluster down' stops it" if cluster.process(member) else f"'cluster restart {member.name}' starts it"
        raise ClusterError(f"{member.name} is the only node: {what}")


def lists_of(cluster: Cluster) -> member_lists.MemberLists:
    """The lists of members at the nodes that run. Raises `ClusterError` if none does."""
    return member_lists.MemberLists([each.address for each in cluster.some_running()], cluster.keys)


async def _check_has_left(cluster: Cluster, member: Member) -> None:
    """Whether some other node knows that this one, which ended, has left: then it had handed over first.

    Raises `ClusterError` if not.
    """
    if not await _is_listed(cluster, member, state="left"):
        raise ClusterError(
            f"{member.name} ended before it had handed over, and is a member yet: 'cluster restart {member.name}' first"
        )


async def _is_listed(cluster: Cluster, member: Member, **entry: str) -> bool:
    """Whether another node that runs lists this one with such an entry."""
    for other in cluster.running():
        if other is not member:
            async with await cluster.connect(other) as client:
                with contextlib.suppress(ClientError):  # it ended or was paused meanwhile
                    if any(each | entry == each for each in await client.members() if each["name"] == member.name):
                        return True
    return False


def drop(cluster: Cluster, member: Member) -> None:
    """Forget a node. Raises `ClusterError`."""
    manifest = cluster.manifest
    manifest.members.pop(member.name, None)
    groups = [[name for name in group if name != member.name] for group in manifest.partition]
    left = [group for group in groups if group]
    manifest.partition = left if len(left) > 1 else []
    manifest.save()
