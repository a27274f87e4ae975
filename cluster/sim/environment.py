"""What surrounds the nodes of a simulated run, and is the same for all of them."""

from dataclasses import dataclass
from random import Random

from gossip_counter.cluster.sim.clock import Clock, Trace
from gossip_counter.cluster.sim.losses import Losses
from gossip_counter.cluster.sim.network import Network
from gossip_counter.cluster.sim.oracle import Oracle
from gossip_counter.cluster.sim.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Environment:
    """All of it. `rng` decides everything that is left to chance."""

    scenario: Scenario
    rng: Random
    clock: Clock
    trace: Trace
    network: Network
    oracle: Oracle
    losses: Losses
