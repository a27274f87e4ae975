"""A node inside the test's own event loop, so that its journal can be replaced by one that is slow or fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.endpoints.addresses import Address, bind
from gossip_counter.node.endpoints.udp import UdpEndpoint
from gossip_counter.node.runtime.diagnostics import Diagnostics
from gossip_counter.node.runtime.node import NO_LISTENERS, Listeners, Node
from gossip_counter.node.storage.journal import Journal
from tests.support.waiting import LIMIT_S


@asynccontextmanager
async def running_node(journal: Journal, listeners: Listeners = NO_LISTENERS) -> AsyncIterator[Address]:
    """The UDP address of node n1 of cluster c, which runs. At the end it is asked to stop, and must."""
    config = Config(name="n1", cluster="c")
    with bind(("127.0.0.1", 0)) as bound:

        def endpoint(replica: Replica, diagnostics: Diagnostics) -> UdpEndpoint:
            return UdpEndpoint(bound, {}, config, Random(1), replica.stats, diagnostics.note)

        node = Node(config, endpoint, Random(1), journal, listeners)
        running = asyncio.create_task(node.run())
        try:
            yield bound.getsockname()
        finally:
            node.stop()
            await asyncio.wait_for(running, LIMIT_S)
