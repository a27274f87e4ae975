"""The least time that gossip in rounds can take: exchanges that cost nothing and lose nothing.

Pure. Every node's timer has a phase of its own; at each tick it contacts `fanout` distinct random peers. Source of the
two kinds: Demers et al., "Epidemic algorithms for replicated database maintenance", PODC 1987, section 1.3.
"""

import heapq
from random import Random


def time_until_all_know(nodes: int, fanout: int, interval_ms: float, pull: bool, rng: Random) -> float:
    """Milliseconds from an update at one node, at a random moment, until all nodes have it.

    With `pull`, an exchange informs both sides; without, only the contacted one (push alone).
    """
    knows = {rng.randrange(nodes)}
    ticks = [(rng.random() * interval_ms, node) for node in range(nodes)]
    heapq.heapify(ticks)
    now = 0.0
    while len(knows) < nodes:
        now, node = ticks[0]
        heapq.heapreplace(ticks, (now + interval_ms, node))
        peers = _peers(node, nodes, fanout, rng)
        if node in knows:
            knows.update(peers)
        elif pull and knows.intersection(peers):
            knows.add(node)
    return now


def _peers(node: int, nodes: int, fanout: int, rng: Random) -> list[int]:
    chosen = rng.sample(range(nodes - 1), min(fanout, nodes - 1))
    return [peer + (peer >= node) for peer in chosen]
