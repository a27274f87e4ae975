"""Real processes under a seeded schedule of everything that can go wrong, clients that count, and an oracle.

The oracle records what clients asked for and what nodes replied; nothing else is believed. At the end all faults are
removed, the nodes must reach equal state, and every counter must hold what was acknowledged and some of what has no
known outcome; then all nodes are killed at once and must hold the same again.

A node is wiped only when another node holds durably all that it holds, since what one node alone acknowledged is lost
with its disk: the clients pause for that moment.
"""

from gossip_counter.bench.torture.plan import Plan, Step, schedule
from gossip_counter.bench.torture.runner import run
from gossip_counter.bench.torture.trial import Progress
from gossip_counter.bench.torture.verdict import Verdict

__all__ = ["Plan", "Progress", "Step", "Verdict", "run", "schedule"]
