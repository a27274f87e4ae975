"""What is logged of those who are refused."""

from typing import cast

from gossip_counter.node.core.member_changes import RefusedJoin
from gossip_counter.node.core.peer_messages import Refused
from gossip_counter.node.endpoints.addresses import shown
from gossip_counter.node.endpoints.udp import UdpClient


def why_refused(refused: Refused, cluster: str) -> str:
    """Why one who speaks under a member's name is refused, and what to do."""
    name, source = refused.name, shown(cast(UdpClient, refused.source)[0])
    if refused.answers_join:
        return (
            f"{name} at {source}, which this node was to join, is of another cluster than this node is: start with an"
            " empty data directory to join that one, or without its address in --join"
        )
    if refused.member:
        where = shown(cast(UdpClient, refused.member)[0])
        return (
            f"a process named {name} sends from {source} without this cluster's id, while {name} sends from {where}:"
            " is the address of this node in another cluster's list of members?"
        )
    return (
        f"{name} at {source} is of another cluster that is named {cluster!r} too: correct the address in its list of"
        f" members or in this node's, and give one cluster another name; a node that is to change its cluster must be"
        f" started with --join and an empty data directory"
    )


def why_removed(name: str) -> str:
    """That a node was removed, and what to do."""
    return (
        f"{name} was removed from the cluster, and its journal is of that time: start it with an empty data directory,"
        " or use another --name"
    )


def why_refused_join(
    refused: RefusedJoin, source: str, own_name: str, unagreed: tuple[str, ...], is_joining: bool
) -> str:
    """Why this node does not take in another, at `source`, and what to do."""
    who = f"a process at {source} asks to be taken in as {refused.name}"
    if refused.is_taken:
        if refused.name == own_name:
            return f"{who}, as this node is named: rename it"
        return f"{who}, which is a member that is up: give it another --name, or stop that one"
    if is_joining:
        return f"{who}, and this node is no member itself: the first node of a cluster starts without --join"
    if unagreed:
        never_up = f"{', '.join(unagreed):.400}"
        return f"{who}, and the cluster's id is not settled yet: start {never_up}, or remove who is gone for good"
    return f"{who}, and this node is no member any more, or its journal does not have the cluster's id yet"


def why_not_taken_in(refused: RefusedJoin, source: str) -> str:
    """Why `source` does not take in this node, and what to do."""
    if refused.is_self:
        return f"--join {source} is this node itself: name another member, or leave it out for the first one"
    return (
        f"{source} does not take this node in: another process named {refused.name} is a member of that cluster: give"
        " this one another --name, or stop that one"
    )


def why_nobody(asked: str) -> str:
    """That nobody at `asked` takes a node in, for reasons that it can't know, and what to do."""
    return (
        f"this node is no member yet: nobody at {asked} has taken it in. Check the address, and that the keys and the"
        " cluster's name are the same there. The first node of a cluster starts without --join. A member that was never"
        " up keeps others out: the log there names it"
    )
