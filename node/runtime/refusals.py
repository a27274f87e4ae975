"""What is logged of those who are refused."""

from typing import cast

from gossip_counter.node.core.peer_messages import Refused
from gossip_counter.node.endpoints.addresses import shown
from gossip_counter.node.endpoints.udp import UdpClient


def why_refused(refused: Refused, cluster: str) -> str:
    """Why one who speaks under a member's name is refused, and what to do."""
    name, source = refused.name, shown(cast(UdpClient, refused.source)[0])
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
    """What is said of a node that was removed, and what to do."""
    return (
        f"{name} was removed from the cluster, and its journal is of that time: start it with an empty data directory,"
        " or use another --name"
    )
