"""Real processes under a seeded schedule of everything that can go wrong, clients that count, and an oracle.

The oracle records what clients asked for and what nodes replied; nothing else is believed. At the end all faults are
removed, the nodes must reach equal state, and every counter must hold what was acknowledged and some of what has no
known outcome; then all nodes are killed at once and must hold the same again.

What one node alone acknowledged is lost with its disk. So a disk is wiped, damaged or replaced by an older one only
when the other nodes hold durably all that it holds: the clients pause for that moment. Copies of a node's data run as
second processes under its name (`copies`), and what they acknowledged must count too.

Members leave, join, are removed once they are dead, and come back at other addresses (`movers`). At the end each node
must list all, at their addresses.

Beside them, Redis clients count in windows, in transactions on pairs of counters, and in counters that they delete
(`redis_clients`). What must come of that is in the `books`. At the end the run goes on for 75 seconds: then no node
may store anything of a window.
"""

from gossip_counter.bench.torture.plan import Plan, Step, schedule
from gossip_counter.bench.torture.runner import run
from gossip_counter.bench.torture.trial import Progress
from gossip_counter.bench.torture.verdict import Verdict

__all__ = ["Plan", "Progress", "Step", "Verdict", "run", "schedule"]
