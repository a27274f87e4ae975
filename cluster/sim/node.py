"""One simulated node: a name, a disk, and one process at a time, or none between a crash and the next start."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

from gossip_counter.cluster.sim.disk import Disk
from gossip_counter.cluster.sim.environment import Environment
from gossip_counter.cluster.sim.process import Machine, Process
from gossip_counter.node.core.effects import Client
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.roster import Presence
from gossip_counter.node.security.keyring import Keyring


class Node:
    """Starts, crashes and starts again."""

    def __init__(
        self,
        name: str,
        peers: tuple[str, ...],
        environment: Environment,
        replied: Callable[["Node", bytes], None],
        speaks_as: str | None = None,
        seeds: Callable[[], tuple[Client, ...]] = tuple,
    ) -> None:
        """`replied` gets the datagrams for clients. `speaks_as` is a name other than that of its address;
        `seeds` gives whom it asks to be taken in as a member.
        """
        rng, commit_ms = environment.rng, environment.scenario.commit_ms
        self.name = self.address = name
        """Its address in the virtual network is its name, until it moves."""
        self._seeds = seeds
        self.life = 0
        """Counts starts."""
        self.process: Process | None = None
        skew_ms = environment.scenario.skew_ms
        self.clock_ahead_ms = rng.randint(-skew_ms, skew_ms) if skew_ms else 0
        """By how much its wall clock is ahead of the true time."""
        self.ring = environment.scenario.ring
        """The keys in its file, if there is one."""
        self.disk = Disk(rng, commit_ms, environment.losses.committed)
        self._config = replace(environment.scenario.config, name=speaks_as or name, peers=peers)
        self._machine = Machine(
            environment.clock,
            rng,
            environment.trace,
            environment.network,
            self.disk,
            lambda: self.clock_ahead_ms,
            environment.scenario.bounds,
            lambda: self.ring,
        )
        self._environment = environment
        self._replied = replied

    def clone(self, address: str) -> "Node":
        """Another machine with a copy of the same disk, whose process will speak under the same name."""
        config = self._config
        made = Node(address, config.peers, self._environment, self._replied, speaks_as=config.name)
        made.disk.contents = deepcopy(self.disk.contents)
        made.ring = self.ring
        return made

    def use_keys(self, ring: Keyring) -> None:
        """Replace its file of keys; a process that runs reads it again."""
        self.ring = ring
        if self.process:
            self.process.use_keys(ring)

    @property
    def replica(self) -> Replica:
        """The replica of the present life."""
        assert self.process is not None
        return self.process.replica

    def start(self) -> None:
        """Begin a life with what is on the disk, unless one is under way."""
        if self.process is None:
            self.life += 1
            presence = (
                Presence((self.address,), "", self._seeds()) if self._environment.scenario.member_changes else None
            )
            self.process = Process(
                self._config, self.address, self._machine, lambda datagram: self._replied(self, datagram), presence
            )

    def move(self) -> None:
        """Be at another address from the next start on."""
        number = self.address.partition("@")[2] or "0"
        self.address = f"{self.name}@{int(number) + 1}"

    def crash(self) -> None:
        """End this life as `kill -9` does."""
        if self.process:
            self.process.kill()
            self.process = None

    def pause(self) -> None:
        """Stop the process, as SIGSTOP does."""
        if self.process:
            self.process.pause()

    def resume(self) -> None:
        """Let the process go on, if it is paused."""
        if self.process:
            self.process.resume()

    def receive(self, datagram: bytes, source: Client) -> None:
        """A datagram reaches the node's socket, if it has one; a later life gets what was sent to a former one."""
        if self.process:
            self.process.receive(datagram, source)
