"""When the running nodes of a cluster use keys that have changed."""

import asyncio

from gossip_counter.cluster.client import ClientError
from gossip_counter.cluster.manifest import Member
from gossip_counter.cluster.processes import Cluster
from gossip_counter.node.security.keyring import Keyring

TAKEN_S = 5.0
"""How long running nodes may take to use a file that has changed. They look once a second."""
POLL_S = 0.05


async def late(cluster: Cluster, ring: Keyring) -> list[str]:
    """Wait until running nodes use these keys; those that do not in time."""
    running = cluster.running()
    used = await asyncio.gather(*(_uses(cluster, member, list(ring.names)) for member in running))
    return [member.name for member, is_used in zip(running, used, strict=True) if not is_used]


async def _uses(cluster: Cluster, member: Member, names: list[str]) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + TAKEN_S
    async with await cluster.connect(member, timeout_s=0.2) as client:
        while loop.time() < deadline:
            try:
                if list((await client.gossip_status())["keys"]) == names:
                    return True
            except ClientError:
                pass  # it does not open yet what is sealed with the new key
            await asyncio.sleep(POLL_S)
    return False
